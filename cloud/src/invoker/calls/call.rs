//! One call: what it waits for, what its next attempt is, and what a reply means for it.

use std::collections::HashSet;

use nowd_link::{Properties, Publish, Qos};
use nowd_protocol::{NotAfter, Outcome, Reply, ReplyStatus, ReplyTopic, Request, Status, Uuid};

use super::{Form, NewCall};
use crate::clock::BootInstant;

/// How often one call is sent again after a `resync`.
const MOST_RESYNCS: usize = 3;

#[derive(Debug)]
pub(super) struct Call {
    /// Its place among the calls.
    pub(super) place: u64,
    pub(super) request: Request,
    pub(super) form: Form,
    pub(super) received: BootInstant,
    pub(super) deadline: BootInstant,
    /// When it is looked at next: its deadline, or a little later if an attempt is under way then.
    pub(super) due: BootInstant,
    pub(super) stage: Stage,
    /// How often it was published.
    pub(super) attempts: u32,
    /// The last `resync`, should there be no better answer.
    pub(super) resync: Option<Reply>,
    pub(super) resyncs: usize,
    /// The incarnations that this call was sent to or heard of.
    pub(super) incarnations: HashSet<Uuid>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// Nothing undecided was published.
    Waiting(For),
    /// An attempt was published then, and nothing was heard of it.
    Sent(BootInstant),
}

#[derive(Debug, Clone, Copy)]
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
    /// It does not count.
    Stale,
}

impl Call {
    pub(super) fn new(place: u64, new: NewCall) -> Self {
        let NewCall { request, form, received, deadline } = new;
        Self {
            place,
            request,
            form,
            received,
            deadline,
            due: deadline,
            stage: Stage::Waiting(For::Link),
            attempts: 0,
            resync: None,
            resyncs: 0,
            incarnations: HashSet::new(),
        }
    }

    pub(super) fn wait(&mut self, what: For) {
        self.stage = Stage::Waiting(what);
    }

    /// What a reply to the attempt under way means.
    ///
    /// A `resync` allows the next attempt only if it surely answers the last one, so that nothing undecided is left. One
    /// from an incarnation that this call has met before may be the second copy of an earlier answer, and says nothing
    /// of what becomes of the attempt under way.
    pub(super) fn judge(&mut self, reply: &Reply) -> Verdict {
        let resync =
            reply.status == ReplyStatus::Known(Status::Resync) && reply.outcome == Outcome::NotExecuted;
        let Some(stamp) = reply.gateway.as_ref().filter(|_| resync) else { return Verdict::Answer };
        if !self.incarnations.insert(stamp.incarnation) {
            Verdict::Stale
        } else if self.resyncs < MOST_RESYNCS {
            Verdict::Again
        } else {
            Verdict::Answer
        }
    }

    /// The next attempt: the same bytes as the one before but for `attempt` and `not_after`.
    pub(super) fn attempt(&mut self, now: BootInstant, not_after: Option<NotAfter>) -> Publish {
        let budget =
            u64::try_from(self.deadline.saturating_since(self.received).as_millis()).unwrap_or(u64::MAX);
        // Devices of the sample ignore what they do not know; a gateway of ours refuses a call without it.
        self.request.timeout = Some(budget);
        self.request.attempt = self.attempts + 1;
        self.request.not_after = not_after;
        let payload = match self.form {
            Form::Native => self.request.payload(),
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
