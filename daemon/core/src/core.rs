//! The core itself: events in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use nowd_protocol::{ErrorBody, Outcome, Status, Timing};

use crate::call::{Asker, Call, CallKey, State};
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Event, Record, RecordKind, ReplyBody, Start};
use crate::journal::{Journal, JournalLine};
use crate::lane::Lane;
use crate::memory::Memory;
use crate::settings::{Method, Settings};
use crate::time::Instant;

mod ask_again;
mod on_offer;
mod receive;

/// Decides. `P` is what the shell makes of a request's parameters; the core only carries it.
#[derive(Debug, Clone)]
pub struct Core<P> {
    settings: Settings,
    lanes: BTreeMap<String, Lane>,
    calls: BTreeMap<CallKey, Call<P>>,
    timers: BTreeSet<(Instant, CallKey)>,
    memory: Memory,
    journal: Journal,
    next_key: u64,
    stopping: bool,
    /// Why the gateway is locked out on site, if it is.
    lockout: Option<String>,
}

impl<P: Clone> Core<P> {
    /// A core with nothing running, and nothing remembered but what the journal of earlier incarnations says.
    #[must_use]
    pub fn new(settings: Settings, past: impl IntoIterator<Item = JournalLine>) -> Self {
        let lanes =
            settings.lanes.iter().map(|(name, lane)| (name.clone(), Lane::new(lane.clone()))).collect();
        let memory = Memory::new(settings.limits);
        let mut journal = Journal::new(settings.limits.journaled);
        for line in past {
            journal.read(line);
        }
        Self {
            settings,
            lanes,
            calls: BTreeMap::new(),
            timers: BTreeSet::new(),
            memory,
            journal,
            next_key: 0,
            stopping: false,
            lockout: None,
        }
    }

    /// Decides what is to be done about `event` at `now`, which never goes back.
    pub fn handle(&mut self, now: Instant, event: Event<P>) -> Vec<Action<P>> {
        let mut actions = Vec::new();
        // A plugin that has just said what happened knows more than the clock does: hear it before time runs out on it.
        if let Event::Ended { key, ended } = event {
            self.ended(now, key, ended, &mut actions);
            self.time(now, &mut actions);
            return actions;
        }
        self.time(now, &mut actions);
        match event {
            Event::Received { message, receipt, params } => {
                self.received(now, message, receipt, params, &mut actions);
            }
            Event::Journaled { key, kept } => self.journaled(now, key, kept, &mut actions),
            Event::Lockout(reason) => self.lock(now, reason, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
            Event::Abandon => self.abandon(now, &mut actions),
            Event::Time | Event::Ended { .. } => {}
        }
        actions
    }

    /// When [`Event::Time`] is due, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How many calls have not ended: they wait, run, or overrun.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// How many calls and safe actions a plugin has, answered or not.
    #[must_use]
    pub fn running(&self) -> usize {
        let runs = |call: &&Call<P>| matches!(call.state, State::Running { .. } | State::Overrun { .. });
        self.calls.values().filter(runs).count()
    }

    /// How many calls have been started and have not been answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.calls.values().filter(|call| matches!(call.state, State::Running { .. })).count()
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.memory.len()
    }

    fn time(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        while self.wake_at().is_some_and(|at| at <= now) {
            let Some((_, key)) = self.timers.pop_first() else { return };
            let state = self.calls.get_mut(&key).map(|call| {
                call.timer = None;
                call.state
            });
            match state {
                Some(State::Waiting) => {
                    let refusal =
                        Refusal::new(Status::Expired, "it waited for earlier calls until its time was up");
                    self.give_up(now, key, &refusal, actions);
                }
                Some(State::Committing) => {
                    let refusal =
                        Refusal::new(Status::Expired, "its time was up before the journal was written");
                    self.give_up(now, key, &refusal, actions);
                }
                Some(State::Running { started }) => self.overrun(now, key, started, actions),
                Some(State::Overrun { .. }) => self.stuck(now, key, actions),
                None => {}
            }
        }
    }

