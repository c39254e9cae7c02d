//! Compares what callers were told with what the actuators wrote down. A pure function; reads no clock and no file.
//!
//! **The caller's deadline.** A caller's budget begins when the cloud side has its request. That instant is not seen
//! from outside, but bounded: the answer says how long the cloud side had counted when it answered, and the caller reads
//! the answer later than that. So `read - counted + timeout` is never earlier than the deadline, and later than it only
//! by the answer's way over loopback. Against this bound no epsilon is allowed: an actuation at or after it is late, and
//! so is one that was handed a later deadline (`$call.not_after`), whenever it was done.
//!
//! **Actuators that do not look at the deadline** act when they are asked, and nowd's promise ends where the bus or the
//! line takes the bytes. What they need to hear and to act is allowed for by [`DELIVERY`], and on a busy machine by some of its
//! longest stalls; they are not judged where the suite itself freezes them, or the bus before them.

use std::collections::{BTreeMap, HashMap};

use nowd_protocol::Outcome;

use crate::act::Act;

/// How long a bus or a line may take until an actuator that was asked in time has acted: microseconds.
const DELIVERY: u64 = 250_000;
/// Daemon, bus and actuator may each stall once on the way of one call, and the actuator's answer once more.
const STALLS: u64 = 4;
/// The way that looks at the deadline by itself, directly before it acts.
const CHECKED: &str = "checked";

/// What a caller was told.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) outcome: Outcome,
}

/// One call, as its caller knows it. Instants are microseconds of `CLOCK_BOOTTIME`.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Its number in the suite, which the actuators write down.
    pub(crate) number: u64,
    /// The instant from which on acting is surely late.
    pub(crate) deadline: u64,
    /// From when to when it was under way.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) answers: Vec<Answer>,
    /// How many answers `not_executed` mean that it was not: one, or as many as it was sent to different incarnations.
    pub(crate) refusals_needed: usize,
    /// Whether it must have an answer: HTTP calls do.
    pub(crate) answer_needed: bool,
}

/// A time daemon may slew the kernel's clock by one part in this many while a call is under way.
const SLEWED_ONE_IN: u64 = 1_000;

/// What is not judged in a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Everything.
    All,
    /// When unchecked actuators act: they, or the bus before them, are frozen.
    NotUnchecked,
    /// Nothing: what is done here is not promised, and only shown.
    Nothing,
}

/// The row of a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) calls: usize,
    pub(crate) acts: usize,
    pub(crate) in_time: usize,
    pub(crate) executed: usize,
    pub(crate) not_executed: usize,
    pub(crate) unknown: usize,
    pub(crate) late: usize,
    pub(crate) double: usize,
    pub(crate) contradictions: usize,
    /// How long before the deadline the last of the actuations in time was done, in microseconds.
    pub(crate) closest: Option<u64>,
    /// Calls that have no answer and should.
    pub(crate) unanswered: usize,
    /// The longest stall of the machine, in microseconds.
    pub(crate) stall: u64,
    /// How many calls were answered with each status.
    pub(crate) statuses: BTreeMap<String, usize>,
    /// What is wrong, in words: the call's number and the sentence.
    pub(crate) wrong: Vec<(u64, String)>,
}

/// Judges a fault.
///
/// `stall` is the longest time for which the machine kept a process waiting meanwhile, in microseconds.
pub(crate) fn judge(calls: &[Call], acts: &[Act], judged: Judged, stall: u64) -> Tally {
    let mut tally = Tally { calls: calls.len(), acts: acts.len(), stall, ..Tally::default() };
    let known: HashMap<u64, &Call> = calls.iter().map(|call| (call.number, call)).collect();
    let mut done: BTreeMap<u64, Vec<&Act>> = BTreeMap::new();
    for act in acts {
        done.entry(act.number).or_default().push(act);
        match known.get(&act.number) {
            Some(call) => tally.time(call, act, judged),
            None => tally.contradicts(act.number, "was actuated, and nobody asked for it".into()),
        }
    }
    let mut ids: HashMap<&str, u64> = HashMap::new();
    for act in acts {
        if let Some(other) = ids.insert(&act.id, act.number)
            && other != act.number
        {
            tally.doubles(act.number, format!("was actuated under the id of call {other}"));
        }
    }
    for (number, acts) in &done {
        if let [first, .., last] = acts.as_slice() {
            let (times, apart) = (acts.len(), last.at.saturating_sub(first.at));
            tally.doubles(
                *number,
                format!("was actuated {times} times, {apart} us apart, ids {} and {}", first.id, last.id),
            );
        }
    }
    for call in calls {
        tally.answers(call, done.get(&call.number).map_or(&[], Vec::as_slice));
    }
    tally
}

