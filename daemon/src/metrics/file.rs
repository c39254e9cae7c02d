//! The file of the metrics: whole or not there, whatever happens meanwhile. To be used where waiting for a disk holds up
//! nobody.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::{error, info};

use super::Failing;

/// For whoever collects.
const MODE: u32 = 0o644;

/// What to do about a file that cannot be written. The unit lets the daemon write to few places, and nothing else says so.
pub(crate) fn remedy(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    format!(
        "see that the folder {folder} is there, has room, and may be written by this user; under the shipped unit \
         (`ProtectSystem=strict`) the file has to be under /run/nowd, or its folder in `ReadWritePaths=` of a drop-in \
         (`systemctl edit nowd`)"
    )
}

/// Where the metrics go.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// In the same folder, and not read by `node_exporter`.
    new: PathBuf,
    /// So that one failure is told once.
    failing: bool,
    /// ... and is known to whoever asks.
    told: Failing,
}

impl File {
    pub(super) fn new(path: PathBuf, told: Failing) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".new");
        Self { new: path.with_file_name(name), path, failing: false, told }
    }

    /// Takes the place of what was there. A reader sees the old text or this one. It need not survive a loss of power.
    pub(super) fn write(&mut self, text: &str) {
        let result = self.try_write(text);
        match &result {
            Err(e) if !self.failing => error!(
                see = "metrics-file",
                "the metrics cannot be written to {}: {e}; trying on; {}",
                self.path.display(),
                remedy(&self.path)
            ),
            Ok(()) if self.failing => info!("the metrics are written to {} again", self.path.display()),
            Ok(()) | Err(_) => {}
        }
        self.failing = result.is_err();
        self.told.set(result.err().map(|e| format!("{}: {e}", self.path.display())));
    }

    fn try_write(&self, text: &str) -> io::Result<()> {
        remove(&self.new)?;
        // Made anew, so that nobody's link is followed.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&self.new)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.set_permissions(Permissions::from_mode(MODE)))
            .and_then(|()| fs::rename(&self.new, &self.path));
        if written.is_err() {
            // What is half written takes up room, which may be what was missing.
            remove(&self.new).ok();
        }
        written
    }

    /// Says by its absence that nobody writes it any more.
    pub(super) fn remove(self) {
        for path in [&self.new, &self.path] {
            // It may have been taken away, and its timestamp says the rest.
            remove(path).ok();
        }
    }
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &std::path::Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn whole_readable_by_all_and_gone_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prom");
        let mut file = File::new(path.clone(), Failing::default());
        file.write("one");
        file.write("two");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(names(folder.path()), ["a.prom"]);
        file.remove();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn nobodys_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (other, path) = (folder.path().join("other"), folder.path().join("a.prom"));
        fs::write(&other, "theirs").unwrap();
        let mut file = File::new(path.clone(), Failing::default());
        for link in [&path, &file.new] {
            std::os::unix::fs::symlink(&other, link).unwrap();
        }
        file.write("ours");
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert!(!path.is_symlink());
    }

    #[test]
    fn a_folder_that_comes_back_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let mut file = File::new(gone.join("a.prom"), Failing::default());
        file.write("one");
        file.write("one");
        assert!(file.failing && !gone.exists());
        assert!(file.told.get().is_some_and(|why| why.contains("No such file")));
        fs::create_dir(&gone).unwrap();
        file.write("two");
        assert!(!file.failing && file.told.get().is_none() && gone.join("a.prom").exists());
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prom");
        let mut file = File::new(path.clone(), Failing::default());
        file.write("one");
        fs::create_dir(&file.new).unwrap();
        file.write("two");
        assert!(file.failing);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    }
}
