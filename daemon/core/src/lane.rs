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
    /// The one of those that run which is a read of the gateway's own.
    reading: Option<CallKey>,
    /// Calls that have held the lane for too long after their deadline.
    stuck: BTreeSet<CallKey>,
}

/// How a lane is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneReport {
    /// Its name.
    pub name: String,
    /// How many calls may run at once.
    pub concurrency: u16,
    /// How many calls run or are being written into the journal: also those whose deadline has passed, the gateway's own
    /// reads, and safe actions.
    pub running: usize,
    /// How many calls wait.
    pub waiting: usize,
    /// How many of those that run have held the lane for too long after their deadline.
    pub stuck: usize,
}

/// What a lane does with a new call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Start,
    Wait,
    /// Wait, for a read of the gateway's own and for nobody else.
    WaitForRead,
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
            reading: None,
            stuck: BTreeSet::new(),
        }
    }

    /// What a call would find; `overtakes` for stop methods.
    pub(crate) fn entry(&self, overtakes: bool) -> Entry {
        if self.is_stuck() {
            Entry::Stuck
        } else if self.has_slot() && (self.waiting.is_empty() || overtakes) {
            Entry::Start
        } else if self.waits_for_read() && (self.waiting.is_empty() || overtakes) {
            Entry::WaitForRead
        } else if overtakes || self.waiting.len() < self.depth() {
            Entry::Wait
        } else {
            Entry::Full
        }
    }

    pub(crate) fn start(&mut self, key: CallKey) {
        self.running.insert(key);
    }

    /// A read of the gateway's own takes a slot like any other, and no place from those who wait.
    pub(crate) fn start_reading(&mut self, key: CallKey) {
        self.running.insert(key);
        self.reading = Some(key);
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

    pub(crate) fn report(&self, name: &str) -> LaneReport {
        LaneReport {
            name: name.to_owned(),
            concurrency: self.settings.concurrency.get(),
            running: self.running.len().saturating_add(self.beside.len()),
            waiting: self.waiting.len(),
            stuck: self.stuck.len(),
        }
    }

    /// Takes a call out, wherever it is.
    pub(crate) fn remove(&mut self, key: CallKey) {
        self.running.remove(&key);
        self.beside.remove(&key);
        self.stuck.remove(&key);
        self.reading = self.reading.filter(|reading| *reading != key);
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

    /// Nobody runs or waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.beside.is_empty() && self.waiting.is_empty()
    }

    /// It is another lane from now on, before the same thing: those that run hold it still.
    pub(crate) fn change(&mut self, settings: settings::Lane) {
        self.settings = settings;
    }

    /// But for the read there would be a slot.
    fn waits_for_read(&self) -> bool {
        self.reading.is_some() && self.running.len() <= usize::from(self.settings.concurrency.get())
    }

    /// Whether a call may wait for another at all.
    pub(crate) const fn may_wait(&self) -> bool {
        self.settings.depth > 0
    }

    /// How many may wait: as many as there would run and wait without the read.
    fn depth(&self) -> usize {
        usize::from(self.settings.depth).saturating_add(usize::from(self.reading.is_some()))
    }

    fn has_slot(&self) -> bool {
        self.running.len() < usize::from(self.settings.concurrency.get())
    }
}
