//! Polled methods: the gateway reads them by itself, and calls of them are answered with the last value.
//!
//! A read starts only where nobody runs and nobody waits, so that a command waits for no more than the one that is on the
//! wire. A read that was not possible in time is done once when it is, never several times to catch up. Nothing is read
//! under lockout.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nowd_protocol::{ErrorBody, Outcome, PolledValue, RawValue, Status, Timing};

use super::receive::Asked;
use super::{Core, reply, tell};
use crate::call::{Call, CallKey, Maker, State};
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Receipt, RecordKind};
use crate::lane::Lane;
use crate::settings::Offer;
use crate::time::Instant;

/// The largest value that is kept, in bytes; a larger one counts as not read.
pub(crate) const MAX_VALUE_LEN: usize = 64 * 1024;

/// The first reads are not before this, so that buses are connected and ports are open.
pub(crate) const FIRST_READ: Duration = Duration::from_millis(250);

/// The first reads are spread over this time, or over the time between two reads where that is shorter. As soon is tried
/// again what has never been read, while nothing is sent anyway.
const FIRST_READS: Duration = Duration::from_secs(1);

/// A method that the gateway reads by itself.
#[derive(Debug, Clone)]
pub(super) struct Poll {
    every: Duration,
    lane: Arc<str>,
    next: Next,
    value: Option<Value>,
    /// What went wrong with the last read.
    error: Option<ErrorBody>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Not thought of yet.
    Unknown,
    /// To be read then, or as soon after as its lane is idle.
    At(Instant),
    /// It was to be read then, and its lane was not idle.
    Due(Instant),
    /// It is being read.
    Reading(CallKey),
}

#[derive(Debug, Clone)]
struct Value {
    json: Box<RawValue>,
    /// When its read began: it is no older than this.
    since: Instant,
}

/// The polled methods of an offer.
pub(super) fn of(offer: &Offer) -> BTreeMap<String, Poll> {
    let poll = |every, lane| Poll { every, lane, next: Next::Unknown, value: None, error: None };
    let methods = offer.methods.iter();
    methods.filter_map(|(name, m)| Some((name.clone(), poll(m.poll?, m.lane.clone())))).collect()
}

impl<P: Clone + Default> Core<P> {
    /// Starts the reads that are due and in nobody's way.
    pub(super) fn poll(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        if self.polls.is_empty() || !self.may_poll() {
            return;
        }
        self.spread(now);
        let mut due = Vec::new();
        for (name, poll) in &mut self.polls {
            if let Next::At(at) | Next::Due(at) = poll.next
                && at <= now
            {
                poll.next = Next::Due(at);
                due.push((at, name.clone()));
            }
        }
        // Of those that share a lane, the one that has waited longest.
        due.sort();
        for (_, name) in due {
            self.read(now, &name, actions);
        }
    }

