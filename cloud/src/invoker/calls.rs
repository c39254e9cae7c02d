//! Decides about calls: what is published when, which reply belongs to which call, how each ends.
//!
//! Everything comes in with the time at which it happened, and goes out through [`Wire`]. Nothing here waits, reads a
//! clock or touches the network. A call is sent again in two ways: once, at half its budget, as the same bytes, which a
//! gateway takes for the same call; and under new values, when it is certain that nothing sent before has run or will.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nowd_link::{Publish, SendError};
use nowd_protocol::{Level, Presence, PresenceTopic, Reply, ReplyTopic, Request, RequestTopic, Status, Uuid};

use super::Unannounced;
use super::answer::Answer;
use super::counts::Counts;
use crate::bounds::ClockBounds;
use crate::clock::BootInstant;
use crate::presence::Watches;

mod call;
mod link;
mod onward;
mod spent;

use call::{Again, Call, For, Stage, Verdict};
use link::Link;
use spent::Spent;

/// How many targets' clocks are remembered.
const MOST_BOUNDS: usize = 10_000;
/// How many presences are subscribed to: AWS IoT Core allows 50 subscriptions on a connection.
const MOST_WATCHES: usize = 40;
/// When to try again what the link had no room for, should nothing happen before.
const TRY_AGAIN: Duration = Duration::from_millis(5);
/// How long after its deadline a call that was sent still waits for the gateway's word, which says more than
/// `no_reply`. Nothing is sent in that time.
const LAST_WORD: Duration = Duration::from_millis(250);
/// The method level of a probe's topic.
const PROBE: &str = "probe";

/// What the core acts through.
pub(crate) trait Wire {
    /// Publishes on the open connection; what becomes of it is told under `about`.
    fn publish(&mut self, publish: Publish, about: About) -> Result<(), SendError>;
    /// Whether a subscription can be asked for now.
    fn can_subscribe(&self) -> bool;
    /// Subscribes to 1 to [`nowd_link::MOST_FILTERS`] filters.
    fn subscribe(&mut self, filters: &[String]) -> Result<(), SendError>;
    fn unsubscribe(&mut self, filter: &str);
    fn answer(&mut self, answer: Answer);
}

/// What a publish is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// This attempt of this call.
    Call(Uuid, u32),
    Probe(Uuid),
}

/// In which form a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// nowd's own: the target must be known to be connected.
    #[default]
    Native,
    /// The public sample's, whose devices publish no presence and know no deadline.
    Compat,
    /// Not written at all: what is known of the target's presence is the answer.
    Presence,
}

/// A call that comes in.
#[derive(Debug)]
pub(crate) struct NewCall {
    pub(crate) request: Request,
    pub(crate) form: Form,
    pub(crate) received: BootInstant,
    pub(crate) deadline: BootInstant,
}

/// All calls of one process.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    client: Level,
    most_calls: usize,
    counts: Arc<Counts>,
    /// Whether somebody else says who is there, when a request is delivered.
    direct: bool,
    unannounced: Unannounced,
    link: Link,
    /// The link had no room for something: to be tried again.
    blocked: bool,
    /// Targets of waiting calls that nobody has asked about.
    to_ask: Vec<Level>,
    calls: HashMap<Uuid, Call>,
    deadlines: BTreeSet<(BootInstant, Uuid)>,
    /// Calls to be looked at when something changes, in the order in which they came.
    waiting: BTreeSet<(u64, Uuid)>,
    /// Calls to be sent again as soon as the link can take them.
    again: BTreeSet<Uuid>,
    submitted: u64,
    spent: Spent,
    bounds: ClockBounds,
    watches: Watches,
    probes: u128,
}

impl Core {
    /// `seed` makes this process's probes its own; `direct` says that whoever delivers a request tells who is not there.
    pub(crate) fn new(
        client: Level,
        most_calls: usize,
        seed: Uuid,
        counts: Arc<Counts>,
        direct: bool,
    ) -> Self {
        Self {
            client,
            most_calls,
            counts,
            direct,
            unannounced: Unannounced::default(),
            link: Link::Down,
            blocked: false,
            to_ask: Vec::new(),
            calls: HashMap::new(),
            deadlines: BTreeSet::new(),
            waiting: BTreeSet::new(),
            again: BTreeSet::new(),
            submitted: 0,
            spent: Spent::default(),
            bounds: ClockBounds::new(MOST_BOUNDS),
            watches: Watches::new(MOST_WATCHES),
            probes: seed.as_u128(),
        }
    }

