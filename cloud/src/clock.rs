//! The one place in the cloud side that reads clocks and waits for them.
//!
//! Deadlines are instants of a steady clock, which counts while the machine is suspended and is neither stepped nor
//! slewed. The wall clock is read only for a request's `timestamp`; nothing here is judged by it. The same clock as
//! `plugins/sdk` has, written again because neither may know the other.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Timers do not count a suspended machine's time, so a long wait looks at the clock again this often.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// The time that the machine has spent suspended, in nanoseconds, as it was last found out; at first unknown.
static SUSPENDED: AtomicI64 = AtomicI64::new(i64::MIN);

/// Between two looks at one clock with a look at another between them, this much may pass before they are repeated.
const CLOSE: i64 = 20_000;
/// How often they are repeated, on a machine so busy that they are always torn apart.
const MOST_LOOKS: u32 = 8;

/// An instant of the steady clock, in microseconds.
///
/// The clock counts from about the machine's start, also while the machine is suspended, and nobody can set or slew
/// it: `CLOCK_MONOTONIC_RAW` and the time spent suspended. It differs from `CLOCK_BOOTTIME` by what was slewed since the
/// start, and between two processes of one machine by some microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(u64);

impl BootInstant {
    /// Reads the clock. It never goes back, whichever thread reads it.
    #[must_use]
    pub fn now() -> Self {
        let known = SUSPENDED.load(Ordering::Relaxed);
        let found = suspended(known, bracket);
        let suspended =
            if found == known { known } else { SUSPENDED.fetch_max(found, Ordering::Relaxed).max(found) };
        let nanos = read(ClockId::MonotonicRaw).saturating_add(suspended);
        Self(u64::try_from(nanos).unwrap_or_default() / 1_000)
    }

    /// The instant at which the clock shows this many microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// What the clock shows, in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This instant, later by `duration`; the end of time if that is too far.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What the wall clock showed at `instant`, which has passed, in whole milliseconds since 1970; 0 if it is set to before.
///
/// Never later than the truth: a gateway that trusts its own wall clock counts the call's age from here.
pub(crate) fn unix_ms_at(instant: BootInstant) -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let passed = BootInstant::now().saturating_since(instant).as_micros();
    let seconds = u128::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u128::try_from(time.tv_nsec).unwrap_or_default();
    let micros = (seconds * 1_000_000 + nanoseconds / 1_000).saturating_sub(passed);
    u64::try_from(micros / 1_000).unwrap_or_default()
}

/// Waits until `instant` has come; for ever where there is none.
pub(crate) async fn sleep_until(instant: Option<BootInstant>) {
    let Some(instant) = instant else { return std::future::pending().await };
    loop {
        let left = instant.saturating_since(BootInstant::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_NAP)).await;
    }
}

/// The result of `work`, or nothing if `deadline` comes first.
pub(crate) async fn until<T>(deadline: BootInstant, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = work => Some(result),
        () = sleep_until(Some(deadline)) => None,
    }
}

/// The least and the most time that the machine can have been suspended until now.
///
/// `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC` are slewed alike, so only suspends change their difference. Whatever happens
/// between the looks, the difference lies within these bounds.
fn bracket() -> (i64, i64) {
    let before = read(ClockId::Boottime);
    let monotonic = read(ClockId::Monotonic);
    let after = read(ClockId::Boottime);
    (before.saturating_sub(monotonic), after.saturating_sub(monotonic))
}

/// The time spent suspended: what is `known` until that is too little, then the upper bound. So the clock never goes
/// back, and it errs to the later side, by what passes between two looks: too late is judged too early, never the reverse.
fn suspended(known: i64, mut bracket: impl FnMut() -> (i64, i64)) -> i64 {
    let mut found = known;
    for _ in 0..MOST_LOOKS {
        let (least, most) = bracket();
        if known >= least {
            return known;
        }
        found = most;
        // A wide bracket would hide a later suspend that is shorter.
        if most.saturating_sub(least) <= CLOSE {
            break;
        }
    }
    found
}

/// A clock of the kernel, in nanoseconds.
fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests;
