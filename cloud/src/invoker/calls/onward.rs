//! Takes calls onward: asks for presence, publishes, ends.

use std::time::Duration;

use nowd_link::{Publish, Qos, SendError};
use nowd_protocol::{Level, PresenceTopic, ReplyTopic, RequestTopic, Status, Uuid};

use super::call::{For, Stage};
use super::{About, Core, Form, PROBE, Wire};
use crate::clock::BootInstant;
use crate::invoker::answer::Answer;
use crate::presence::{Look, Standing};

impl Core {
    pub(super) fn advance_all(&mut self, now: BootInstant, wire: &mut impl Wire) {
        self.blocked = false;
        let waiting: Vec<_> = self.waiting.iter().copied().collect();
        for (_, id) in waiting {
            self.advance(now, id, wire);
            // Nothing overtakes a call that found no room.
            if self.blocked {
                break;
            }
        }
    }

    /// Takes a waiting call as far as it can go.
    pub(super) fn advance(&mut self, now: BootInstant, id: Uuid, wire: &mut impl Wire) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if now >= call.deadline {
            return self.at_deadline(now, id, wire);
        }
        if !self.link_up {
            return call.wait(For::Link);
        }
        match self.watches.look(&call.request.topic.target) {
            Look::Known(Standing::Online | Standing::Hidden) => self.publish(now, id, wire),
            Look::Known(Standing::Absent) if call.form == Form::Compat => self.publish(now, id, wire),
            Look::Known(standing) => self.not_there(now, id, standing, wire),
            Look::Asked => call.wait(For::Presence),
            Look::Unknown => {
                let target = call.request.topic.target.clone();
                let waits = if self.ask(target, wire) { For::Presence } else { For::Room };
                if let Some(call) = self.calls.get_mut(&id) {
                    call.wait(waits);
                }
            }
        }
    }

    /// Subscribes to the target's presence and probes, so that one round trip tells whether there is one.
    fn ask(&mut self, target: Level, wire: &mut impl Wire) -> bool {
        if !self.watches.has_room() {
            let Some(oldest) = self.watches.make_room() else {
                // All wait for their echoes, each of which leads back here.
                return false;
            };
            wire.unsubscribe(&PresenceTopic(oldest).to_string());
        }
        let Ok(method) = Level::new(PROBE) else { return false };
        let filter = PresenceTopic(target.clone()).to_string();
        if wire.subscribe(&filter).is_err() {
            self.blocked = true;
            return false;
        }
        self.probes = self.probes.wrapping_add(1);
        let probe = Uuid::from_u128(self.probes);
        let own = self.client.clone();
        let topic =
            ReplyTopic(RequestTopic { target: own.clone(), method, client: own, id: probe }).to_string();
        let publish = Publish { topic, qos: Qos::AtLeastOnce, ..Publish::default() };
        if wire.publish(publish, About::Probe(probe)).is_err() {
            wire.unsubscribe(&filter);
            self.blocked = true;
            return false;
        }
        self.watches.asked(target, probe);
        true
    }

    /// Publishes the next attempt.
    fn publish(&mut self, now: BootInstant, id: Uuid, wire: &mut impl Wire) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let not_after = self.bounds.not_after(&call.request.topic.target, call.deadline, now);
        match wire.publish(call.attempt(now, not_after), About::Call(id)) {
            Ok(()) => {
                call.attempts += 1;
                call.incarnations.extend(not_after.map(|not_after| not_after.incarnation));
                call.stage = Stage::Sent(now);
                self.waiting.remove(&(call.place, id));
            }
            Err(SendError::NotConnected) => call.wait(For::Link),
            Err(SendError::Full) => {
                self.blocked = true;
                call.wait(For::Room);
            }
            Err(error) => {
                let message = format!("the request cannot be sent: {error}");
                self.end_unsent(now, Answer::own(id, Status::InvalidRequest, message), wire);
            }
        }
    }

    fn not_there(&mut self, now: BootInstant, id: Uuid, standing: Standing, wire: &mut impl Wire) {
        let message = if standing == Standing::Offline {
            "the gateway is not connected; nothing was sent"
        } else {
            "no gateway has announced itself under this name; nothing was sent"
        };
        self.end_unsent(now, Answer::own(id, Status::Offline, message), wire);
    }

    pub(super) fn at_deadline(&mut self, now: BootInstant, id: Uuid, wire: &mut impl Wire) {
        let Some(call) = self.calls.get(&id) else { return };
        let (status, message) = match call.stage {
            Stage::Sent(_) => (
                Status::NoReply,
                "the request was sent, and no reply came before the deadline; it may have run",
            ),
            Stage::Waiting(For::Link) => {
                (Status::Offline, "the cloud side is not connected to the broker; nothing was sent")
            }
            Stage::Waiting(For::Presence) => (
                Status::Offline,
                "the broker did not say before the deadline whether the gateway is connected; nothing was sent",
            ),
            Stage::Waiting(For::Room) => (
                Status::Busy,
                "too much waited to be sent to the broker before the deadline; nothing was sent",
            ),
        };
        let answer = Answer::own(id, status, message);
        match call.stage {
            Stage::Sent(_) => self.end(now, answer, wire),
            Stage::Waiting(_) => self.end_unsent(now, answer, wire),
        }
    }

    /// Ends a call of which nothing is under way. If it was published before, the last `resync` is the truer answer:
    /// `offline` is only for what was never published.
    pub(super) fn end_unsent(&mut self, now: BootInstant, answer: Answer, wire: &mut impl Wire) {
        let resync = self.calls.get_mut(&answer.id).and_then(|call| call.resync.take());
        let answer = match resync {
            Some(reply) => Answer::heard(reply, Duration::ZERO),
            None => answer,
        };
        self.end(now, answer, wire);
    }

    pub(super) fn end(&mut self, now: BootInstant, mut answer: Answer, wire: &mut impl Wire) {
        let Some(call) = self.remove(answer.id) else { return };
        answer.timing.total = now.saturating_since(call.received);
        answer.attempts = call.attempts;
        wire.answer(answer);
    }
}
