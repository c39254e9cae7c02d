//! What is no mistake in the declaration of a port, and worth telling all the same. Opens no device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::PortConfig;

/// Where the kernel's device manager keeps names that stay the same.
const STABLE: &str = "/dev/serial/by-id";
/// The most names that a note lists.
const MOST_NAMES: usize = 8;

/// Notes about declared ports, one sentence each; `unused` ones are no map's.
pub(crate) fn notes(ports: &BTreeMap<String, PortConfig>, is_used: &dyn Fn(&str) -> bool) -> Vec<String> {
    let stable = stable_names(Path::new(STABLE));
    let mut notes: Vec<String> =
        ports.iter().filter_map(|(name, config)| note(name, &config.device, &stable)).collect();
    let unused = ports.keys().filter(|name| !is_used(name));
    notes.extend(unused.map(|name| format!("[ports.{name}]: no map uses it, so it is never opened")));
    notes
}

/// The links in a folder, each with the device that it leads to.
fn stable_names(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let links = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut links: Vec<_> =
        links.filter_map(|link| link.canonicalize().ok().map(|device| (link, device))).collect();
    links.sort();
    links
}

fn note(name: &str, device: &Path, stable: &[(PathBuf, PathBuf)]) -> Option<String> {
    let shown = device.display();
    let Ok(real) = device.canonicalize() else {
        let links: Vec<String> =
            stable.iter().take(MOST_NAMES).map(|(link, _)| link.display().to_string()).collect();
        let there = match links.as_slice() {
            [] => format!("nothing is plugged in that has a name in {STABLE}"),
            links => format!("there are {}", links.join(", ")),
        };
        return Some(format!("[ports.{name}]: {shown} is not there now; {there}"));
    };
    // A name that the kernel gives in the order of plugging in.
    let kernel = device == real && ["ttyUSB", "ttyACM"].iter().any(|kind| is_numbered(device, kind));
    if !kernel {
        return None;
    }
    let advice = match stable.iter().find(|(_, device)| *device == real) {
        Some((link, _)) => format!("write device = \"{}\"", link.display()),
        None => format!("it has no name in {STABLE}, so give it one with a udev rule"),
    };
    Some(format!(
        "[ports.{name}]: {shown} may be another device after the next start or plugging in; {advice}"
    ))
}

fn is_numbered(device: &Path, kind: &str) -> bool {
    let name = device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(kind).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_lead_to_a_stable_name() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (usb, by_id) = (folder.join("ttyUSB0"), folder.join("by-id"));
        std::fs::write(&usb, "").unwrap();
        std::fs::create_dir(&by_id).unwrap();
        assert_eq!(stable_names(&by_id), []);
        let none = note("relay", &usb, &[]).unwrap();
        assert!(
            none.contains("may be another device") && none.ends_with("give it one with a udev rule"),
            "{none}"
        );
        let link = by_id.join("usb-FTDI-if00");
        std::os::unix::fs::symlink(&usb, &link).unwrap();
        let stable = stable_names(&by_id);
        assert_eq!(stable, [(link.clone(), usb.clone())]);
        let some = note("relay", &usb, &stable).unwrap();
        assert!(some.ends_with(&format!("write device = \"{}\"", link.display())), "{some}");
        assert_eq!(note("relay", &link, &stable), None);
        let absent = note("relay", Path::new("/dev/serial/by-id/usb-none"), &stable).unwrap();
        assert_eq!(
            absent,
            format!(
                "[ports.relay]: /dev/serial/by-id/usb-none is not there now; there are {}",
                link.display()
            )
        );
        assert_eq!(note("relay", Path::new("/dev/null"), &stable), None, "a name that is always the same");
    }
}
