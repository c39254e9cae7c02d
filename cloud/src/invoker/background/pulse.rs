//! Notices that this process was stood still: frozen between two requests, stopped, or on a suspended machine.
//!
//! Whoever loops says so at least once in a [`BEAT`]. A gap is found before anything that follows it is looked at. The
//! steady clock may have counted the time or not: a snapshot of a machine starts it again where it stood, and then only
//! the wall clock tells.

use std::time::Duration;

use crate::clock::{BootInstant, unix_ms_at};

/// How often the loop goes round although nothing happens.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// Stood still for longer than this, a process knows nothing any more. A connection may be gone after any time; a short
/// gap is left to the one repetition that each call has, so that a busy machine does not dial for nothing.
const GAP: Duration = Duration::from_secs(5);

/// How far the wall clock may be set while nothing is wrong.
const STEP: Duration = GAP;

/// When the loop last went round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    steady: BootInstant,
    wall_ms: u64,
}

/// This process was stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// For so long, at least.
    pub(super) lasted: Duration,
    /// The steady clock did not count it.
    pub(super) clock_stood: bool,
}

impl Pulse {
    pub(super) fn now() -> Self {
        let steady = BootInstant::now();
        Self { steady, wall_ms: unix_ms_at(steady) }
    }

    /// When the loop is to go round next.
    pub(super) fn next(&self) -> BootInstant {
        self.steady.saturating_add(BEAT)
    }

    /// The loop goes round; what stood between this time and the one before.
    pub(super) fn beat(&mut self) -> Option<Gap> {
        let before = std::mem::replace(self, Self::now());
        gap(before, *self)
    }
}

fn gap(before: Pulse, now: Pulse) -> Option<Gap> {
    let steady = now.steady.saturating_since(before.steady);
    let wall = Duration::from_millis(now.wall_ms.saturating_sub(before.wall_ms));
    if steady > GAP {
        return Some(Gap { lasted: steady, clock_stood: wall > steady.saturating_add(STEP) });
    }
    (wall > steady.saturating_add(STEP)).then_some(Gap { lasted: wall, clock_stood: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_gap() {
        let at =
            |steady_ms: u64, wall_ms| Pulse { steady: BootInstant::from_micros(steady_ms * 1_000), wall_ms };
        let found = |steady_ms: u64, wall_ms| gap(at(100, 7_000_000), at(100 + steady_ms, wall_ms));
        let some = |ms, clock_stood| Some(Gap { lasted: Duration::from_millis(ms), clock_stood });
        // Steady milliseconds that passed, the wall clock after them, what is found.
        let table = [
            (1_000, 7_001_000, None),
            (5_000, 7_005_000, None),
            (5_001, 7_005_001, some(5_001, false)),
            // The wall clock was set back, or forward by a little.
            (1_000, 1_000, None),
            (1_000, 7_005_900, None),
            // The steady clock stood, wholly or for a part of the time.
            (0, 7_600_000, some(600_000, true)),
            (6_000, 7_600_000, some(6_000, true)),
            // The wall clock was set back while the process stood.
            (60_000, 6_000_000, some(60_000, false)),
        ];
        for (steady, wall, expected) in table {
            assert_eq!(found(steady, wall), expected, "{steady} ms, {wall}");
        }
    }
}
