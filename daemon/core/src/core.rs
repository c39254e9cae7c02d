//! The core itself: events in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use nowd_protocol::{ErrorBody, Outcome, Received, Request, RequestTopic, Status, Timing};

use crate::access::Pattern;
use crate::call::{Asker, Call, CallKey, State};
use crate::deadline::{Refusal, judge, judge_compat};
use crate::event::{Action, Drop, Ended, Event, Receipt, Record, RecordKind, ReplyBody, Start};
use crate::lane::{Entry, Lane};
use crate::memory::{Memory, Recall};
use crate::settings::{Method, Settings};
use crate::time::Instant;

/// Decides. `P` is what the shell makes of a request's parameters; the core only carries it.
#[derive(Debug)]
pub struct Core<P> {
    settings: Settings,
    lanes: BTreeMap<String, Lane>,
    calls: BTreeMap<CallKey, Call<P>>,
    timers: BTreeSet<(Instant, CallKey)>,
    memory: Memory,
    next_key: u64,
    stopping: bool,
}

/// Where an answer goes and what it is about, while a request is judged.
struct Asked<'r> {
    request: &'r Request,
    compat: bool,
}

impl<P: Clone> Core<P> {
    /// A core with nothing running and nothing remembered.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let lanes =
            settings.lanes.iter().map(|(name, lane)| (name.clone(), Lane::new(lane.clone()))).collect();
        let memory = Memory::new(settings.limits);
        Self {
            settings,
            lanes,
            calls: BTreeMap::new(),
            timers: BTreeSet::new(),
            memory,
            next_key: 0,
            stopping: false,
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
            Event::Stop => self.stop(now, &mut actions),
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

    // --- a message ---

    fn received(
        &mut self,
        now: Instant,
        message: Received,
        receipt: Receipt,
        params: Result<P, ErrorBody>,
        actions: &mut Vec<Action<P>>,
    ) {
        let topic = match &message {
            Received::Request(request) => &request.topic,
            Received::Faulty(topic, _) => topic,
        };
        if let Some(drop) = self.drop(topic, receipt) {
            return actions.push(Action::Dropped(drop));
        }
        let compat = self.is_compat(topic);
        let request = match message {
            Received::Request(request) => request,
            Received::Faulty(topic, fault) => {
                let refusal = Refusal::new(Status::InvalidRequest, fault.to_string());
                let reply = answer(topic, &refusal);
                let asker =
                    Asker { topic: reply.topic.clone(), caller: None, traceparent: None, attempt: 1, compat };
                return tell(&asker, reply, RecordKind::Answered, actions);
            }
        };
        self.memory.forget(now);
        let asked = Asked { request: &request, compat };
        match self.memory.recall(&request) {
            Recall::New => {}
            Recall::Joined => return,
            Recall::Answered(reply) => return tell(&asked.asker(), *reply, RecordKind::Repeated, actions),
            Recall::Conflict => {
                let refusal = Refusal::new(Status::Conflict, "this id was used for another request");
                return asked.refuse(&refusal, actions);
            }
        }
        match self.admit(now, &asked, receipt, params) {
            Ok(admitted) => self.enter(now, &asked, admitted, actions),
            Err((refusal, remember)) => {
                let reply = answer(request.topic.clone(), &refusal);
                if let Some(until) = remember {
                    self.memory.refuse(&request, until, &reply);
                }
                tell(&asked.asker(), reply, RecordKind::Answered, actions);
            }
        }
    }

    fn drop(&self, topic: &RequestTopic, receipt: Receipt) -> Option<Drop> {
        if topic.target != self.settings.target {
            Some(Drop::ForeignTarget(topic.target.clone()))
        } else if topic.client == self.settings.target {
            Some(Drop::Loop)
        } else if receipt.retained {
            Some(Drop::Retained)
        } else {
            None
        }
    }

    fn is_compat(&self, topic: &RequestTopic) -> bool {
        self.settings.compat.prefixes.iter().any(|prefix| topic.client.as_str().starts_with(prefix.as_str()))
    }

    fn method(&self, name: &str) -> Option<&Method> {
        self.settings.methods.get(name).or_else(|| self.settings.methods.get("*"))
    }

    /// Judges a request. A refusal says until when it is to be remembered: those that the same bytes would meet at any
    /// later time (unknown method, forbidden, expired, another incarnation) need no memory.
    fn admit(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        receipt: Receipt,
        params: Result<P, ErrorBody>,
    ) -> Result<Admitted<P>, (Refusal, Option<Instant>)> {
        let (request, compat) = (asked.request, asked.compat);
        let name = request.topic.method.as_str();
        let Some(method) = self.method(name) else {
            return Err((Refusal::new(Status::UnknownMethod, format!("there is no method {name:?}")), None));
        };
        if method.internal || !self.may_call(method, request) {
            return Err((Refusal::new(Status::Forbidden, format!("this caller may not use {name:?}")), None));
        }
        let (max_timeout, min_budget) = (method.max_timeout, method.min_budget);
        let (lane, stop) = (method.lane.clone(), method.stop);
        let params = params.map_err(|error| (Refusal { status: Status::InvalidRequest, error }, None))?;
        let judged = if compat {
            judge_compat(now, receipt, request, &self.settings.compat, max_timeout)
        } else {
            judge(now, receipt, request, self.settings.incarnation, max_timeout)
        };
        let judged = match judged {
            Ok(judged) => judged,
            Err(refusal) => {
                let until = self.resync_until(now, request, &refusal);
                return match until.map(|until| self.memory.reserve(request, until)) {
                    None | Some(Ok(())) => Err((refusal, until)),
                    Some(Err(_)) => Err((full(), None)),
                };
            }
        };
        if self.memory.reserve(request, judged.deadline).is_err() {
            return Err((full(), None));
        }
        let refuse = |status, message: &str| Err((Refusal::new(status, message), Some(judged.deadline)));
        if self.stopping {
            return refuse(Status::Unavailable, "the gateway is stopping");
        }
        let admitted = Admitted { params, deadline: judged.deadline, budget: judged.budget, lane, stop };
        match self.lanes.get(&admitted.lane).map_or(Entry::Stuck, |lane| lane.entry(stop)) {
            Entry::Wait if now >= judged.deadline.before(min_budget) => {
                refuse(Status::Busy, "earlier calls run, and too little time is left to wait for them")
            }
            Entry::Start | Entry::Wait => Ok(admitted),
            Entry::Full => refuse(Status::Busy, "as many calls wait as may wait; try again later"),
            Entry::Stuck => refuse(Status::Unavailable, "an earlier call hangs and holds the device"),
        }
    }

    /// A request that was answered `resync` could be admitted later, when the clock has come to be trusted or the
    /// deadline has come near: until then it is remembered, an hour at most.
    fn resync_until(&self, now: Instant, request: &Request, refusal: &Refusal) -> Option<Instant> {
        if refusal.status != Status::Resync {
            return None;
        }
        let longest = std::time::Duration::from_millis(nowd_protocol::MAX_TIMEOUT_MS);
        match request.not_after {
            Some(not_after) if not_after.incarnation != self.settings.incarnation => None,
            Some(not_after) => Some(Instant::from_micros(not_after.at).min(now.after(longest))),
            None => Some(now.after(request.timeout.map_or(longest, std::time::Duration::from_millis))),
        }
    }

    fn may_call(&self, method: &Method, request: &Request) -> bool {
        let patterns = method.allow.as_ref().unwrap_or(&self.settings.access_default);
        let matches = |name: &str| patterns.iter().any(|pattern: &Pattern| pattern.matches(name));
        matches(request.topic.client.as_str()) || request.caller.as_deref().is_some_and(matches)
    }

    /// An admitted call starts or waits.
    fn enter(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        admitted: Admitted<P>,
        actions: &mut Vec<Action<P>>,
    ) {
        let Admitted { params, deadline, budget, lane, stop } = admitted;
        let key = self.new_key();
        self.memory.start(asked.request, deadline);
        let call = Call {
            id: asked.request.topic.id,
            method: asked.request.topic.method.as_str().to_owned(),
            lane: lane.clone(),
            params,
            deadline,
            budget,
            received: now,
            asker: Some(asked.asker()),
            state: State::Waiting,
            timer: None,
        };
        self.calls.insert(key, call);
        let purged =
            if stop { self.lanes.get_mut(&lane).map(Lane::purge).unwrap_or_default() } else { [].into() };
        for other in purged {
            let refusal = Refusal::new(Status::Busy, "a stop method cleared its lane");
            self.give_up(now, other, &refusal, actions);
        }
        match self.lanes.get_mut(&lane) {
            Some(waiting) if waiting.entry(stop) != Entry::Start => {
                waiting.wait(key, stop);
                self.set_timer(key, Some(self.give_up_at(key)));
            }
            Some(_) | None => self.start(now, key, actions),
        }
    }

    // --- time ---

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
        let method = call.method.clone();
        self.conclude(now, key, ended, actions);
        let Some(method) = self.method(&method) else { return };
        let (stuck_after, safe_action) = (method.stuck_after, method.on_timeout.clone());
        self.set_timer(key, Some(now.after(stuck_after)));
        if let Some(name) = safe_action {
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

    // --- a call's life ---

    fn start(&mut self, now: Instant, key: CallKey, actions: &mut Vec<Action<P>>) {
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
            State::Waiting => return,
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
            let reply = reply(asker.topic.clone(), ended, call.timing(now));
            actions.push(Action::Record(Box::new(record(asker, &reply, RecordKind::Late))));
        }
        self.release(now, key, actions);
    }

    /// Answers a call (or records a safe action) and remembers the answer. The call stays until its resource is free.
    fn conclude(&mut self, now: Instant, key: CallKey, ended: Ended, actions: &mut Vec<Action<P>>) {
        let Some(call) = self.calls.get(&key) else { return };
        let timing = call.timing(now);
        match &call.asker {
            Some(asker) => {
                let reply = reply(asker.topic.clone(), ended, timing);
                self.memory.answer(&asker.topic.client, &reply, call.state != State::Waiting);
                tell(asker, reply, RecordKind::Answered, actions);
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
        let call = Call {
            id: (self.settings.new_id)(),
            method: name.to_owned(),
            lane: lane.clone(),
            params: params.clone(),
            deadline: now.after(budget),
            budget,
            received: now,
            asker: None,
            state: State::Waiting,
            timer: None,
        };
        let key = self.new_key();
        self.calls.insert(key, call);
        self.start(now, key, actions);
    }

    fn stop(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        for key in self.lanes.values_mut().flat_map(Lane::purge).collect::<Vec<_>>() {
            self.give_up(now, key, &Refusal::new(Status::Unavailable, "the gateway is stopping"), actions);
        }
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

    fn new_key(&mut self) -> CallKey {
        self.next_key = self.next_key.wrapping_add(1);
        CallKey(self.next_key)
    }
}

/// A request that may start or wait.
struct Admitted<P> {
    params: P,
    deadline: Instant,
    budget: std::time::Duration,
    lane: String,
    stop: bool,
}

impl Asked<'_> {
    fn asker(&self) -> Asker {
        Asker {
            topic: self.request.topic.clone(),
            caller: self.request.caller.clone(),
            traceparent: self.request.traceparent.clone(),
            attempt: self.request.attempt,
            compat: self.compat,
        }
    }

    fn refuse<P>(&self, refusal: &Refusal, actions: &mut Vec<Action<P>>) {
        tell(&self.asker(), answer(self.request.topic.clone(), refusal), RecordKind::Answered, actions);
    }
}

fn full() -> Refusal {
    Refusal::new(Status::Busy, "this client has more calls to be remembered than fit; try again later")
}

fn answer(topic: RequestTopic, refusal: &Refusal) -> ReplyBody {
    let ended = Ended {
        status: refusal.status,
        outcome: Outcome::NotExecuted,
        response: None,
        error: Some(refusal.error.clone()),
    };
    reply(topic, ended, Timing::default())
}

fn reply(topic: RequestTopic, ended: Ended, timing: Timing) -> ReplyBody {
    let Ended { status, outcome, response, error } = ended;
    ReplyBody { topic, status, outcome, response, error, timing }
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
