//! The lockout: somebody on site wants nothing to move, and says so with `nowd lock`.
//!
//! It is a file, so it holds without the daemon and through its restarts. The daemon looks for it before each decision;
//! so nothing starts any more from the moment when the file is there. What it found, and how many calls still run, it
//! tells in another file, for the one who waits at the machine. Whatever is unclear counts as locked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest reason, in bytes.
pub(crate) const MAX_REASON: usize = 1_024;

/// What `nowd lock` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which lockout it is.
    pub(crate) id: Uuid,
    /// Why.
    pub(crate) reason: String,
}

/// What the daemon answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Which lockout it has seen.
    pub(crate) id: Uuid,
    /// How many calls and safe actions still run.
    pub(crate) running: usize,
}

/// A lockout file as it was last seen: inode, size, seconds and nanoseconds of its last change.
type Signature = (u64, u64, i64, i64);

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Locked, for this reason.
    Locked(String),
    /// Not locked any more.
    Unlocked,
}

/// The daemon's view.
#[derive(Debug)]
pub(crate) struct Lockout {
    folder: PathBuf,
    found: Option<Signature>,
    order: Option<Uuid>,
    told: Option<Seen>,
}

/// Where the order lies.
fn order_file(folder: &Path) -> PathBuf {
    folder.join("lockout")
}

fn seen_file(folder: &Path) -> PathBuf {
    folder.join("lockout.seen")
}

impl Lockout {
    /// Not locked until [`Self::look`] says otherwise.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, found: None, order: None, told: None }
    }

    /// Says what has changed since the last look.
    pub(crate) fn look(&mut self) -> Option<Change> {
        let path = order_file(&self.folder);
        let found = match fs::symlink_metadata(&path) {
            Ok(file) => Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec())),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            // Whoever cannot look does not know, and must not move anything.
            Err(_) => Some((0, 0, 0, 0)),
        };
        if found == self.found {
            return None;
        }
        self.found = found;
        self.order = None;
        if found.is_none() {
            return Some(Change::Unlocked);
        }
        let reason = match read::<Order>(&path) {
            Ok(order) => {
                self.order = Some(order.id);
                order.reason
            }
            Err(e) => format!("{} is there and cannot be read: {e}", path.display()),
        };
        Some(Change::Locked(reason))
    }

    /// Tells the one who waits how many calls still run. Says nothing twice.
    pub(crate) fn tell(&mut self, running: usize) -> io::Result<()> {
        let Some(id) = self.order else { return Ok(()) };
        let seen = Seen { id, running };
        if self.told == Some(seen) {
            return Ok(());
        }
        self.told = Some(seen);
        write(&seen_file(&self.folder), &seen, false)
    }
}

/// Locks; the lockout holds when this returns, and survives a loss of power.
pub(crate) fn lock(folder: &Path, reason: &str) -> io::Result<Order> {
    let order = Order { id: Uuid::new_v4(), reason: reason.to_owned() };
    fs::create_dir_all(folder)?;
    write(&order_file(folder), &order, true)?;
    Ok(order)
}

/// Unlocks; says whether it was locked.
pub(crate) fn unlock(folder: &Path) -> io::Result<bool> {
    match fs::remove_file(order_file(folder)) {
        Ok(()) => File::open(folder)?.sync_all().map(|()| true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// What the daemon has seen of this lockout, if it has.
pub(crate) fn seen(folder: &Path, order: &Order) -> Option<Seen> {
    read::<Seen>(&seen_file(folder)).ok().filter(|seen| seen.id == order.id)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<T> {
    let mut text = String::new();
    let most = u64::try_from(MAX_REASON).unwrap_or(u64::MAX).saturating_mul(8);
    File::open(path)?.take(most).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::from)
}

/// Whole or not at all: under another name first.
fn write(path: &Path, value: &impl Serialize, sync: bool) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let written = try_write(&fresh, path, value, sync);
    if written.is_err() {
        drop(fs::remove_file(&fresh));
    }
    written
}

fn try_write(fresh: &Path, path: &Path, value: &impl Serialize, sync: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(fresh)?;
    file.write_all(serde_json::to_string(value)?.as_bytes())?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(fresh, path)?;
    match path.parent() {
        Some(folder) if sync => File::open(folder)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_seen_once_and_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Lockout::new(folder.path().join("state"));
        assert_eq!(daemon.look(), None, "no folder, no lockout");
        let folder = folder.path().join("state");
        let order = lock(&folder, "a hand in the gate").unwrap();
        assert_eq!(daemon.look(), Some(Change::Locked("a hand in the gate".into())));
        assert_eq!(daemon.look(), None);
        assert_eq!(seen(&folder, &order), None);
        daemon.tell(2).unwrap();
        assert_eq!(seen(&folder, &order), Some(Seen { id: order.id, running: 2 }));
        let other = lock(&folder, "two hands").unwrap();
        assert_eq!(seen(&folder, &other), None, "what was told of another lockout");
        assert_eq!(daemon.look(), Some(Change::Locked("two hands".into())));
        assert!(unlock(&folder).unwrap());
        assert!(!unlock(&folder).unwrap());
        assert_eq!(daemon.look(), Some(Change::Unlocked));
        assert_eq!(daemon.look(), None);
    }

    #[test]
    fn what_cannot_be_understood_locks() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Lockout::new(folder.path().to_owned());
        for content in ["", "{}", "not JSON", &"x".repeat(100_000)] {
            fs::write(order_file(folder.path()), content).unwrap();
            assert!(
                matches!(daemon.look(), Some(Change::Locked(reason)) if reason.contains("cannot be read"))
            );
            fs::remove_file(order_file(folder.path())).unwrap();
            daemon.look();
        }
        fs::create_dir(order_file(folder.path())).unwrap();
        assert!(matches!(daemon.look(), Some(Change::Locked(_))));
        let mut nowhere = Lockout::new("/dev/null/state".into());
        assert!(matches!(nowhere.look(), Some(Change::Locked(_))));
    }

    #[test]
    fn nothing_is_left_behind_by_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(order_file(folder.path())).unwrap();
        assert!(lock(folder.path(), "x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
