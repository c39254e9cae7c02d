//! The one place in a plugin host that reads the machine's steady clock.
//!
//! `CLOCK_BOOTTIME` counts while the machine is suspended and is never stepped, so a deadline in it cannot be missed
//! by a stalled process or moved by somebody who sets the time.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// An instant of `CLOCK_BOOTTIME`, in microseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(u64);

impl BootInstant {
    /// Reads the clock.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        // The kernel counts from boot: neither part is ever negative.
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
        Self(seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1_000))
    }

    /// The instant this many microseconds after boot.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since boot.
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

impl fmt::Display for BootInstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} us since boot", self.0)
    }
}
