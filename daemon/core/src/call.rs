//! A call between its admission and the moment when its resource is free again.

use std::time::Duration;

use nowd_protocol::{RequestTopic, Timing, Uuid};

use crate::time::{Instant, micros};

/// The core's name for a call; never used twice by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(pub(crate) u64);

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

#[derive(Debug)]
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
    pub(crate) state: State,
    pub(crate) timer: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In its lane, not started.
    Waiting,
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
            State::Waiting => Timing { queue: total, plugin: 0, total },
            State::Running { started } | State::Overrun { started } => {
                let queue = micros(started.since(self.received));
                Timing { queue, plugin: micros(now.since(started)), total }
            }
        }
    }
}