    /// The deadline has passed in mid-call.
    fn overrun(&mut self, now: Instant, key: CallKey, started: Instant, actions: &mut Vec<Action<P>>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        actions.push(Action::Cancel(key));
        let ended = Ended {
            status: Status::Timeout,
            outcome: Outcome::Unknown,
            response: None,
            error: Some(ErrorBody {
                code: Status::Timeout.as_str().into(),
                message: "it was started, and no result came before the deadline".into(),
            }),
        };
        call.state = State::Overrun { started };
        let (method, is_safe_action) = (call.method.clone(), call.asker.is_none());
        self.conclude(now, key, ended, actions);
        let Some(method) = self.method(&method) else { return };
        let (stuck_after, safe_action) = (method.stuck_after, method.on_timeout.clone());
        self.set_timer(key, Some(now.after(stuck_after)));
        // What makes safe has nothing to be made safe by.
        if let Some(name) = safe_action.filter(|_| !is_safe_action) {
            self.safe_action(now, key, &name, actions);
        }
    }

    /// A call has held its lane for too long.
    fn stuck(&mut self, now: Instant, key: CallKey, actions: &mut Vec<Action<P>>) {
        let Some(name) = self.calls.get(&key).map(|call| call.lane.clone()) else { return };
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        lane.mark_stuck(key);
        if lane.is_stuck() {
            for other in lane.purge() {
                let refusal = Refusal::new(Status::Unavailable, "an earlier call hangs and holds the device");
                self.give_up(now, other, &refusal, actions);
            }
        }
    }

