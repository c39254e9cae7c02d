//! One call from its start to the moment when its resource is free again.

use std::sync::Arc;

use nowd_protocol::{Outcome, Status, Timing};

use super::{Core, readdressed, record, reply, tell};
use crate::call::{Call, CallKey, Maker, State};
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Record, RecordKind, Start};
use crate::journal::JournalLine;
use crate::lane::Lane;
use crate::time::Instant;

impl<P: Clone + Default> Core<P> {
    /// A call has a place in its lane: it starts, by way of the journal if it needs one.
    pub(super) fn start(&mut self, now: Instant, key: CallKey, actions: &mut Vec<Action<P>>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(line) = call.journal else { return self.run(now, key, actions) };
        call.state = State::Committing;
        let deadline = call.deadline;
        if let Some(lane) = self.lanes.get_mut(&call.lane) {
            lane.start(key);
        }
        self.note(line, Some(key), actions);
        self.set_timer(key, Some(deadline));
    }

    /// The journal has the call, or will not have it.
    pub(super) fn journaled(&mut self, now: Instant, key: CallKey, kept: bool, actions: &mut Vec<Action<P>>) {
        if self.calls.get(&key).is_none_or(|call| call.state != State::Committing) {
            return;
        }
        if kept {
            return self.run(now, key, actions);
        }
        let message = "the journal cannot be written, and without it this call might run twice";
        self.give_up(now, key, &Refusal::new(Status::Unavailable, message), actions);
    }

    fn note(&mut self, line: JournalLine, then: Option<CallKey>, actions: &mut Vec<Action<P>>) {
        self.journal.read(line);
        actions.push(Action::Journal { line, then });
    }

    pub(super) fn run(&mut self, now: Instant, key: CallKey, actions: &mut Vec<Action<P>>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.state = State::Running { started: now };
        if let Some(lane) = self.lanes.get_mut(&call.lane) {
            match call.maker {
                Maker::Asker(_) => lane.start(key),
                Maker::SafeAction => lane.start_beside(key),
                Maker::Poll => lane.start_reading(key),
            }
        }
        let deadline = call.deadline;
        // Nobody else gets them where there is no safe action.
        let method = call.offer.method(&call.method);
        let is_shared = method.is_some_and(|method| method.on_timeout.is_some() || method.on_stop.is_some());
        let params = if is_shared { call.params.clone() } else { std::mem::take(&mut call.params) };
        actions.push(Action::Start(Start {
            key,
            id: call.id,
            generation: call.offer.generation,
            method: Arc::clone(&call.method),
            params,
            deadline: call.deadline,
            budget: call.budget,
            purpose: call.maker.purpose(),
        }));
        self.set_timer(key, Some(deadline));
    }

