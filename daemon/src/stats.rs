//! How calls have ended since the start, and where their time went: for people, off the path of the calls. Bounded, whatever
//! is called.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use nowd_core::{Record, RecordKind};
use serde::{Deserialize, Serialize};

pub(crate) use totals::{BOUNDS, FailedSafeAction, OUTCOMES, Times, Totals};

mod totals;

/// How many methods are told apart.
const MOST_METHODS: usize = 256;

/// Percentiles are right to so many digits. With that a histogram of values up to an hour takes 14 KiB, all together some
/// 10 MiB at worst.
const DIGITS: u8 = 2;

/// The longest time that is told apart from longer ones, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Stats(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    totals: Totals,
    all: Hops,
    methods: BTreeMap<String, Hops>,
}

#[derive(Debug, Default)]
struct Hops {
    queue: Hop,
    plugin: Hop,
    total: Hop,
    /// Ends of calls, by [`OUTCOMES`], and microseconds of all of them.
    outcomes: [u64; OUTCOMES.len()],
    micros: u64,
}

#[derive(Debug, Default)]
struct Hop {
    histogram: Option<Histogram<u32>>,
    max: u64,
}

/// What was counted, as `nowd status` tells it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CallsReport {
    /// How many calls were answered with each status.
    pub(crate) statuses: BTreeMap<String, u64>,
    /// How many repeats were answered.
    pub(crate) repeats: u64,
    /// How many results came after `timeout` had been answered.
    pub(crate) late: u64,
    /// How many safe actions ended.
    pub(crate) safe_actions: u64,
    /// Of the calls that came into a lane.
    pub(crate) timing: HopsReport,
    /// The same by method.
    pub(crate) methods: BTreeMap<String, HopsReport>,
    /// How many calls were of further methods, which are not told apart.
    pub(crate) further: u64,
}

/// Microseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct HopsReport {
    pub(crate) calls: u64,
    pub(crate) queue: HopReport,
    pub(crate) plugin: HopReport,
    pub(crate) total: HopReport,
}

/// Microseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct HopReport {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Stats {
    pub(crate) fn count(&self, record: &Record) {
        let mut counted = self.lock();
        match record.kind {
            RecordKind::Answered => {}
            RecordKind::Late => return add(&mut counted.totals.late),
            RecordKind::Repeated => return add(&mut counted.totals.repeats),
            RecordKind::SafeAction => return counted.totals.safe_action(record),
        }
        add(counted.totals.ended.entry((record.status, record.outcome.as_str())).or_default());
        // What was refused at once has taken no time, and would hide what the others take.
        if record.timing.total == 0 {
            return;
        }
        counted.totals.times(record);
        counted.all.record(record);
        if let Some(hops) = counted.methods.get_mut(&*record.method) {
            hops.record(record);
        } else if counted.methods.len() < MOST_METHODS {
            counted.methods.entry(record.method.as_ref().into()).or_default().record(record);
        } else {
            add(&mut counted.totals.further);
        }
    }

    /// Takes some milliseconds where there are many methods.
    pub(crate) fn report(&self) -> CallsReport {
        let counted = self.lock();
        let totals = &counted.totals;
        let mut statuses = BTreeMap::<String, u64>::new();
        for ((status, _), count) in &totals.ended {
            let sum = statuses.entry(status.as_str().into()).or_default();
            *sum = sum.saturating_add(*count);
        }
        CallsReport {
            statuses,
            repeats: totals.repeats,
            late: totals.late,
            safe_actions: totals.safe_actions,
            timing: counted.all.report(),
            methods: counted.methods.iter().map(|(name, hops)| (name.clone(), hops.report())).collect(),
            further: totals.further,
        }
    }

    /// A message was dropped without an answer.
    pub(crate) fn dropped(&self, reason: &'static str) {
        add(self.lock().totals.dropped.entry(reason).or_default());
    }

    /// An answer was not sent.
    pub(crate) fn unsent(&self) {
        add(&mut self.lock().totals.unsent);
    }

    /// Records were lost, and with them what they would have counted.
    pub(crate) fn lost(&self, count: u64) {
        let lost = &mut self.lock().totals.lost;
        *lost = lost.saturating_add(count);
    }

    /// A polled method cannot be read, or can be again.
    pub(crate) fn unreadable(&self, method: &str, is_so: bool) {
        let unreadable = &mut self.lock().totals.unreadable;
        if !is_so {
            unreadable.remove(method);
        } else if unreadable.len() < MOST_METHODS {
            unreadable.insert(method.to_owned());
        }
    }

    /// Safe actions that failed when they last ran, by method.
    pub(crate) fn failed_safe_actions(&self) -> BTreeMap<String, FailedSafeAction> {
        self.lock().totals.failed_safe_actions.clone()
    }

    /// Maps were read again: of safe actions that failed before nothing is known any more.
    pub(crate) fn forget_safe_actions(&self) {
        self.lock().totals.failed_safe_actions.clear();
    }

    /// What only grows. Takes some microseconds.
    pub(crate) fn totals(&self) -> Totals {
        let counted = self.lock();
        let methods = counted.methods.iter().map(|(name, hops)| (name.clone(), (hops.outcomes, hops.micros)));
        Totals { methods: methods.collect(), ..counted.totals.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}

impl Hops {
    fn record(&mut self, record: &Record) {
        self.queue.record(record.timing.queue);
        self.plugin.record(record.timing.plugin);
        self.total.record(record.timing.total);
        self.micros = self.micros.saturating_add(record.timing.total);
        let known = OUTCOMES.iter().position(|outcome| *outcome == record.outcome);
        if let Some(count) = known.and_then(|place| self.outcomes.get_mut(place)) {
            add(count);
        }
    }

    fn report(&self) -> HopsReport {
        let calls = self.total.histogram.as_ref().map_or(0, Histogram::len);
        let (queue, plugin, total) = (self.queue.report(), self.plugin.report(), self.total.report());
        HopsReport { calls, queue, plugin, total }
    }
}

impl Hop {
    fn record(&mut self, micros: u64) {
        self.max = self.max.max(micros);
        if self.histogram.is_none() {
            self.histogram = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // It grows up to the longest value, for which there is always memory.
            histogram.record(micros.min(LONGEST)).unwrap_or_default();
        }
    }

    fn report(&self) -> HopReport {
        let at = |percentile| {
            let value =
                self.histogram.as_ref().map_or(0, |histogram| histogram.value_at_percentile(percentile));
            // The histogram tells the upper end of the step that a value fell into.
            value.min(self.max)
        };
        HopReport { p50: at(50.0), p90: at(90.0), p99: at(99.0), max: self.max }
    }
}

#[cfg(test)]
mod tests {
    use nowd_protocol::{Outcome, Status, Timing, Uuid};

    use super::*;

    fn record(method: &str, kind: RecordKind, total: u64) -> Record {
        Record {
            id: Uuid::nil(),
            method: method.into(),
            client: None,
            caller: None,
            traceparent: None,
            attempt: 1,
            status: Status::Ok,
            outcome: Outcome::Executed,
            error: None,
            timing: Timing { queue: 1, plugin: total.saturating_sub(1), total },
            kind,
        }
    }

    #[test]
    fn percentiles_of_what_took_time() {
        let stats = Stats::default();
        for total in 1..=1_000 {
            stats.count(&record("a", RecordKind::Answered, total));
        }
        stats.count(&record("a", RecordKind::Answered, 0));
        stats.count(&record("b", RecordKind::Late, 7));
        stats.count(&record("b", RecordKind::Repeated, 7));
        stats.count(&record("b", RecordKind::SafeAction, 7));
        stats.count(&record("b", RecordKind::Answered, u64::MAX));
        let report = stats.report();
        assert_eq!(report.statuses, [("ok".to_owned(), 1_002)].into());
        assert_eq!((report.late, report.repeats, report.safe_actions), (1, 1, 1));
        let a = &report.methods["a"];
        assert_eq!((a.calls, a.total.max, a.queue.p99), (1_000, 1_000, 1));
        assert!((495..=505).contains(&a.total.p50) && (980..=1_000).contains(&a.total.p99), "{a:?}");
        assert_eq!(report.methods["b"].total.max, u64::MAX);
    }

    #[test]
    fn a_safe_action_that_failed_is_known_until_it_works() {
        let stats = Stats::default();
        let end = |method: &str, status, kind| {
            stats.count(&Record { status, ..record(method, kind, 7) });
            stats.failed_safe_actions().into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(end("a", Status::Timeout, RecordKind::Answered), "", "no safe action");
        assert_eq!(end("a", Status::Timeout, RecordKind::SafeAction), "a");
        assert_eq!(end("b", Status::Unavailable, RecordKind::SafeAction), "a b");
        assert_eq!(end("a", Status::Busy, RecordKind::SafeAction), "a b", "another is at work");
        assert_eq!(end("a", Status::Sent, RecordKind::SafeAction), "b");
        stats.forget_safe_actions();
        assert_eq!(end("c", Status::Ok, RecordKind::SafeAction), "");
        assert_eq!(stats.totals().safe_actions, 5);
    }

    #[test]
    fn methods_are_told_apart_up_to_a_bound() {
        let stats = Stats::default();
        for number in 0..MOST_METHODS + 5 {
            stats.count(&record(&format!("m{number}"), RecordKind::Answered, 1));
        }
        let report = stats.report();
        assert_eq!((report.methods.len(), report.further, report.timing.calls), (MOST_METHODS, 5, 261));
    }
}
