//! The clock of the measurements, and what is kept of them: a histogram in nanoseconds, correct to three digits.

use anyhow::Context as _;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

/// Shorter times are counted as this one, in nanoseconds.
const SHORTEST: u64 = 1_000;
/// Longer times are counted as this one, in nanoseconds.
const LONGEST: u64 = 120_000_000_000;
/// One microsecond.
pub(crate) const MICRO: u64 = 1_000;
/// One second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The kernel counts from boot: neither part is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(SECOND).saturating_add(nanoseconds)
}

/// A count as a number to calculate with.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts and times here are far below 2^53, and there is no other way"
)]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// A number of things as a number to calculate with.
pub(crate) fn number(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Many times of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(SHORTEST, LONGEST, 3).context("the bounds of a histogram")?))
    }

    /// One more, in nanoseconds.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.max(SHORTEST));
    }

    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.0.add(&other.0).context("histograms of one kind")
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// The time that so many of all, 0 to 1, do not exceed; in microseconds. No number where there are no times.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        float(self.0.value_at_quantile(quantile)) / float(MICRO)
    }

    /// How many took longer than so many nanoseconds, to three digits.
    pub(crate) fn beyond(&self, nanoseconds: u64) -> u64 {
        self.0.count_between(self.0.highest_equivalent(nanoseconds) + 1, LONGEST)
    }

    /// Whether enough of them, ten at least, are beyond that quantile for it to be more than chance.
    pub(crate) fn tells(&self, quantile: f64) -> bool {
        float(self.len()) * (1.0 - quantile) >= 9.9955
    }

    /// In microseconds.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// In microseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.mean() / float(MICRO)
    }

    /// In microseconds.
    pub(crate) fn max(&self) -> f64 {
        float(self.0.max()) / float(MICRO)
    }

    /// Points of the distribution: microseconds, and which part of all does not exceed them.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        self.0
            .iter_quantiles(16)
            .map(|step| (float(step.value_iterated_to()) / float(MICRO), step.quantile()))
            .collect()
    }
}

/// The median of some numbers; nothing of none.
pub(crate) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_to_three_digits() {
        let mut times = Times::new().unwrap();
        (1..=1_000).for_each(|micros| times.record(micros * MICRO));
        assert!((times.median() - 500.0).abs() < 1.0 && (times.at(0.99) - 990.0).abs() < 1.0);
        let curve = times.curve();
        assert!(curve.is_sorted() && curve.last().is_some_and(|(time, part)| *time >= 999.0 && *part >= 1.0));
    }

    #[test]
    fn a_quantile_needs_ten_times_beyond_it() {
        let mut times = Times::new().unwrap();
        (0..999).for_each(|_| times.record(5 * MICRO));
        assert!(times.tells(0.5) && !times.tells(0.99));
        times.record(5 * MICRO);
        assert!(times.tells(0.99) && !times.tells(0.999));
    }

    #[test]
    fn what_is_out_of_bounds_is_counted_at_the_bound() {
        let mut times = Times::new().unwrap();
        times.record(0);
        times.record(u64::MAX);
        assert_eq!(times.len(), 2);
    }
}
