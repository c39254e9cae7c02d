//! One call: what it waits for, what its next attempt is, and what a reply means for it.
//!
//! At most one *round* of attempts is undecided: the attempts of a round are the same bytes but for their number, so a
//! gateway takes them for one. A new round, under new `not_after` values, begins only when nothing of the rounds before
//! can have run or can run any more.

use std::time::Duration;

use nowd_link::{Properties, Publish, Qos};
use nowd_protocol::{NotAfter, Outcome, Reply, ReplyStatus, ReplyTopic, Request, Status};

use super::{Form, NewCall};
use crate::bounds::was_the_one;
use crate::clock::BootInstant;

/// How often one call is sent again after a `resync`.
const MOST_RESYNCS: usize = 3;

#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Its place among the calls.
    pub(super) place: u64,
    pub(super) request: Request,
    pub(super) form: Form,
    pub(super) received: BootInstant,
    pub(super) deadline: BootInstant,
    /// When it is looked at next: to send it again, at its deadline, or a little later if an attempt is under way then.
    pub(super) due: BootInstant,
    pub(super) stage: Stage,
    /// The number of its last attempt. An id that is used again goes on counting, so that no reply to an attempt of the
    /// call before answers this one.
    pub(super) attempts: u32,
    /// The number of the last attempt of the call before.
    pub(super) before: u32,
    /// When each attempt was published.
    published: Vec<(u32, BootInstant)>,
    /// The last `resync`, should there be no better answer.
    pub(super) resync: Option<Reply>,
    pub(super) resyncs: usize,
    /// The first attempt of the round.
    round: u32,
    /// The attempts that may have run or may still run: their numbers, and when they were published.
    undecided: Vec<(u32, BootInstant)>,
    /// When it is sent again without having been answered.
    pub(super) again: Again,
    /// Whether it may be: once, and never where a device of the sample may be asked, which would run it twice.
    may_repeat: bool,
}

/// The one retransmission of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// At this instant, if no reply has come.
    At(BootInstant),
    /// As soon as the link can take it.
    Due,
    /// Not any more, or never.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing undecided was published.
    Waiting(For),
    /// The last attempt was published then, and the call is undecided.
    Sent(BootInstant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Link,
    Presence,
    Room,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The call ends with it.
    Answer,
    /// The call may be sent again.
    Again,
    /// It does not count: it answers an attempt of an earlier round, or what it says of its own attempt leaves open what
    /// became of another.
    Void,
}

impl Call {
    pub(super) fn new(place: u64, new: NewCall, before: u32) -> Self {
        let NewCall { request, form, received, deadline } = new;
        Self {
            place,
            request,
            form,
            received,
            deadline,
            due: deadline,
            stage: Stage::Waiting(For::Link),
            attempts: before,
            before,
            published: Vec::new(),
            resync: None,
            resyncs: 0,
            round: before.saturating_add(1),
            undecided: Vec::new(),
            again: Again::Never,
            may_repeat: form == Form::Native,
        }
    }

    pub(super) fn wait(&mut self, what: For) {
        self.stage = Stage::Waiting(what);
    }

    /// When the attempt that a reply answers was published.
    pub(super) fn published_at(&self, reply: &Reply) -> Option<BootInstant> {
        let mut attempts = self.published.iter();
        match reply.attempt {
            Some(attempt) => attempts.find(|(number, _)| *number == attempt),
            None => attempts.next(),
        }
        .map(|(_, published)| *published)
    }

    /// How long the round trip took whose reply was heard at `now`: from the last attempt that the gateway can have had for as
    /// long as it says. None where there is no such attempt: it had the call from elsewhere before.
    pub(super) fn round_trip(&self, now: BootInstant, reply: &Reply) -> Option<Duration> {
        let had = Duration::from_micros(reply.timing.map_or(0, |timing| timing.total));
        let passed = self.published.iter().rev().map(|(_, published)| now.saturating_since(*published));
        passed.into_iter().find(|passed| *passed >= had)
    }

    /// What a reply means that was heard at `now`.
    ///
    /// Whoever says that something was done, or may have been, is believed. That nothing was done is believed of an
    /// attempt only if the process that says so was the one to get it when it was published: an earlier one may have
    /// run it, and another copy of it have come to the later one. And it decides the call only if it is so for every
    /// attempt of the round.
    pub(super) fn judge(&mut self, now: BootInstant, reply: &Reply) -> Verdict {
        if reply.attempt.is_some_and(|attempt| attempt <= self.before) {
            return Verdict::Void;
        }
        if reply.outcome != Outcome::NotExecuted {
            return Verdict::Answer;
        }
        if reply.attempt.is_some_and(|attempt| attempt < self.round) {
            return Verdict::Void;
        }
        if let Some(stamp) = &reply.gateway {
            self.undecided.retain(|(_, published)| !was_the_one(stamp, now, *published));
        } else {
            self.undecided.clear();
        }
        if !self.undecided.is_empty() {
            return Verdict::Void;
        }
        let resync = reply.status == ReplyStatus::Known(Status::Resync) && reply.gateway.is_some();
        if resync && self.resyncs < MOST_RESYNCS { Verdict::Again } else { Verdict::Answer }
    }

    /// The connection on which it was sent has ended, and it waits to be sent again: now is better than later. Says so.
    pub(super) fn is_lost(&mut self) -> bool {
        let lost = matches!((self.stage, self.again), (Stage::Sent(_), Again::At(_)));
        if lost {
            self.again = Again::Due;
        }
        lost
    }

    /// This attempt was not taken. Says whether nothing undecided is left.
    pub(super) fn not_taken(&mut self, attempt: u32) -> bool {
        self.undecided.retain(|(undecided, _)| *undecided != attempt);
        self.undecided.is_empty()
    }

    /// An attempt was published at `now`; `anew` if it began a round.
    pub(super) fn published(&mut self, now: BootInstant, anew: bool) {
        self.attempts = self.request.attempt;
        self.published.push((self.attempts, now));
        self.undecided.push((self.attempts, now));
        self.stage = Stage::Sent(now);
        self.may_repeat &= anew;
        self.again = Again::Never;
        if anew {
            self.round = self.attempts;
        }
        if self.may_repeat {
            self.again = Again::At(now.saturating_add(self.deadline.saturating_since(now) / 2));
        }
    }

    /// The first attempt of a new round: the same bytes as the one before but for `attempt` and `not_after`.
    pub(super) fn attempt(&mut self, now: BootInstant, not_after: Option<NotAfter>) -> Publish {
        self.request.not_after = not_after;
        self.again(now)
    }

    /// The next attempt of the round: the same bytes as the one before but for `attempt`.
    pub(super) fn again(&mut self, now: BootInstant) -> Publish {
        let budget =
            u64::try_from(self.deadline.saturating_since(self.received).as_millis()).unwrap_or(u64::MAX);
        // Devices of the sample ignore what they do not know; a gateway of ours refuses a call without it.
        self.request.timeout = Some(budget);
        self.request.attempt = self.attempts.saturating_add(1);
        let payload = match self.form {
            Form::Native | Form::Presence => self.request.payload(),
            Form::Compat => self.request.compat_payload(),
        };
        let topic = &self.request.topic;
        Publish {
            topic: topic.to_string(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Properties {
                message_expiry: Some(self.deadline.saturating_since(now)),
                response_topic: Some(ReplyTopic(topic.clone()).to_string()),
                correlation_data: Some(topic.id.as_bytes().to_vec().into()),
                content_type: Some("application/json".into()),
            },
        }
    }
}