impl Tally {
    /// Whether no promise was broken.
    pub(crate) fn is_clean(&self) -> bool {
        self.late + self.double + self.contradictions == 0
    }

    fn time(&mut self, call: &Call, act: &Act, judged: Judged) {
        if act.at < call.deadline {
            self.in_time += 1;
            let left = call.deadline - act.at;
            self.closest = Some(self.closest.map_or(left, |closest| closest.min(left)));
        }
        // The kernel's clock, in which it was handed over, may be slewed while the call is under way.
        let slewed = call.deadline.saturating_sub(call.begun) / SLEWED_ONE_IN;
        if act.not_after > call.deadline.saturating_add(slewed) {
            let by = act.not_after - call.deadline;
            return self.lates(call.number, format!("was given {by} us more than its caller gave it"));
        }
        let allowed = match (act.way.as_str(), judged) {
            (CHECKED, _) => 0,
            (_, Judged::NotUnchecked) => return,
            (_, Judged::All | Judged::Nothing) => DELIVERY + STALLS * self.stall,
        };
        // The deadline that was handed over is no later than the caller's.
        if act.at >= act.not_after.saturating_add(allowed) {
            let by = act.at - act.not_after;
            self.lates(call.number, format!("was actuated ({}) {by} us after its deadline", act.way));
        }
    }

    fn answers(&mut self, call: &Call, acts: &[&Act]) {
        let count = |outcome| call.answers.iter().filter(|answer| answer.outcome == outcome).count();
        let (executed, refused) = (count(Outcome::Executed), count(Outcome::NotExecuted));
        let believed = refused > 0 && refused >= call.refusals_needed;
        if executed > 0 {
            self.executed += 1;
        } else if believed {
            self.not_executed += 1;
        } else {
            self.unknown += 1;
        }
        if call.answers.is_empty() && call.answer_needed {
            self.unanswered += 1;
        }
        for answer in &call.answers {
            *self.statuses.entry(answer.status.clone()).or_default() += 1;
        }
        let told = || {
            let answers = call.answers.iter();
            answers.map(|answer| answer.status.as_str()).collect::<Vec<_>>().join(", ")
        };
        if executed > 0 && acts.is_empty() {
            self.contradicts(
                call.number,
                format!("was answered `executed` ({}), and was never actuated", told()),
            );
        }
        if let Some(act) = acts.first().filter(|_| believed) {
            let when = if act.at < call.ended { "before" } else { "after" };
            self.contradicts(
                call.number,
                format!("was answered `not_executed` ({}), and was actuated {when} that", told()),
            );
        }
        if let (Some(act), Some(answer)) = (acts.first(), call.answers.first())
            && act.id != answer.id
        {
            self.contradicts(
                call.number,
                format!("was actuated as {} and answered as {}", act.id, answer.id),
            );
        }
    }

    fn lates(&mut self, number: u64, what: String) {
        self.late += 1;
        self.wrong.push((number, what));
    }

    fn doubles(&mut self, number: u64, what: String) {
        self.double += 1;
        self.wrong.push((number, what));
    }

    fn contradicts(&mut self, number: u64, what: String) {
        self.contradictions += 1;
        self.wrong.push((number, what));
    }
}

#[cfg(test)]
mod tests;
