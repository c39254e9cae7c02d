//! How much of something is borne, and how long whoever wants more has to wait.

use std::time::Duration;

use nowd_plugin::BootInstant;

/// So many at once, and after that one in so much time.
#[derive(Debug)]
pub(crate) struct Allowance {
    at_once: u32,
    each: Duration,
    /// When all that was taken will have been made good.
    settled: BootInstant,
}

impl Allowance {
    pub(crate) const fn new(at_once: u32, each: Duration) -> Self {
        Self { at_once, each, settled: BootInstant::from_micros(0) }
    }

    /// Takes `count` now. What comes back is how long to wait until that is within bounds; mostly zero.
    pub(crate) fn spend(&mut self, count: u32) -> Duration {
        self.spend_at(count, BootInstant::now())
    }

    fn spend_at(&mut self, count: u32, now: BootInstant) -> Duration {
        self.settled = self.settled.max(now).saturating_add(self.each.saturating_mul(count));
        self.settled.saturating_since(now).saturating_sub(self.each.saturating_mul(self.at_once))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_and_then_one_by_one() {
        let mut allowance = Allowance::new(3, Duration::from_millis(10));
        for (now, count, expected) in [
            (1_000, 1, 0),
            (1_000, 2, 0),
            (1_000, 1, 10_000),
            (11_000, 1, 10_000),
            (1_011_000, 3, 0),
            (1_011_000, 2, 20_000),
        ] {
            let wait = allowance.spend_at(count, BootInstant::from_micros(now));
            assert_eq!(wait, Duration::from_micros(expected), "{count} at {now}");
        }
    }
}