    /// The plugin is done with a call and its resource is free.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        key: CallKey,
        mut ended: Ended,
        actions: &mut Vec<Action<P>>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let late = now >= call.deadline && ended.outcome != Outcome::NotExecuted;
        match call.state {
            State::Waiting | State::Committing => return,
            State::Running { started } if late => self.overrun(now, key, started, actions),
            State::Running { .. } => {
                if ended.status.outcome().is_some_and(|fixed| fixed != ended.outcome) {
                    ended.outcome = Outcome::Unknown;
                }
                self.conclude(now, key, ended, actions);
                return self.release(now, key, actions);
            }
            State::Overrun { .. } => {}
        }
        if let Some(call) = self.calls.get(&key)
            && let (State::Overrun { .. }, Some(asker)) = (call.state, call.maker.asker())
        {
            self.memory.late(now, call.id, ended.clone());
            let reply = reply(asker, ended, call.timing(now));
            actions.push(Action::Record(Box::new(record(asker, &reply, RecordKind::Late))));
        }
        self.release(now, key, actions);
    }

    /// Answers a call (or records a safe action) and remembers the answer. The call stays until its resource is free.
    pub(super) fn conclude(
        &mut self,
        now: Instant,
        key: CallKey,
        ended: Ended,
        actions: &mut Vec<Action<P>>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let timing = call.timing(now);
        let started = matches!(call.state, State::Running { .. } | State::Overrun { .. });
        let joined = std::mem::take(&mut call.joined);
        match &call.maker {
            Maker::Asker(asker) => {
                let reply = reply(asker, ended, timing);
                self.memory.answer(now, &reply, started);
                let (status, outcome) = (reply.status, reply.outcome);
                let repeats: Vec<_> = joined.iter().map(|asker| readdressed(reply.clone(), asker)).collect();
                tell(asker, reply, RecordKind::Answered, actions);
                for (asker, reply) in joined.iter().zip(repeats) {
                    tell(asker, reply, RecordKind::Repeated, actions);
                }
                if let Some(JournalLine::Started { id, .. }) =
                    call.journal.filter(|_| call.state != State::Waiting)
                {
                    let ended = JournalLine::Ended { id, status, outcome };
                    self.note(if started { ended } else { JournalLine::NotStarted { id } }, None, actions);
                }
            }
            Maker::Poll => self.polled(key, ended, actions),
            Maker::SafeAction => actions.push(Action::Record(Box::new(Record {
                id: call.id,
                method: Arc::clone(&call.method),
                client: None,
                caller: None,
                traceparent: None,
                attempt: 1,
                status: ended.status,
                outcome: ended.outcome,
                error: ended.error,
                timing,
                kind: RecordKind::SafeAction,
            }))),
        }
    }

    /// A call that waits is answered and will not be started.
    pub(super) fn give_up(
        &mut self,
        now: Instant,
        key: CallKey,
        refusal: &Refusal,
        actions: &mut Vec<Action<P>>,
    ) {
        let ended = Ended {
            status: refusal.status,
            outcome: Outcome::NotExecuted,
            response: None,
            error: Some(refusal.error.clone()),
        };
        self.conclude(now, key, ended, actions);
        self.release(now, key, actions);
    }

    /// Takes a call out and starts those that waited for its place.
    fn release(&mut self, now: Instant, key: CallKey, actions: &mut Vec<Action<P>>) {
        self.set_timer(key, None);
        let Some(call) = self.calls.remove(&key) else { return };
        let Some(lane) = self.lanes.get_mut(&call.lane) else { return };
        lane.remove(key);
        if lane.is_idle() && !self.settings.offer.lanes.contains_key(&*call.lane) {
            // The last one in a lane that is not on offer any more.
            self.lanes.remove(&call.lane);
            return;
        }
        while let Some(next) = self.lanes.get_mut(&call.lane).and_then(Lane::next) {
            if self.calls.get(&next).is_some_and(|call| now < call.give_up_at) {
                self.start(now, next, actions);
            } else {
                let refusal = Refusal::new(Status::Expired, "its time was up when its turn came");
                self.give_up(now, next, &refusal, actions);
            }
        }
    }

    pub(super) fn safe_action(
        &mut self,
        now: Instant,
        of: CallKey,
        name: &str,
        actions: &mut Vec<Action<P>>,
    ) {
        let Some(Call { params, lane, offer, .. }) = self.calls.get(&of) else { return };
        let Some(budget) = offer.methods.get(name).map(|method| method.timeout) else { return };
        let same = |key: CallKey| self.calls.get(&key).is_some_and(|call| *call.method == *name);
        if self.lanes.get(lane).is_some_and(|lane| lane.beside().any(same)) {
            // It hangs, or is at work for an earlier call: another one would only add to what hangs.
            return actions.push(Action::Record(Box::new(Record {
                id: (self.settings.new_id)(),
                method: name.into(),
                client: None,
                caller: None,
                traceparent: None,
                attempt: 1,
                status: Status::Busy,
                outcome: Outcome::NotExecuted,
                error: Some(
                    Refusal::new(Status::Busy, "the safe action of an earlier call has not ended").error,
                ),
                timing: Timing::default(),
                kind: RecordKind::SafeAction,
            })));
        }
        let call = Call {
            id: (self.settings.new_id)(),
            method: name.into(),
            lane: Arc::clone(lane),
            params: params.clone(),
            deadline: now.after(budget),
            budget,
            received: now,
            maker: Maker::SafeAction,
            offer: Arc::clone(offer),
            give_up_at: now.after(budget),
            joined: Vec::new(),
            journal: None,
            state: State::Waiting,
            timer: None,
        };
        let key = self.new_key();
        self.calls.insert(key, call);
        self.run(now, key, actions);
    }
}
