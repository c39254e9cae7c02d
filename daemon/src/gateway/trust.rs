//! Watches whether the wall clock is trusted, for people: what is decided by it is decided anew for each call.

use tracing::{info, warn};

use crate::clock::{Trust, WallClock};

/// What was last seen.
#[derive(Debug)]
pub(super) struct Watch {
    trusted: bool,
    changes: u64,
}

impl Watch {
    /// Says how it is at the start.
    pub(super) fn new(clock: &WallClock) -> Self {
        let Trust { trusted, why, .. } = clock.trust();
        let not = if trusted { "" } else { "not " };
        info!("the wall clock is {not}trusted: {why}");
        Self { trusted, changes: 0 }
    }

    /// Tells a change.
    pub(super) fn look(&mut self, clock: &WallClock) {
        if clock.trusted().is_some() == self.trusted {
            return;
        }
        let Trust { trusted, why, max_error, .. } = clock.trust();
        if trusted == self.trusted {
            return;
        }
        self.trusted = trusted;
        self.changes = self.changes.saturating_add(1);
        match (trusted, max_error) {
            (true, _) => info!("the wall clock is trusted again: {why}"),
            // Between two looks at its servers a time daemon admits to more and more: normal life for some.
            (false, Some(_)) => info!("the wall clock is not trusted any more: {why}, where 100 ms may be"),
            (false, None) => warn!(
                see = "clock-unsynchronised",
                "the wall clock is not trusted any more: {why}; first calls take one more round trip, and callers that \
                 send no `not_after` may be refused; look at the machine's time daemon (`timedatectl`, `chronyc tracking`)"
            ),
        }
    }

    /// How often it changed since the start.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::WallReading;
    use crate::config::ClockTrust;

    #[test]
    fn changes_are_counted() {
        let error_ms = Arc::new(AtomicU64::new(u64::MAX));
        let read = Arc::clone(&error_ms);
        let clock = WallClock::new(ClockTrust::Auto, move || {
            let ms = Some(read.load(Ordering::Relaxed)).filter(|ms| *ms != u64::MAX);
            WallReading { now_ms: 7, max_error: ms.map(Duration::from_millis) }
        });
        let mut watch = Watch::new(&clock);
        for (ms, changes) in [(u64::MAX, 0), (100, 1), (3, 1), (101, 2), (u64::MAX, 2), (5, 3)] {
            error_ms.store(ms, Ordering::Relaxed);
            watch.look(&clock);
            assert_eq!(watch.changes(), changes, "{ms}");
        }
    }
}
