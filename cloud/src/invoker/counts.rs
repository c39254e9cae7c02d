//! How many messages answered no call. Counts, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages that were dropped since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    unknown: AtomicU64,
    mismatched: AtomicU64,
    unreadable: AtomicU64,
}

/// How many messages answered no call, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Replies to no call that waits: late ones, second copies, retained ones.
    pub unknown: u64,
    /// Replies whose target, method or payload does not fit the call of their id.
    pub mismatched: u64,
    /// Messages that are neither a reply to us nor a presence.
    pub unreadable: u64,
}

impl Counts {
    pub(crate) fn unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mismatched(&self) {
        self.mismatched.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Dropped {
        Dropped {
            unknown: self.unknown.load(Ordering::Relaxed),
            mismatched: self.mismatched.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
        }
    }
}
