//! The journal's file: made whole or not at all, and held by one process. What it holds is no matter here.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::SIZE;

/// How often to look again when another process made, moved or removed the file meanwhile.
const MOST_TRIES: usize = 8;

/// All that is asked of a disk.
pub(crate) trait Disk {
    /// Writes all of it there, or fails.
    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when everything written before would survive a loss of power.
    fn sync_data(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Self::sync_data(self)
    }
}

/// The file, locked for this process, and made if it is not there; `None` if another process has it.
pub(super) fn hold(folder: &Path, path: &Path) -> io::Result<Option<File>> {
    hold_or_make(folder, path, fill)
}

pub(super) fn hold_or_make(
    folder: &Path,
    path: &Path,
    fill: fn(&mut File) -> io::Result<()>,
) -> io::Result<Option<File>> {
    let fresh = path.with_extension("new");
    for _ in 0..MOST_TRIES {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => {
                if !lock(&file)? {
                    return Ok(None);
                }
                if !is_at(&file, path) {
                    continue;
                }
                let about = file.metadata()?;
                if about.is_file() && about.len() == 0 {
                    // Nothing is in it to be forgotten.
                    fs::remove_file(path)?;
                    continue;
                }
                // Another process may have begun to make one before this was there.
                return remove(&fresh).map(|()| Some(file));
            }
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            // A link to a disk that is not there: what it remembers must not be forgotten for a new one.
            Err(e) if fs::symlink_metadata(path).is_ok_and(|file| file.is_symlink()) => return Err(e),
            Err(_) => {}
        }
        // One that was left half-made is written anew.
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&fresh)?;
        if !lock(&file)? {
            return Ok(None);
        }
        // Whoever holds the unfinished file is the only one who may make one.
        if !is_at(&file, &fresh) || fs::symlink_metadata(path).is_ok() {
            continue;
        }
        let made = fill(&mut file).and_then(|()| {
            fs::rename(&fresh, path)?;
            File::open(folder)?.sync_all()
        });
        if let Err(e) = made {
            drop(fs::remove_file(&fresh));
            return Err(e);
        }
        return Ok(Some(file));
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// Every block is written once, so that later writes need no new ones and cannot fail for want of room.
fn fill(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    let block = vec![0; 1 << 16];
    for at in (0..SIZE).step_by(block.len()) {
        Disk::write_all_at(file, &block, at)?;
    }
    file.sync_all()
}

/// Whether this process alone holds it from now on, until it is closed.
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |file: fs::Metadata| (file.dev(), file.ino());
    let there = fs::metadata(path).map(place).ok();
    there.is_some() && there == file.metadata().map(place).ok()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}
