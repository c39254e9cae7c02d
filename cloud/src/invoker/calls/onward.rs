//! Takes calls onward: asks for presence, publishes, ends.

use std::mem;

use nowd_link::{MOST_FILTERS, SendError};
use nowd_protocol::{Level, PresenceTopic, RequestTopic, Status, Uuid};

use super::call::{Again, For, Stage};
use super::{About, Core, Form, Link, PROBE, Wire};
use crate::clock::BootInstant;
use crate::invoker::answer::{Answer, Seen};
use crate::presence::{Look, Standing};

impl Core {
    /// Takes every waiting call as far as it can go.
    pub(super) fn advance_all(&mut self, now: BootInstant, wire: &mut impl Wire) {
        self.blocked = false;
        let waiting: Vec<_> = self.waiting.iter().copied().collect();
        for (_, id) in waiting {
            // Nothing overtakes a call for which the link had no room.
            if !self.advance(now, id, wire) {
                break;
            }
        }
        self.ask(wire);
    }

    /// Takes one waiting call as far as it can go; [`Core::ask`] is to follow.
    pub(super) fn advance_one(&mut self, now: BootInstant, id: Uuid, wire: &mut impl Wire) {
        self.advance(now, id, wire);
        self.ask(wire);
    }

    /// Says whether the link had room.
    fn advance(&mut self, now: BootInstant, id: Uuid, wire: &mut impl Wire) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return true };
        if now >= call.deadline {
            self.at_deadline(now, id, wire);
            return true;
        }
        if self.link == Link::Down {
            call.wait(For::Link);
            return true;
        }
        let sure = self.link == Link::Up;
        if self.direct && call.form != Form::Presence {
            if sure {
                return self.publish(now, id, wire);
            }
            call.wait(For::Link);
            return true;
        }
        match self.watches.look(&call.request.topic.target) {
            // What the broker sent before this process was stood still may only be read now.
            Look::Known(_) if !sure => call.wait(For::Link),
            Look::Known(standing) if call.form == Form::Presence => self.tell(now, id, standing, wire),
            Look::Known(Standing::Online | Standing::Hidden) => return self.publish(now, id, wire),
            Look::Known(Standing::Absent)
                if call.form == Form::Compat || self.unannounced.includes(&call.request.topic.target) =>
            {
                return self.publish(now, id, wire);
            }
            Look::Known(standing) => self.not_there(now, id, standing, wire),
            Look::Asked => call.wait(For::Presence),
            Look::Unknown => {
                call.wait(For::Presence);
                if !self.to_ask.contains(&call.request.topic.target) {
                    self.to_ask.push(call.request.topic.target.clone());
                }
            }
        }
        true
    }

    /// Subscribes to the presence of the targets that nobody has asked about, and publishes a probe after it, so that
    /// one round trip tells who is there.
    fn ask(&mut self, wire: &mut impl Wire) {
        let mut targets = mem::take(&mut self.to_ask);
        let Some((probe, id)) = (!targets.is_empty()).then(|| self.probe()).flatten() else { return };
        if !wire.can_subscribe() {
            self.blocked = true;
            return;
        }
        if targets.len() > MOST_FILTERS {
            targets.truncate(MOST_FILTERS);
            self.blocked = true;
        }
        let mut filters = Vec::new();
        for target in &targets {
            if !self.watches.has_room_for(target) {
                // Without one that is settled all wait for their echoes, each of which leads back here.
                let Some(oldest) = self.watches.make_room() else { break };
                wire.unsubscribe(&PresenceTopic(oldest).to_string());
            }
            self.watches.asked(target.clone(), id);
            filters.push(PresenceTopic(target.clone()).to_string());
        }
        if filters.is_empty() {
            return;
        }
        let done = wire.subscribe(&filters).and_then(|()| wire.publish(probe, About::Probe(id)));
        if done.is_err() {
            self.blocked = true;
            for target in &targets {
                self.watches.forget(target);
            }
        }
    }

    /// A topic of our own, as our reply subscription hears it.
    pub(super) fn next_probe(&mut self) -> Option<RequestTopic> {
        self.probes = self.probes.wrapping_add(1);
        let (target, client) = (self.client.clone(), self.client.clone());
        let method = Level::new(PROBE).ok()?;
        Some(RequestTopic { target, method, client, id: Uuid::from_u128(self.probes) })
    }

    /// Publishes the next attempt; says whether the link had room.
    fn publish(&mut self, now: BootInstant, id: Uuid, wire: &mut impl Wire) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return true };
        let not_after = self.bounds.not_after(&call.request.topic.target, call.deadline, now);
        let publish = call.attempt(now, not_after);
        match wire.publish(publish, About::Call(id, call.request.attempt)) {
            Ok(()) => {
                call.published(now, true);
                self.waiting.remove(&(call.place, id));
                self.look_at(id);
            }
            Err(SendError::NotConnected) => call.wait(For::Link),
            Err(SendError::Full) => {
                self.blocked = true;
                call.wait(For::Room);
                return false;
            }
            Err(error) => {
                let message = format!("the request cannot be sent: {error}");
                self.end_unsent(now, Answer::own(id, Status::InvalidRequest, message), wire);
            }
        }
        true
    }

    /// Sends a call again of which nothing was heard, if the link can take it; says whether it had room.
    pub(super) fn publish_again(&mut self, now: BootInstant, id: Uuid, wire: &mut impl Wire) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return true };
        if now >= call.deadline || !matches!(call.stage, Stage::Sent(_)) || call.again == Again::Never {
            self.again.remove(&id);
            return true;
        }
        call.again = Again::Due;
        self.again.insert(id);
        if self.link != Link::Up {
            return true;
        }
        let publish = call.again(now);
        match wire.publish(publish, About::Call(id, call.request.attempt)) {
            Ok(()) => call.published(now, false),
            Err(SendError::NotConnected) => return true,
            Err(SendError::Full) => {
                self.blocked = true;
                return false;
            }
            // It could be sent once; that it cannot be now changes nothing.
            Err(_) => call.again = Again::Never,
        }
        self.again.remove(&id);
        true
    }

    /// Answers what is known of a target's presence.
    fn tell(&mut self, now: BootInstant, id: Uuid, standing: Standing, wire: &mut impl Wire) {
        let Some(call) = self.calls.get(&id) else { return };
        let answer = if standing == Standing::Hidden {
            let message = "the broker does not let this side see who is connected";
            Answer::own(id, Status::Unavailable, message)
        } else {
            let presence = self.watches.presence(&call.request.topic.target);
            Answer::told(id, &Seen::new(standing, presence))
        };
        self.end(now, answer, wire);
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
    /// `offline` is only for what was never published. And when there is no time left to send it again, it has expired.
    pub(super) fn end_unsent(&mut self, now: BootInstant, answer: Answer, wire: &mut impl Wire) {
        let Some(call) = self.calls.get_mut(&answer.id) else { return };
        let late = now >= call.deadline;
        let answer = match call.resync.take() {
            Some(_) if late => {
                let message = "its deadline passed before the gateway could judge it by its own clock; nothing was done";
                Answer::own(answer.id, Status::Expired, message)
            }
            Some(reply) => Answer::heard(reply, None),
            None => answer,
        };
        self.end(now, answer, wire);
    }

    /// This side stops: nothing more will be heard.
    pub(crate) fn stop(&mut self, now: BootInstant, wire: &mut impl Wire) {
        let sent = "the cloud side stopped before a reply came; the request may have run";
        self.end_all(now, sent, (Status::Offline, "the cloud side stops; nothing was sent"), wire);
    }

    /// Ends every call, with what is said of those that were sent and of those that were not.
    pub(super) fn end_all(
        &mut self,
        now: BootInstant,
        sent: &str,
        (status, unsent): (Status, &str),
        wire: &mut impl Wire,
    ) {
        let ids: Vec<Uuid> = self.calls.keys().copied().collect();
        for id in ids {
            if self.calls.get(&id).is_some_and(|call| matches!(call.stage, Stage::Sent(_))) {
                self.end(now, Answer::own(id, Status::NoReply, sent), wire);
            } else {
                self.end_unsent(now, Answer::own(id, status, unsent), wire);
            }
        }
    }

    pub(super) fn end(&mut self, now: BootInstant, mut answer: Answer, wire: &mut impl Wire) {
        let Some(call) = self.remove(answer.id) else { return };
        answer.timing.total = now.saturating_since(call.received);
        answer.attempts = call.attempts.saturating_sub(call.before);
        wire.answer(answer);
    }
}
