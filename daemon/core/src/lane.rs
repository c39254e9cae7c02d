//! Lanes: who runs, who waits, who is next.

use std::collections::{BTreeSet, VecDeque};

use crate::call::CallKey;
use crate::settings;

/// First in, first out; so many at once; so many waiting.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    settings: settings::Lane,
    running: BTreeSet<CallKey>,
    /// Safe actions run beside the call that they make safe and take no slot.
    beside: BTreeSet<CallKey>,
    waiting: VecDeque<CallKey>,
    /// Calls that have held the lane for too long after their deadline.
    stuck: BTreeSet<CallKey>,
}

/// What a lane does with a new call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Start,
    Wait,
    Full,
    Stuck,
}

impl Lane {
    pub(crate) fn new(settings: settings::Lane) -> Self {
        Self {
            settings,
            running: BTreeSet::new(),
            beside: BTreeSet::new(),
            waiting: VecDeque::new(),
            stuck: BTreeSet::new(),
        }
    }

    /// What a call would find; `overtakes` for stop methods.
    pub(crate) fn entry(&self, overtakes: bool) -> Entry {
        if self.is_stuck() {
            Entry::Stuck
        } else if self.has_slot() && (self.waiting.is_empty() || overtakes) {
            Entry::Start
        } else if overtakes || self.waiting.len() < usize::from(self.settings.depth) {
            Entry::Wait
        } else {
            Entry::Full
        }
    }

    pub(crate) fn start(&mut self, key: CallKey) {
        self.running.insert(key);
    }

    pub(crate) fn start_beside(&mut self, key: CallKey) {
        self.beside.insert(key);
    }

    pub(crate) fn wait(&mut self, key: CallKey) {
        self.waiting.push_back(key);
    }

    /// The call to start next, if there is a slot for it; it no longer waits.
    pub(crate) fn next(&mut self) -> Option<CallKey> {
        if self.has_slot() { self.waiting.pop_front() } else { None }
    }

    /// Takes a call out, wherever it is.
    pub(crate) fn remove(&mut self, key: CallKey) {
        self.running.remove(&key);
        self.beside.remove(&key);
        self.stuck.remove(&key);
        self.waiting.retain(|other| *other != key);
    }

    /// Takes out all calls that wait.
    pub(crate) fn purge(&mut self) -> VecDeque<CallKey> {
        std::mem::take(&mut self.waiting)
    }

    /// Takes out the calls that wait but for those to be kept.
    pub(crate) fn purge_all_but(&mut self, keep: impl Fn(CallKey) -> bool) -> VecDeque<CallKey> {
        let (kept, purged) = self.purge().into_iter().partition(|key| keep(*key));
        self.waiting = kept;
        purged
    }

    /// The safe actions that run beside the lane's calls.
    pub(crate) fn beside(&self) -> impl Iterator<Item = CallKey> {
        self.beside.iter().copied()
    }

    /// Marks a running call as stuck. Whether the lane as a whole is, says [`Self::is_stuck`].
    pub(crate) fn mark_stuck(&mut self, key: CallKey) {
        if self.running.contains(&key) {
            self.stuck.insert(key);
        }
    }

    /// No slot is left that is not held by a stuck call.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.len() >= usize::from(self.settings.concurrency.get())
    }

    fn has_slot(&self) -> bool {
        self.running.len() < usize::from(self.settings.concurrency.get())
    }
}
