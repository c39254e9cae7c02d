//! What the journal says of calls that were started, also by earlier incarnations. The shell keeps it on disk.

use std::collections::{BTreeMap, VecDeque};

use nowd_protocol::{Outcome, Request, Status, Uuid};

use crate::deadline::Refusal;
use crate::event::Ended;
use crate::memory::{Mark, forgotten};

/// One line of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalLine {
    /// A call is about to be started.
    Started {
        /// Its id.
        id: Uuid,
        /// What it is known by.
        mark: Mark,
    },
    /// It was answered.
    Ended {
        /// Its id.
        id: Uuid,
        /// How it ended.
        status: Status,
        /// What is known of the physical world.
        outcome: Outcome,
    },
    /// It was not started after all.
    NotStarted {
        /// Its id.
        id: Uuid,
    },
}

/// The calls of the journal, as many as fit.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    capacity: usize,
    calls: BTreeMap<Uuid, Past>,
    order: VecDeque<Uuid>,
}

#[derive(Debug, Clone)]
struct Past {
    mark: Mark,
    ended: Option<(Status, Outcome)>,
}

/// What the journal knows of a request's id.
#[derive(Debug)]
pub(crate) enum PastCall {
    Answered(Ended),
    Conflict,
}

impl Journal {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, calls: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Takes a line in.
    pub(crate) fn read(&mut self, line: JournalLine) {
        match line {
            JournalLine::Started { id, mark } => {
                if self.calls.insert(id, Past { mark, ended: None }).is_none() {
                    self.order.push_back(id);
                }
                while self.order.len() > self.capacity {
                    let Some(oldest) = self.order.pop_front() else { break };
                    self.calls.remove(&oldest);
                }
            }
            JournalLine::Ended { id, status, outcome } => {
                if let Some(past) = self.calls.get_mut(&id) {
                    past.ended = Some((status, outcome));
                }
            }
            JournalLine::NotStarted { id } => {
                if self.calls.remove(&id).is_some() {
                    self.order.retain(|other| *other != id);
                }
            }
        }
    }

    /// Looks a request up.
    pub(crate) fn recall(&self, request: &Request) -> Option<PastCall> {
        let past = self.calls.get(&request.topic.id)?;
        let same = past.mark.content == Mark::of(request).content;
        Some(if same { PastCall::Answered(past.answer()) } else { PastCall::Conflict })
    }

    /// Whether this very request was made before, by the same asker.
    pub(crate) fn is_own(&self, request: &Request) -> bool {
        self.calls.get(&request.topic.id).is_some_and(|past| past.mark == Mark::of(request))
    }

    /// How the call ended, for the one who made it.
    pub(crate) fn report(&self, id: Uuid, asker: Uuid) -> Option<Ended> {
        self.calls.get(&id).filter(|past| past.mark.asker == asker).map(Past::answer)
    }
}

impl Past {
    /// What the journal can say: how the call ended, or that it was started.
    fn answer(&self) -> Ended {
        let (status, outcome) = self.ended.unwrap_or((Status::Timeout, Outcome::Unknown));
        let message = match self.ended {
            Some(_) => "it was answered before, and the journal keeps no more than this",
            None => "it was started before the gateway's process began, and may have run",
        };
        let error = if status == Status::Ok { forgotten() } else { Refusal::new(status, message).error };
        Ended { status, outcome, response: None, error: Some(error) }
    }
}