    /// The same, which calls these gateways though they have announced nothing.
    pub(crate) fn calling(self, unannounced: Unannounced) -> Self {
        Self { unannounced, ..self }
    }

    /// A call comes in.
    pub(crate) fn submit(&mut self, now: BootInstant, new: NewCall, wire: &mut impl Wire) {
        let id = new.request.topic.id;
        if self.calls.len() >= self.most_calls {
            let message = format!("{} calls are waiting for their answers already", self.calls.len());
            return wire.answer(Answer::own(id, Status::Busy, message));
        }
        self.submitted += 1;
        let deadline = new.deadline;
        let call = Call::new(self.submitted, new, self.spent.last(id));
        self.deadlines.insert((deadline, id));
        self.waiting.insert((call.place, id));
        self.calls.insert(id, call);
        self.advance_one(now, id, wire);
    }

    /// The request of the call with this id that waits for its answer, if there is one.
    pub(crate) fn waiting_for(&self, id: Uuid) -> Option<&Request> {
        self.calls.get(&id).map(|call| &call.request)
    }

    /// The one who asked has gone away.
    pub(crate) fn gone(&mut self, id: Uuid) {
        self.remove(id);
    }

    /// The broker did not take a publish.
    pub(crate) fn not_taken(&mut self, now: BootInstant, about: About, reason: &str, wire: &mut impl Wire) {
        match about {
            About::Probe(probe) => {
                tracing::warn!(
                    reason,
                    "the broker does not let this side publish to itself, so presence is unknown"
                );
                for target in self.watches.asked_by(probe) {
                    self.watches.refused(&target);
                }
                self.advance_all(now, wire);
            }
            About::Call(id, attempt) => {
                if !self.calls.get_mut(&id).is_some_and(|call| call.not_taken(attempt)) {
                    return;
                }
                let message =
                    format!("the broker did not take the request ({reason}); nothing was delivered");
                self.end(now, Answer::own(id, Status::Unavailable, message), wire);
            }
        }
    }

    /// An attempt was surely not delivered, for the reason that `answer` gives; it is the answer unless another attempt is
    /// undecided.
    pub(crate) fn not_delivered(
        &mut self,
        now: BootInstant,
        attempt: u32,
        answer: Answer,
        wire: &mut impl Wire,
    ) {
        if self.calls.get_mut(&answer.id).is_some_and(|call| call.not_taken(attempt)) {
            self.end_unsent(now, answer, wire);
        }
    }

    /// The broker refused a subscription.
    pub(crate) fn not_subscribed(
        &mut self,
        now: BootInstant,
        filter: &str,
        reason: &str,
        wire: &mut impl Wire,
    ) {
        if let Ok(PresenceTopic(target)) = PresenceTopic::parse(filter) {
            tracing::warn!(%target, reason, "the broker does not let this side see the target's presence");
            self.watches.refused(&target);
            self.advance_all(now, wire);
        }
    }

    /// A message came in; `retain` says that the broker had kept it.
    pub(crate) fn message(
        &mut self,
        now: BootInstant,
        topic: &str,
        payload: &[u8],
        retain: bool,
        wire: &mut impl Wire,
    ) {
        if let Ok(PresenceTopic(target)) = PresenceTopic::parse(topic) {
            if self.presence(&target, payload) {
                self.advance_all(now, wire);
            }
            return;
        }
        match ReplyTopic::parse(topic) {
            Ok(ReplyTopic(topic)) if topic.client == self.client => {
                if topic.target == self.client && topic.method.as_str() == PROBE {
                    if self.watches.echo(topic.id) {
                        self.advance_all(now, wire);
                    }
                } else if retain {
                    // Kept by the broker, so it answers no call of now.
                    self.counts.unknown();
                } else {
                    self.reply(now, &topic, payload, wire);
                }
            }
            Ok(_) | Err(_) => self.counts.unreadable(),
        }
    }

