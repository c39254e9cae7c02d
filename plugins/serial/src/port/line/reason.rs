//! Why a device cannot be opened, and what to do about it, in one sentence for people. Opens nothing.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tokio_serial::ErrorKind;

/// Where the drop-in lies that shows serial devices to the gateway's own unit.
const DROP_IN: &str = "/usr/share/doc/nowd/examples/nowd.service.d/serial.conf";

/// How much of the list of groups is read, in bytes.
const MOST_GROUPS: u64 = 1024 * 1024;

/// What kind of failure it was, as far as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Missing,
    Denied,
    Forbidden,
    Busy,
    NoTerminal,
    NoPort,
    Other,
}

/// The error of the library that opens ports.
pub(super) fn of_port(device: &Path, error: &tokio_serial::Error) -> io::Error {
    // It keeps no number of the kernel's, only the words.
    let failure = match (error.kind(), error.description.as_str()) {
        (ErrorKind::NoDevice, _) => Failure::Busy,
        (ErrorKind::Io(kind), _) => of_kind(kind),
        (_, "Operation not permitted") => Failure::Forbidden,
        (_, "Not a typewriter") => Failure::NoTerminal,
        (_, "I/O error" | "No such device" | "No such device or address") => Failure::NoPort,
        (ErrorKind::InvalidInput | ErrorKind::Unknown, _) => Failure::Other,
    };
    told(device, failure, &error.description)
}

/// The same where it was opened by other means.
pub(super) fn of_io(device: &Path, error: &io::Error) -> io::Error {
    // The numbers are the same on all machines that Linux runs on.
    let failure = match error.raw_os_error() {
        Some(1) => Failure::Forbidden,
        Some(16) => Failure::Busy,
        Some(25) => Failure::NoTerminal,
        Some(5 | 6 | 19) => Failure::NoPort,
        _ => of_kind(error.kind()),
    };
    told(device, failure, &error.to_string())
}

fn of_kind(kind: io::ErrorKind) -> Failure {
    if kind == io::ErrorKind::NotFound {
        Failure::Missing
    } else if kind == io::ErrorKind::PermissionDenied {
        Failure::Denied
    } else {
        Failure::Other
    }
}

fn told(device: &Path, failure: Failure, words: &str) -> io::Error {
    let found = fs::metadata(device);
    // What is no device at all fails in many ways.
    let is_device = found.as_ref().map(|found| found.file_type().is_char_device());
    let (kind, message) = match (failure, is_device) {
        (Failure::Missing, _) => (io::ErrorKind::NotFound, missing(sees_terminals(Path::new("/dev")))),
        (_, Ok(false)) | (Failure::NoTerminal, _) => (
            io::ErrorKind::InvalidInput,
            "it is no serial device; correct `device` (`ls -l /dev/serial/by-id` shows those that are plugged in)".into(),
        ),
        (Failure::Denied, _) => (io::ErrorKind::PermissionDenied, denied(found.ok().as_ref())),
        (Failure::Forbidden, _) => (
            io::ErrorKind::PermissionDenied,
            format!(
                "this process is not allowed to open it, whatever its groups: its unit needs `DeviceAllow={} rw`, or the kind of \
                 the device as {DROP_IN} has it",
                device.display()
            ),
        ),
        (Failure::Busy, _) => (
            io::ErrorKind::ResourceBusy,
            format!(
                "another process has it; `fuser -v {}` as root says which (a getty, ModemManager, a second gateway): stop that one",
                device.display()
            ),
        ),
        (Failure::NoPort, _) => (
            io::ErrorKind::NotConnected,
            format!("it has a name, and no port answers behind it ({words}): plug it in again, or correct `device`"),
        ),
        (Failure::Other, _) => (io::ErrorKind::Other, words.to_owned()),
    };
    io::Error::new(kind, message)
}

fn missing(sees_others: bool) -> String {
    if sees_others {
        return "there is no such device: it is unplugged, or has another name (`ls -l /dev/serial/by-id`)"
            .into();
    }
    format!(
        "there is no such device, and this process sees no other either: it is unplugged, or the unit hides devices \
         (`PrivateDevices=yes`), which {DROP_IN} mends"
    )
}

/// Whether any terminal is seen beside the process's own.
fn sees_terminals(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with("tty") && name.len() > "tty".len())
    })
}

fn denied(found: Option<&Metadata>) -> String {
    let Some(found) = found else {
        return "permission denied, already on the way to it; let the daemon's user into the folders before it".into();
    };
    let group = group_name(found.gid()).unwrap_or_else(|| found.gid().to_string());
    if found.mode() & 0o060 != 0o060 || found.gid() == 0 {
        return format!(
            "permission denied: it belongs to the group `{group}` with the rights {:04o}, and so is for root alone; a udev rule with \
             `GROUP=\"dialout\", MODE=\"0660\"` opens it to the group `dialout`",
            found.mode() & 0o7777
        );
    }
    format!(
        "permission denied: it belongs to the group `{group}`, which this process is not in; add `SupplementaryGroups={group}` to its \
         unit, or its user to the group (`usermod -aG {group} USER`), and start it again"
    )
}

/// The name of a group, as far as it stands in the machine's own list.
fn group_name(id: u32) -> Option<String> {
    let mut list = String::new();
    fs::File::open("/etc/group").ok()?.take(MOST_GROUPS).read_to_string(&mut list).ok()?;
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_reason_has_words_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let (null, none) = (Path::new("/dev/null"), Path::new("/dev/nowd-no-such-device"));
        for (device, number, expected) in [
            (none, 2, "there is no such device"),
            (file.as_path(), 25, "it is no serial device; correct `device`"),
            (null, 25, "it is no serial device; correct `device`"),
            (null, 13, "permission denied: it belongs to the group `root` with the rights 0666"),
            (
                null,
                1,
                "this process is not allowed to open it, whatever its groups: its unit needs `DeviceAllow=/dev/null rw`",
            ),
            (null, 16, "another process has it; `fuser -v /dev/null`"),
            (null, 5, "it has a name, and no port answers behind it (Input/output error"),
        ] {
            let message = of_io(device, &io::Error::from_raw_os_error(number)).to_string();
            assert!(message.starts_with(expected), "{number}: {message}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(missing(true).contains("another name") && missing(false).contains("PrivateDevices=yes"));
        assert!(!sees_terminals(folder.path()));
        fs::write(folder.path().join("ttyUSB0"), "").unwrap();
        assert!(sees_terminals(folder.path()));
    }

    /// What the library says of these, and not only what it should.
    #[test]
    fn the_librarys_words_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let open = |device: &Path| {
            let builder = tokio_serial::new(device.to_str().unwrap(), 9600);
            tokio_serial::SerialStream::open(&builder).map_err(|e| of_port(device, &e).to_string())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _guard = runtime.enter();
        for (device, expected) in [
            (Path::new("/dev/nowd-no-such-device"), "there is no such device"),
            (file.as_path(), "it is no serial device"),
            (Path::new("/dev/null"), "it is no serial device"),
            (folder.path(), "it is no serial device"),
        ] {
            let message = open(device).unwrap_err();
            assert!(message.starts_with(expected), "{device:?}: {message}");
        }
        let (_master, slave) = tokio_serial::SerialStream::pair().unwrap();
        let device = tokio_serial::SerialPort::name(&slave).unwrap();
        let first = open(Path::new(&device)).unwrap();
        let message = open(Path::new(&device)).unwrap_err();
        assert!(message.starts_with("another process has it"), "{message}");
        drop(first);
    }
}
