//! A call between its admission and the moment when its resource is free again.

use std::sync::Arc;
use std::time::Duration;

use nowd_protocol::{RequestTopic, Timing, Uuid};

use crate::event::Purpose;
use crate::journal::JournalLine;
use crate::settings::Offer;
use crate::time::{Instant, micros};

/// The core's name for a call; never used twice by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(pub(crate) u64);

/// Who asked, and how.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) topic: RequestTopic,
    pub(crate) caller: Option<Arc<str>>,
    pub(crate) traceparent: Option<Arc<str>>,
    pub(crate) attempt: u32,
    /// Compatibility callers hear only success.
    pub(crate) compat: bool,
}

/// Who made a call.
#[derive(Debug, Clone)]
pub(crate) enum Maker {
    Asker(Asker),
    /// The gateway, to make another call safe.
    SafeAction,
    /// The gateway, to read a value.
    Poll,
}

#[derive(Debug, Clone)]
pub(crate) struct Call<P> {
    pub(crate) id: Uuid,
    pub(crate) method: Arc<str>,
    pub(crate) lane: Arc<str>,
    pub(crate) params: P,
    pub(crate) deadline: Instant,
    pub(crate) budget: Duration,
    pub(crate) received: Instant,
    pub(crate) maker: Maker,
    /// What was on offer when it was let in: it ends under the rules that it began with.
    pub(crate) offer: Arc<Offer>,
    /// When it is given up if it still waits.
    pub(crate) give_up_at: Instant,
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

impl Maker {
    pub(crate) const fn asker(&self) -> Option<&Asker> {
        match self {
            Self::Asker(asker) => Some(asker),
            Self::SafeAction | Self::Poll => None,
        }
    }

    pub(crate) const fn purpose(&self) -> Purpose {
        match self {
            Self::Asker(_) => Purpose::Call,
            Self::SafeAction => Purpose::SafeAction,
            Self::Poll => Purpose::Poll,
        }
    }
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
