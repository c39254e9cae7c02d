//! The machine's steady clock, in which deadlines are judged: the one place that reads it, for the daemon, its plugins and
//! the cloud side. Waits for nothing, and knows no wall clock.
//!
//! It counts while the machine is suspended and is neither stepped nor slewed, so a deadline in it cannot be missed by a
//! stalled process, nor moved by somebody who sets the time or a time daemon that works off an offset. The kernel has no
//! such clock; it is put together here, and other processes cannot read it: they are
//! told [`boottime_micros`].

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

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

/// What `CLOCK_MONOTONIC` shows, in microseconds: for the service manager, which compares it with its own. Nothing here is
/// judged by it.
#[must_use]
pub fn monotonic_micros() -> u64 {
    u64::try_from(read(ClockId::Monotonic) / 1_000).unwrap_or_default()
}

/// What `CLOCK_BOOTTIME` will show at `instant`, in microseconds: for services and devices, which can read only the clocks
/// of the kernel.
///
/// Good for a short time: a time daemon that slews the kernel's clocks by a part of the time that is left moves it by
/// as much.
#[must_use]
pub fn boottime_micros(instant: BootInstant) -> u64 {
    // In this order: a pause between the two makes it earlier.
    let boottime = u64::try_from(read(ClockId::Boottime) / 1_000).unwrap_or_default();
    let now = BootInstant::now();
    let left = instant.as_micros().saturating_sub(now.as_micros());
    let late = now.as_micros().saturating_sub(instant.as_micros());
    boottime.saturating_add(left).saturating_sub(late)
}

/// The way back, for a service that is told when a call is too late: the instant at which `CLOCK_BOOTTIME` will show
/// `micros`.
#[must_use]
pub fn from_boottime_micros(micros: u64) -> BootInstant {
    // In this order: a pause between the two makes it earlier.
    let now = BootInstant::now();
    let boottime = u64::try_from(read(ClockId::Boottime) / 1_000).unwrap_or_default();
    let left = micros.saturating_sub(boottime);
    let late = boottime.saturating_sub(micros);
    BootInstant::from_micros(now.as_micros().saturating_add(left).saturating_sub(late))
}

impl fmt::Display for BootInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} us of the steady clock", self.0)
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
