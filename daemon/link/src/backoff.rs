//! How long to wait before the next attempt. It never gives up and never waits itself.

use std::time::Duration;

/// The first wait is at least this long.
const SHORTEST: Duration = Duration::from_millis(250);
/// No wait is longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double from 250 ms up to 30 s, each drawn at random from the upper half of its range, so that a fleet
/// does not come back all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: SHORTEST.saturating_mul(2) }
    }
}

impl Backoff {
    /// Starts with the shortest wait.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long to wait now; the next answer is up to twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let half = self.ceiling / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        self.ceiling = self.ceiling.saturating_mul(2).min(LONGEST);
        half.saturating_add(Duration::from_millis(fastrand::u64(0..=spread)))
    }

    /// Starts again with the shortest wait: to be called after a connection that lasted.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_start_again() {
        let mut backoff = Backoff::new();
        for round in 0..50 {
            let delay = backoff.next_delay();
            assert!((SHORTEST..=LONGEST).contains(&delay), "round {round}: {delay:?}");
        }
        assert!(backoff.next_delay() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next_delay() <= SHORTEST * 2);
    }
}
