//! The lockout: somebody on site wants nothing to move, and says so with `nowd lock`.
//!
//! It is a file, so it holds without the daemon and through its restarts. The daemon looks for it before each decision
//! that may start something; so nothing starts any more from the moment when the file is there. What it found, and how many calls still run, it
//! tells in a file of its own, for the one who waits at the machine. Whatever is unclear counts as locked.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::error;
use uuid::Uuid;

mod answer;
pub(crate) mod files;

pub(crate) use answer::Answers;
use answer::{Answer, Seen};
pub(crate) use files::{make_folder, sync_folder_of};

/// The longest reason, in bytes.
const MAX_REASON: usize = 1_024;

/// What `nowd lock` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which lockout it is.
    pub(crate) id: Uuid,
    /// Why.
    pub(crate) reason: String,
    /// Who, as `local:USER`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
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
    file: PathBuf,
    found: Option<Signature>,
    order: Option<Uuid>,
    reason: Option<String>,
    by: Option<String>,
    answer: Option<Answer>,
    told: Option<Seen>,
    /// Whether it could not be told, so that one failure is reported once.
    failing: bool,
}

/// Where the order lies.
fn order_file(folder: &Path) -> PathBuf {
    folder.join("lockout")
}

impl Lockout {
    /// Not locked until [`Self::look`] says otherwise. Makes the folder if need be, and in it the file by which those who
    /// lock know that this daemon lives; without it they are told that nobody has answered.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let answer = files::make_folder(&folder)
            .and_then(|()| answer::clean_up(&folder))
            .and_then(|()| Answer::new(&folder))
            .inspect_err(|e| {
                error!(
                    see = "state-unwritable",
                    "`nowd lock` will hear no answer, since {} cannot be written: {e}; `state_dir` must be a folder that \
                     this user may write to",
                    folder.display()
                );
            });
        Self {
            file: order_file(&folder),
            folder,
            found: None,
            order: None,
            reason: None,
            by: None,
            answer: answer.ok(),
            told: None,
            failing: false,
        }
    }

    /// Says what has changed since the last look.
    pub(crate) fn look(&mut self) -> Option<Change> {
        let path = &self.file;
        let found = match fs::symlink_metadata(path) {
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
        self.reason = None;
        self.by = None;
        if found.is_none() {
            return Some(Change::Unlocked);
        }
        let reason = match files::read::<Order>(path) {
            Ok(order) => {
                self.order = Some(order.id);
                self.by = order.by;
                order.reason
            }
            Err(e) => format!("{} is there and cannot be read: {e}", path.display()),
        };
        self.reason = Some(reason.clone());
        Some(Change::Locked(reason))
    }

    /// Why it was locked at the last look, if it was.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Who locked it, if that is known.
    pub(crate) fn by(&self) -> Option<&str> {
        self.by.as_deref()
    }

    /// Tells the one who waits how many calls still run. Says nothing twice, and tells of one failure once.
    pub(crate) fn tell(&mut self, running: usize) -> io::Result<()> {
        let Some(id) = self.order else { return Ok(()) };
        let seen = Seen { id, running };
        if self.told == Some(seen) {
            return Ok(());
        }
        let result = self.try_tell(seen);
        if result.is_ok() {
            self.told = Some(seen);
        }
        let was_failing = std::mem::replace(&mut self.failing, result.is_err());
        if was_failing { Ok(()) } else { result }
    }

    fn try_tell(&mut self, seen: Seen) -> io::Result<()> {
        let answer = match self.answer.take().filter(Answer::is_there) {
            Some(answer) => answer,
            // The folder was not there before, or has been cleared or mounted since.
            None => Answer::new(&self.folder)?,
        };
        self.answer.insert(answer).write(seen)
    }
}

/// Why it was not locked anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody has said another reason, which stays: the one unlock that takes it back must not be taken for both.
    #[error(
        "NOT locked for you: {} is locked already, for this reason: {reason}; your reason was not written, and whoever \
         unlocks that lets things move again: agree with them, or lock when they have",
        .folder.display()
    )]
    Already {
        /// What is locked.
        folder: PathBuf,
        /// Why it is.
        reason: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Locks; the lockout holds when this returns, and survives a loss of power. For the reason for which it is locked already it
/// may be locked once more, and daemons answer anew. Of two who lock in the same instant the later one holds, and the other hears
/// no answer.
pub(crate) fn lock(folder: &Path, reason: &str, by: &str) -> Result<Order, LockError> {
    // One that nobody could have read gives way.
    if let Some(other) = self::order(folder).ok().filter(|other| other.reason != reason) {
        return Err(LockError::Already { folder: folder.into(), reason: other.reason });
    }
    let order = Order { id: Uuid::new_v4(), reason: reason.to_owned(), by: Some(by.to_owned()) };
    files::make_folder(folder)?;
    files::write(&order_file(folder), &order)?;
    Ok(order)
}

/// What a reason may be: one line that fits.
pub(crate) fn check_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_REASON || text.chars().any(char::is_control) {
        return Err(format!(
            "say in one line of at most {MAX_REASON} bytes why, for those whose calls are refused"
        ));
    }
    Ok(text.to_owned())
}

/// The lockout that there is.
pub(crate) fn order(folder: &Path) -> io::Result<Order> {
    files::read(&order_file(folder))
}

/// Unlocks; says whether it was locked.
pub(crate) fn unlock(folder: &Path) -> io::Result<bool> {
    let path = order_file(folder);
    match fs::remove_file(&path) {
        Ok(()) => files::sync_folder_of(&path).map(|()| true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// What the daemons that live have answered to this lockout.
pub(crate) fn answers(folder: &Path, order: &Order) -> io::Result<Answers> {
    answer::answers(folder, order)
}

#[cfg(test)]
mod tests;
