//! What each daemon answers to the one who locks: a file of its own in `state_dir`, which it holds (`flock`) while it lives.
//!
//! So whoever locks knows which daemons there are, also one that hangs, and one that still ends its calls while its
//! successor already runs. Nothing here waits for a lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Order, files};

/// What the names of the files start with.
const PREFIX: &str = "daemon-";

/// Longer than any answer.
const WIDTH: usize = 100;

/// A folder with more files than this is none of ours.
const MOST_FILES: usize = 4_096;

/// How often a file is made until nobody looks at it in the moment before it is held.
const MOST_TRIES: usize = 16;

/// What the daemon answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Which lockout it has seen.
    pub(super) id: Uuid,
    /// How many calls and safe actions still run.
    pub(super) running: usize,
}

/// What the daemons that live have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// None lives.
    Nobody,
    /// So many have not seen this lockout.
    Missing(usize),
    /// All have seen it, and together they still run so many calls and safe actions.
    All {
        /// How many.
        running: usize,
    },
}

/// A daemon's own file. It vanishes with this value.
#[derive(Debug)]
pub(super) struct Answer {
    path: PathBuf,
    file: File,
}

impl Answer {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        for _ in 0..MOST_TRIES {
            let path = folder.join(format!("{PREFIX}{}", Uuid::new_v4()));
            let answer = Self { file: files::create(&path)?, path };
            match answer.file.try_lock() {
                // Whoever cleans up may have taken it for one that was left behind.
                Ok(()) if answer.is_there() => {
                    answer.put("")?;
                    return Ok(answer);
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    /// Whether it still lies where others look for it.
    pub(super) fn is_there(&self) -> bool {
        let place = |file: fs::Metadata| (file.dev(), file.ino());
        let there = fs::symlink_metadata(&self.path).map(place).ok();
        there.is_some() && there == self.file.metadata().map(place).ok()
    }

    pub(super) fn write(&self, seen: Seen) -> io::Result<()> {
        self.put(&serde_json::to_string(&seen)?)
    }

    /// In place, since the lock is on this file; of one size, so that it always has room; and twice, so that a reader
    /// who comes in the middle notices it.
    fn put(&self, text: &str) -> io::Result<()> {
        self.file.write_all_at(format!("{text:<WIDTH$}\n{text:<WIDTH$}\n").as_bytes(), 0)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_there() {
            // What is left behind is found not to be held.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Removes what daemons that were killed have left behind.
pub(super) fn clean_up(folder: &Path) -> io::Result<()> {
    for path in list(folder)? {
        if let Ok(file) = files::open(&path)
            && file.try_lock().is_ok()
        {
            // Held while it is removed, so that nobody takes it for his own.
            drop(fs::remove_file(&path));
        }
    }
    Ok(())
}

/// What those that live say of this lockout.
pub(super) fn answers(folder: &Path, order: &Order) -> io::Result<Answers> {
    let (mut living, mut missing, mut running) = (0_usize, 0_usize, 0_usize);
    for path in list(folder)? {
        let seen = match files::open(&path) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => seen(&file).filter(|seen| seen.id == order.id),
                // Whatever is unclear lives and has not answered.
                Err(TryLockError::Error(_)) => None,
            },
            // No daemon made it, or it has ended just now.
            Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => continue,
            Err(_) => None,
        };
        living = living.saturating_add(1);
        match seen {
            Some(seen) => running = running.saturating_add(seen.running),
            None => missing = missing.saturating_add(1),
        }
    }
    Ok(match (living, missing) {
        (0, _) => Answers::Nobody,
        (_, 0) => Answers::All { running },
        (_, missing) => Answers::Missing(missing),
    })
}

fn seen(file: &File) -> Option<Seen> {
    let text = files::text(file).ok()?;
    let mut lines = text.lines();
    let (first, second) = (lines.next()?, lines.next()?);
    if first == second { serde_json::from_str(first).ok() } else { None }
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (number, entry) in fs::read_dir(folder)?.enumerate() {
        if number >= MOST_FILES {
            return Err(io::Error::other(format!("there are more than {MOST_FILES} files in it")));
        }
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