    /// When the next read is due, if nothing is in its way.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let at = |poll: &Poll| match poll.next {
            Next::Unknown => Some(Instant::from_micros(0)),
            Next::At(at) => Some(at),
            // Whatever it waits for is an event of its own.
            Next::Due(_) | Next::Reading(_) => None,
        };
        if self.may_poll() { self.polls.values().filter_map(at).min() } else { None }
    }

    fn may_poll(&self) -> bool {
        !self.stopping && self.lockout.is_none()
    }

    /// Gives each a first time: soon, and not all at once.
    fn spread(&mut self, now: Instant) {
        let count = u32::try_from(self.polls.len()).unwrap_or(u32::MAX);
        for (place, poll) in (0_u32..).zip(self.polls.values_mut()) {
            if poll.next == Next::Unknown {
                let share = poll.every.min(FIRST_READS).checked_div(count).unwrap_or_default();
                poll.next = Next::At(now.after(FIRST_READ).after(share.saturating_mul(place)));
            }
        }
    }

    fn read(&mut self, now: Instant, name: &str, actions: &mut Vec<Action<P>>) {
        let key = self.new_key();
        let offer = Arc::clone(self.offer());
        let (Some(poll), Some(method)) = (self.polls.get_mut(name), offer.methods.get(name)) else { return };
        if !self.lanes.get(&poll.lane).is_some_and(Lane::is_idle) {
            return;
        }
        poll.next = Next::Reading(key);
        let (budget, deadline) = (method.timeout, now.after(method.timeout));
        let call = Call {
            id: (self.settings.new_id)(),
            method: name.into(),
            lane: poll.lane.clone(),
            params: P::default(),
            deadline,
            budget,
            received: now,
            maker: Maker::Poll,
            offer,
            give_up_at: deadline,
            joined: Vec::new(),
            journal: None,
            state: State::Waiting,
            timer: None,
        };
        self.calls.insert(key, call);
        self.run(now, key, actions);
    }

    /// A read has ended, or has taken too long. One of an earlier offer is of no use.
    pub(super) fn polled(&mut self, key: CallKey, ended: Ended, actions: &mut Vec<Action<P>>) {
        let Some(Call { method, state, .. }) = self.calls.get(&key) else { return };
        let (State::Running { started } | State::Overrun { started }) = *state else { return };
        let Some(poll) = self.polls.get_mut(&**method).filter(|poll| poll.next == Next::Reading(key)) else {
            return;
        };
        let again = match ended.outcome {
            Outcome::NotExecuted if poll.value.is_none() => poll.every.min(FIRST_READS),
            Outcome::NotExecuted | Outcome::Executed | Outcome::Unknown => poll.every,
        };
        poll.next = Next::At(started.after(again));
        let failed = poll.error.is_some();
        poll.error = match value(ended) {
            Ok(json) => {
                poll.value = Some(Value { json, since: started });
                None
            }
            Err(error) => Some(error),
        };
        if failed != poll.error.is_some() {
            actions.push(Action::Polled { method: method.as_ref().into(), error: poll.error.clone() });
        }
    }

    /// Answers a call of a polled method with its last value. It moves nothing, so it stands in no lane, is not remembered,
    /// and works under lockout.
    pub(super) fn tell_value(
        &self,
        now: Instant,
        asked: &Asked<'_>,
        receipt: Receipt,
        params: Result<(), ErrorBody>,
        actions: &mut Vec<Action<P>>,
    ) {
        let value = self.permitted(asked).and_then(|method| {
            params.map_err(|error| Refusal { status: Status::InvalidRequest, error })?;
            self.judge(now, asked, receipt, method.max_timeout)?;
            self.last_value(now, asked.request.topic.method.as_str())
        });
        let response = match value {
            Ok(response) => response,
            Err(refusal) => return asked.refuse(&refusal, actions),
        };
        let asker = asked.asker();
        let ended =
            Ended { status: Status::Ok, outcome: Outcome::Executed, response: Some(response), error: None };
        tell(&asker, reply(&asker, ended, Timing::default()), RecordKind::Answered, actions);
    }

    fn last_value(&self, now: Instant, name: &str) -> Result<Box<RawValue>, Refusal> {
        let poll = self.polls.get(name).or_else(|| self.polls.get("*"));
        let error = poll.and_then(|poll| poll.error.clone());
        let Some(Value { json, since }) = poll.and_then(|poll| poll.value.as_ref()) else {
            let message = "it has not been read yet".to_owned();
            let error = error.unwrap_or(ErrorBody { code: Status::Unavailable.as_str().into(), message });
            return Err(Refusal { status: Status::Unavailable, error });
        };
        let age = now.since(*since).as_micros().div_ceil(1_000);
        let age_ms = u64::try_from(age).unwrap_or(u64::MAX);
        Ok(PolledValue { value: json, age_ms, error }.response())
    }
}

/// What was read, or why nothing was.
fn value(ended: Ended) -> Result<Box<RawValue>, ErrorBody> {
    let Ended { status, response, error, .. } = ended;
    if status != Status::Ok {
        let nothing = || ErrorBody { code: status.as_str().into(), message: "nothing was read".into() };
        return Err(error.unwrap_or_else(nothing));
    }
    let value = response.unwrap_or_else(|| RawValue::NULL.to_owned());
    if value.get().len() > MAX_VALUE_LEN {
        let message =
            format!("the value is {} bytes long, and at most {MAX_VALUE_LEN} are kept", value.get().len());
        return Err(ErrorBody { code: "response_too_large".into(), message });
    }
    Ok(value)
}
