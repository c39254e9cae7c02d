//! A call between its admission and the moment when its resource is free again.

use std::time::Duration;

use nowd_protocol::{RequestTopic, Timing, Uuid};

use crate::journal::JournalLine;
use crate::time::{Instant, micros};

/// The core's name for a call; never used twice by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(pub(crate) u64);

impl CallKey {
    /// The call of this number, for tests of what passes keys on.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// Who asked, and how.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) topic: RequestTopic,
    pub(crate) caller: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) attempt: u32,
    /// Compatibility callers hear only success.
    pub(crate) compat: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Call<P> {
    pub(crate) id: Uuid,
    pub(crate) method: String,
    pub(crate) lane: String,
    pub(crate) params: P,
    pub(crate) deadline: Instant,
    pub(crate) budget: Duration,
    pub(crate) received: Instant,
    /// `None` for the gateway's own safe actions.
    pub(crate) asker: Option<Asker>,
    /// Repeats, which the same answer will answer.
    pub(crate) joined: Vec<Asker>,
    /// What to write into the journal before it starts.
    pub(crate) journal: Option<JournalLine>,
    pub(crate) state: State,
    pub(crate) timer: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In its lane, not started.
    Waiting,
    /// Its place in the lane is taken, and it is being written into the journal.
    Committing,
    /// The plugin has it.
    Running { started: Instant },
    /// The plugin still has it, and `timeout` has been answered.
    Overrun { started: Instant },
}

impl<P> Call<P> {
    /// Where the time went until `now`.
    pub(crate) fn timing(&self, now: Instant) -> Timing {
        let total = micros(now.since(self.received));
        match self.state {
            State::Waiting | State::Committing => Timing { queue: total, plugin: 0, total },
            State::Running { started } | State::Overrun { started } => {
                let queue = micros(started.since(self.received));
                Timing { queue, plugin: micros(now.since(started)), total }
            }
        }
    }
}
