//! What only grows, for the metrics: exact counts, where `nowd status` has percentiles.

use std::collections::{BTreeMap, BTreeSet};

use nowd_core::{Record, RecordKind};
use nowd_plugin::BootInstant;
use nowd_protocol::{Outcome, Status};

/// The outcomes, in the order of what is counted by them.
pub(crate) const OUTCOMES: [Outcome; 3] = [Outcome::Executed, Outcome::NotExecuted, Outcome::Unknown];

/// Up to how many microseconds calls are counted together.
pub(crate) const BOUNDS: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Since the start.
#[derive(Debug, Default, Clone)]
pub(crate) struct Totals {
    /// Calls that were answered, by status and outcome.
    pub(crate) ended: BTreeMap<(Status, &'static str), u64>,
    pub(crate) repeats: u64,
    pub(crate) late: u64,
    pub(crate) safe_actions: u64,
    /// Safe actions that failed when they last ran, by method.
    pub(crate) failed_safe_actions: BTreeMap<String, FailedSafeAction>,
    /// Messages that nobody was answered.
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    /// Answers that could not be sent.
    pub(crate) unsent: u64,
    /// Records that could not be written.
    pub(crate) lost: u64,
    /// Polled methods that cannot be read now.
    pub(crate) unreadable: BTreeSet<String>,
    /// Of the calls that came into a lane.
    pub(crate) queue: Times,
    pub(crate) plugin: Times,
    pub(crate) total: Times,
    /// By method: how its calls ended, by [`OUTCOMES`], and the microseconds that they took.
    pub(crate) methods: BTreeMap<String, ([u64; OUTCOMES.len()], u64)>,
    /// Calls of further methods, which are not told apart.
    pub(crate) further: u64,
}

/// A device may not be as safe as its map wants it.
#[derive(Debug, Clone)]
pub(crate) struct FailedSafeAction {
    pub(crate) status: Status,
    pub(crate) why: String,
    pub(crate) at: BootInstant,
}

/// How long calls took.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Times {
    /// By [`BOUNDS`]; longer ones are in none.
    pub(crate) within: [u64; BOUNDS.len()],
    pub(crate) count: u64,
    /// Microseconds.
    pub(crate) sum: u64,
}

impl FailedSafeAction {
    /// What there is to tell of this record. One that is at work still, for an earlier call, has not failed.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let is_none = record.kind != RecordKind::SafeAction
            || matches!(record.status, Status::Ok | Status::Sent | Status::Busy);
        let why = record.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        (!is_none).then(|| Self { status: record.status, why, at: BootInstant::now() })
    }
}

impl Totals {
    pub(super) fn safe_action(&mut self, record: &Record) {
        self.safe_actions = self.safe_actions.saturating_add(1);
        match FailedSafeAction::of(record) {
            Some(failed) if self.failed_safe_actions.len() < super::MOST_METHODS => {
                self.failed_safe_actions.insert(record.method.as_ref().into(), failed);
            }
            None if record.status != Status::Busy => drop(self.failed_safe_actions.remove(&*record.method)),
            Some(_) | None => {}
        }
    }

    pub(super) fn times(&mut self, record: &Record) {
        self.queue.add(record.timing.queue);
        self.plugin.add(record.timing.plugin);
        self.total.add(record.timing.total);
    }
}

impl Times {
    fn add(&mut self, micros: u64) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(micros);
        let bound = BOUNDS.iter().position(|bound| micros <= *bound);
        if let Some(count) = bound.and_then(|place| self.within.get_mut(place)) {
            *count = count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_up_to_its_bound() {
        let mut times = Times::default();
        for micros in [0, 1_000, 1_001, 30_000_000, 30_000_001, u64::MAX] {
            times.add(micros);
        }
        assert_eq!((times.count, times.sum), (6, u64::MAX));
        assert_eq!((times.within[0], times.within[1], times.within[13]), (2, 1, 1));
        assert_eq!(times.within.iter().sum::<u64>(), 4, "longer ones are only in the count");
    }
}
