//! The core itself: events in, actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nowd_protocol::{ErrorBody, Outcome, Status, Timing};

use crate::call::{Asker, Call, CallKey, State};
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Event, Purpose, Record, RecordKind, ReplyBody};
use crate::journal::{Journal, JournalLine};
use crate::lane::{Lane, LaneReport};
use crate::memory::Memory;
use crate::settings::{Offer, Settings};
use crate::time::Instant;

mod all;
mod ask_again;
mod built_in;
mod changes;
mod on_offer;
mod polls;
mod receive;
mod running;

use changes::Changes;
use polls::Poll;

/// Decides. `P` is what the shell makes of a request's parameters; the core only carries it.
#[derive(Debug, Clone)]
pub struct Core<P> {
    settings: Settings,
    lanes: BTreeMap<Arc<str>, Lane>,
    calls: BTreeMap<CallKey, Call<P>>,
    /// The methods that the gateway reads by itself.
    polls: BTreeMap<String, Poll>,
    timers: BTreeSet<(Instant, CallKey)>,
    memory: Memory,
    journal: Journal,
    next_key: u64,
    stopping: bool,
    /// Why the gateway is locked out on site, if it is.
    lockout: Option<String>,
    /// Until when bytes that were refused and not remembered could have been admitted, had other methods been on offer.
    refused_until: Instant,
    /// What was changed while the gateway ran.
    changes: Changes,
}

impl<P: Clone + Default> Core<P> {
    /// A core with nothing running, and nothing remembered but what the journal of earlier incarnations says.
    #[must_use]
    pub fn new(settings: Settings, past: impl IntoIterator<Item = JournalLine>) -> Self {
        let lanes = settings
            .offer
            .lanes
            .iter()
            .map(|(name, lane)| (name.as_str().into(), Lane::new(lane.clone())))
            .collect();
        let polls = polls::of(&settings.offer);
        let memory = Memory::new(settings.limits);
        let mut journal = Journal::new(settings.limits.journaled);
        for line in past {
            journal.read(line);
        }
        Self {
            settings,
            lanes,
            calls: BTreeMap::new(),
            polls,
            timers: BTreeSet::new(),
            memory,
            journal,
            next_key: 0,
            stopping: false,
            lockout: None,
            refused_until: Instant::from_micros(0),
            changes: Changes::default(),
        }
    }

    /// Decides what is to be done about `event` at `now`, which never goes back.
    pub fn handle(&mut self, now: Instant, event: Event<P>) -> Vec<Action<P>> {
        let mut actions = Vec::new();
        self.decide(now, event, &mut actions);
        // Last of all: whoever asks goes first.
        self.poll(now, &mut actions);
        actions
    }

    fn decide(&mut self, now: Instant, event: Event<P>, actions: &mut Vec<Action<P>>) {
        // A plugin that has just said what happened knows more than the clock does: hear it before time runs out on it.
        if let Event::Ended { key, ended } = event {
            self.ended(now, key, ended, actions);
            return self.time(now, actions);
        }
        self.time(now, actions);
        match event {
            Event::Received { message, receipt, params } => {
                self.received(now, message, receipt, params, actions);
            }
            Event::Journaled { key, kept } => self.journaled(now, key, kept, actions),
            Event::Offer(offer) => self.change(now, offer, actions),
            Event::Lockout(reason) => self.lock(now, reason, actions),
            Event::Stop => self.stop(now, actions),
            Event::Abandon => self.abandon(now, actions),
            Event::Time | Event::Ended { .. } => {}
        }
    }

    /// When [`Event::Time`] is due, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.poll_at()).min()
    }

    /// Whether something of this offer is not over: a call, a safe action or a read of the gateway's own.
    #[must_use]
    pub fn uses(&self, generation: u64) -> bool {
        self.calls.values().any(|call| call.offer.generation == generation)
    }

    /// How many calls have not ended: they wait, run, or overrun.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether the end of a call may let another call start, or a read of the gateway's own.
    #[must_use]
    pub fn may_start_another(&self) -> bool {
        !self.polls.is_empty() || self.calls.values().any(|call| call.state == State::Waiting)
    }

    /// How many calls, safe actions and reads of its own a plugin has, answered or not.
    #[must_use]
    pub fn running(&self) -> usize {
        let runs = |call: &&Call<P>| matches!(call.state, State::Running { .. } | State::Overrun { .. });
        self.calls.values().filter(runs).count()
    }

    /// How many calls and safe actions have been started and have not been answered. Nobody waits for the gateway's own
    /// reads.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        let runs = |call: &&Call<P>| {
            matches!(call.state, State::Running { .. }) && call.maker.purpose() != Purpose::Poll
        };
        self.calls.values().filter(runs).count()
    }

    /// How the lanes are, by name.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneReport> {
        self.lanes.iter().map(|(name, lane)| lane.report(name)).collect()
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.memory.len()
    }

    fn time(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
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
        let (offer, name, purpose) = (Arc::clone(&call.offer), call.method.clone(), call.maker.purpose());
        self.conclude(now, key, ended, actions);
        let Some(method) = offer.method(&name) else { return };
        self.set_timer(key, Some(now.after(method.stuck_after)));
        // What makes safe has nothing to be made safe by, and what only reads leaves nothing unsafe.
        if let Some(name) = method.on_timeout.clone().filter(|_| purpose == Purpose::Call) {
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

    /// What is on offer now.
    fn offer(&self) -> &Arc<Offer> {
        &self.settings.offer
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
        method: asker.topic.method.shared(),
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