    /// Time has passed, or something happened.
    pub(crate) fn tick(&mut self, now: BootInstant, wire: &mut impl Wire) {
        while let Some((due, id)) = self.deadlines.first().copied()
            && due <= now
        {
            self.deadlines.pop_first();
            let Some(call) = self.calls.get(&id) else { continue };
            if now < call.deadline {
                self.publish_again(now, id, wire);
                self.look_at(id);
            } else if !self.listen_on(id) {
                self.at_deadline(now, id, wire);
            }
        }
        if self.blocked {
            self.advance_all(now, wire);
            self.publish_all_again(now, wire);
        }
    }

    fn publish_all_again(&mut self, now: BootInstant, wire: &mut impl Wire) {
        for id in self.again.clone() {
            if !self.publish_again(now, id, wire) {
                return;
            }
        }
    }

    /// A call is looked at when it is to be sent again, or at its deadline.
    fn look_at(&mut self, id: Uuid) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        self.deadlines.remove(&(call.due, id));
        call.due = match call.again {
            Again::At(at) => at.min(call.deadline),
            Again::Due | Again::Never => call.deadline,
        };
        self.deadlines.insert((call.due, id));
    }

    /// The gateway judges by its own clock and says so when time is up; its word is then on its way. It is worth more
    /// than `no_reply`, so it is waited for, once.
    fn listen_on(&mut self, id: Uuid) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return false };
        if !matches!(call.stage, Stage::Sent(_)) || call.due > call.deadline {
            return false;
        }
        call.due = call.deadline.saturating_add(LAST_WORD);
        self.deadlines.insert((call.due, id));
        true
    }

    /// When [`Core::tick`] is wanted next.
    pub(crate) fn next_wake(&self, now: BootInstant) -> Option<BootInstant> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        if !self.blocked {
            return deadline;
        }
        let again = now.saturating_add(TRY_AGAIN);
        Some(deadline.map_or(again, |deadline| deadline.min(again)))
    }

    fn presence(&mut self, target: &Level, payload: &[u8]) -> bool {
        if payload.is_empty() {
            return self.watches.cleared(target);
        }
        let Ok(presence) = Presence::parse(payload) else {
            self.counts.unreadable();
            return false;
        };
        let counts = self.watches.heard(target, &presence);
        if counts && presence.online {
            self.bounds.runs_as(target, presence.incarnation);
        }
        counts
    }

    fn reply(&mut self, now: BootInstant, topic: &RequestTopic, payload: &[u8], wire: &mut impl Wire) {
        let Some(call) = self.calls.get_mut(&topic.id) else { return self.counts.unknown() };
        let Stage::Sent(_) = call.stage else { return self.counts.unknown() };
        if call.request.topic != *topic {
            return self.counts.mismatched();
        }
        let Ok(reply) = Reply::parse(payload) else { return self.counts.unreadable() };
        if reply.id != topic.id {
            return self.counts.mismatched();
        }
        let published = call.published_at(&reply);
        let verdict = call.judge(now, &reply);
        match (&reply.gateway, verdict) {
            (_, Verdict::Void) => return self.counts.unknown(),
            (Some(stamp), Verdict::Again) => self.bounds.resynced(&topic.target, stamp, now),
            (Some(stamp), Verdict::Answer) => self.bounds.heard(&topic.target, stamp, now, published),
            (None, Verdict::Again | Verdict::Answer) => {}
        }
        if verdict == Verdict::Answer {
            let round_trip = call.round_trip(now, &reply);
            return self.end(now, Answer::heard(reply, round_trip), wire);
        }
        call.resyncs += 1;
        call.resync = Some(reply);
        call.stage = Stage::Waiting(For::Link);
        call.again = Again::Never;
        self.again.remove(&topic.id);
        self.waiting.insert((call.place, topic.id));
        self.advance_one(now, topic.id, wire);
    }

    fn remove(&mut self, id: Uuid) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.deadlines.remove(&(call.due, id));
        self.again.remove(&id);
        self.spent.remember(id, call.attempts);
        self.waiting.remove(&(call.place, id));
        Some(call)
    }
}

#[cfg(test)]
mod tests;