    /// A call has a place in its lane: it starts, by way of the journal if it needs one.
    fn start(&mut self, now: Instant, key: CallKey, actions: &mut Vec<Action<P>>) {
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
    fn journaled(&mut self, now: Instant, key: CallKey, kept: bool, actions: &mut Vec<Action<P>>) {
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

    fn run(&mut self, now: Instant, key: CallKey, actions: &mut Vec<Action<P>>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.state = State::Running { started: now };
        if let Some(lane) = self.lanes.get_mut(&call.lane) {
            if call.asker.is_some() { lane.start(key) } else { lane.start_beside(key) }
        }
        let deadline = call.deadline;
        actions.push(Action::Start(Start {
            key,
            id: call.id,
            method: call.method.clone(),
            params: call.params.clone(),
            deadline: call.deadline,
            budget: call.budget,
            safe_action: call.asker.is_none(),
        }));
        self.set_timer(key, Some(deadline));
    }

    /// The plugin is done with a call and its resource is free.
    fn ended(&mut self, now: Instant, key: CallKey, mut ended: Ended, actions: &mut Vec<Action<P>>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let late = now >= call.deadline && ended.outcome != Outcome::NotExecuted;
        match call.state {
            State::Waiting | State::Committing => return,
            State::Running { started } if late => self.overrun(now, key, started, actions),
            State::Running { .. } => {
                if ended.status.outcome().is_some_and(|fixed| fixed != ended.outcome) {
                    ended.outcome = Outcome::Unknown;
                }
                self.conclude(now, key, ended.clone(), actions);
            }
            State::Overrun { .. } => {}
        }
        if let Some(call) = self.calls.get(&key)
            && let (State::Overrun { .. }, Some(asker)) = (call.state, &call.asker)
        {
            self.memory.late(now, call.id, ended.clone());
            let reply = reply(asker, ended, call.timing(now));
            actions.push(Action::Record(Box::new(record(asker, &reply, RecordKind::Late))));
        }
        self.release(now, key, actions);
    }

    /// Answers a call (or records a safe action) and remembers the answer. The call stays until its resource is free.
    fn conclude(&mut self, now: Instant, key: CallKey, ended: Ended, actions: &mut Vec<Action<P>>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let timing = call.timing(now);
        let started = matches!(call.state, State::Running { .. } | State::Overrun { .. });
        let joined = std::mem::take(&mut call.joined);
        match &call.asker {
            Some(asker) => {
                let reply = reply(asker, ended, timing);
                self.memory.answer(now, &reply, started);
                for (asker, kind) in std::iter::once((asker, RecordKind::Answered))
                    .chain(joined.iter().map(|asker| (asker, RecordKind::Repeated)))
                {
                    tell(asker, readdressed(reply.clone(), asker), kind, actions);
                }
                if let Some(JournalLine::Started { id, .. }) =
                    call.journal.filter(|_| call.state != State::Waiting)
                {
                    let (status, outcome) = (reply.status, reply.outcome);
                    let ended = JournalLine::Ended { id, status, outcome };
                    self.note(if started { ended } else { JournalLine::NotStarted { id } }, None, actions);
                }
            }
            None => actions.push(Action::Record(Box::new(Record {
                id: call.id,
                method: call.method.clone(),
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
    fn give_up(&mut self, now: Instant, key: CallKey, refusal: &Refusal, actions: &mut Vec<Action<P>>) {
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
        if let Some(lane) = self.lanes.get_mut(&call.lane) {
            lane.remove(key);
        }
        while let Some(next) = self.lanes.get_mut(&call.lane).and_then(Lane::next) {
            if now < self.give_up_at(next) {
                self.start(now, next, actions);
            } else {
                let refusal = Refusal::new(Status::Expired, "its time was up when its turn came");
                self.give_up(now, next, &refusal, actions);
            }
        }
    }

    fn safe_action(&mut self, now: Instant, of: CallKey, name: &str, actions: &mut Vec<Action<P>>) {
        let Some(budget) = self.settings.methods.get(name).map(|method| method.timeout) else { return };
        let Some(Call { params, lane, .. }) = self.calls.get(&of) else { return };
        let same = |key: CallKey| self.calls.get(&key).is_some_and(|call| call.method == name);
        if self.lanes.get(lane).is_some_and(|lane| lane.beside().any(same)) {
            // It hangs, or is at work for an earlier call: another one would only add to what hangs.
            return actions.push(Action::Record(Box::new(Record {
                id: (self.settings.new_id)(),
                method: name.to_owned(),
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
            method: name.to_owned(),
            lane: lane.clone(),
            params: params.clone(),
            deadline: now.after(budget),
            budget,
            received: now,
            asker: None,
            joined: Vec::new(),
            journal: None,
            state: State::Waiting,
            timer: None,
        };
        let key = self.new_key();
        self.calls.insert(key, call);
        self.run(now, key, actions);
    }

    fn stop(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.give_up_all(now, &Refusal::new(Status::Unavailable, "the gateway is stopping"), actions);
        let safe_actions: Vec<(CallKey, String)> = self
            .calls
            .iter()
            .filter(|(_, call)| call.asker.is_some())
            .filter_map(|(key, call)| Some((*key, self.method(&call.method)?.on_stop.clone()?)))
            .collect();
        for (key, name) in safe_actions {
            self.safe_action(now, key, &name, actions);
        }
    }

    /// Somebody on site wants nothing to move, or has finished.
    fn lock(&mut self, now: Instant, reason: Option<String>, actions: &mut Vec<Action<P>>) {
        self.lockout = reason;
        if let Some(refusal) = self.locked() {
            self.give_up_all(now, &refusal, actions);
        }
    }

    fn locked(&self) -> Option<Refusal> {
        let reason = self.lockout.as_ref()?;
        Some(Refusal::new(Status::Locked, format!("the gateway is locked out on site: {reason}")))
    }

    /// Gives up every call that has not been started.
    fn give_up_all(&mut self, now: Instant, refusal: &Refusal, actions: &mut Vec<Action<P>>) {
        let waiting: Vec<CallKey> = self.lanes.values_mut().flat_map(Lane::purge).collect();
        let committing = self.calls.iter().filter(|(_, call)| call.state == State::Committing);
        for key in waiting.into_iter().chain(committing.map(|(key, _)| *key)).collect::<Vec<_>>() {
            self.give_up(now, key, refusal, actions);
        }
    }

    /// The process ends while calls still run: nobody will hear what became of them.
    fn abandon(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        let running = |(key, call): (&CallKey, &Call<P>)| match call.state {
            State::Running { started } => Some((*key, started)),
            State::Waiting | State::Committing | State::Overrun { .. } => None,
        };
        for (key, started) in self.calls.iter().filter_map(running).collect::<Vec<_>>() {
            let ended = Ended {
                status: Status::Timeout,
                outcome: Outcome::Unknown,
                response: None,
                error: Some(Refusal::new(Status::Timeout, "the gateway stopped before a result came").error),
            };
            self.conclude(now, key, ended, actions);
            if let Some(call) = self.calls.get_mut(&key) {
                call.state = State::Overrun { started };
            }
        }
    }

    /// A stop method clears its lane of all that has not been started, but for other stops: each of them is still to be done.
    fn purge_for_stop(&mut self, lane: &str) -> Vec<CallKey> {
        let committing =
            self.calls.iter().filter(|(_, call)| call.state == State::Committing && call.lane == lane);
        let mut purged: Vec<CallKey> = committing.map(|(key, _)| *key).collect();
        let is_stop = |key: CallKey| {
            let method = self.calls.get(&key).and_then(|call| self.settings.methods.get(&call.method));
            method.is_some_and(|method| method.stop)
        };
        purged.extend(self.lanes.get_mut(lane).map(|lane| lane.purge_all_but(is_stop)).unwrap_or_default());
        purged
    }

    /// When a call that waits has less than its method's `min_budget` left.
    fn give_up_at(&self, key: CallKey) -> Instant {
        self.calls.get(&key).map_or(Instant::from_micros(0), |call| {
            let min_budget = self.method(&call.method).map(|method| method.min_budget).unwrap_or_default();
            call.deadline.before(min_budget)
        })
    }

    /// A call has one timer at most: to give it up, its deadline, or when it counts as stuck.
    fn set_timer(&mut self, key: CallKey, at: Option<Instant>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if let Some(old) = std::mem::replace(&mut call.timer, at) {
            self.timers.remove(&(old, key));
        }
        if let Some(at) = at {
            self.timers.insert((at, key));
        }
    }

    fn method(&self, name: &str) -> Option<&Method> {
        self.settings.methods.get(name).or_else(|| self.settings.methods.get("*"))
    }

    fn new_key(&mut self) -> CallKey {
        self.next_key = self.next_key.wrapping_add(1);
        CallKey(self.next_key)
    }
}

fn reply(asker: &Asker, ended: Ended, timing: Timing) -> ReplyBody {
    let Ended { status, outcome, response, error } = ended;
    ReplyBody { topic: asker.topic.clone(), attempt: asker.attempt, status, outcome, response, error, timing }
}

/// The same answer, to another attempt.
fn readdressed(reply: ReplyBody, asker: &Asker) -> ReplyBody {
    ReplyBody { topic: asker.topic.clone(), attempt: asker.attempt, ..reply }
}

fn record(asker: &Asker, reply: &ReplyBody, kind: RecordKind) -> Record {
    Record {
        id: asker.topic.id,
        method: asker.topic.method.as_str().to_owned(),
        client: Some(asker.topic.client.clone()),
        caller: asker.caller.clone(),
        traceparent: asker.traceparent.clone(),
        attempt: asker.attempt,
        status: reply.status,
        outcome: reply.outcome,
        error: reply.error.clone(),
        timing: reply.timing,
        kind,
    }
}

/// The answer, then its record. Compatibility callers would take any answer for success, so they hear only that.
fn tell<P>(asker: &Asker, reply: ReplyBody, kind: RecordKind, actions: &mut Vec<Action<P>>) {
    let record = record(asker, &reply, kind);
    if !asker.compat || reply.status == Status::Ok {
        actions.push(Action::Reply(Box::new(reply)));
    }
    actions.push(Action::Record(Box::new(record)));
}

#[cfg(test)]
mod tests;
