//! The wall clock, and whether it can be trusted. (The steady clock is `nowd_plugin::clock`.)

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nowd_core::Wall;
use nowd_plugin::BootInstant;

use crate::config::ClockTrust;

/// Why `auto` does not trust a clock.
const NOT_KNOWN: &str = if cfg!(target_pointer_width = "64") {
    "the kernel says that nobody synchronises it"
} else {
    "on a 32-bit machine the kernel cannot be asked; say `clock = \"trusted\"` if something synchronises it"
};

/// The largest error that a clock may admit to and still be trusted, under `clock = "auto"`.
const LARGEST_ERROR: Duration = Duration::from_millis(100);

/// What the kernel says of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallReading {
    /// Milliseconds since the epoch, rounded up.
    pub now_ms: u64,
    /// The largest error, if the clock is disciplined.
    pub max_error: Option<Duration>,
}

/// Whether the wall clock is trusted, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) trusted: bool,
    /// Whether it would be, if it were right.
    pub(crate) wanted: bool,
    pub(crate) why: String,
    /// What the kernel says; `None` if nobody disciplines it.
    pub(crate) max_error: Option<Duration>,
}

/// A wall clock and how far it is to be trusted.
#[derive(Clone)]
pub struct WallClock {
    trust: ClockTrust,
    read: Arc<dyn Fn() -> WallReading + Send + Sync>,
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WallClock").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl WallClock {
    /// This machine's clock.
    #[must_use]
    pub fn of_this_machine(trust: ClockTrust) -> Self {
        Self::new(trust, read_machine)
    }

    /// A clock that says what `read` says, for tests: a machine's own clock is never set.
    pub fn new(trust: ClockTrust, read: impl Fn() -> WallReading + Send + Sync + 'static) -> Self {
        Self { trust, read: Arc::new(read) }
    }

    /// The time, if it can be trusted for judging commands.
    #[must_use]
    pub fn trusted(&self) -> Option<Wall> {
        let WallReading { now_ms, max_error } = (self.read)();
        let error = self.judge(max_error)?;
        let error_ms = u64::try_from(error.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        Some(Wall { now_ms, error_ms })
    }

    /// The error to reckon with, where the clock is trusted.
    fn judge(&self, max_error: Option<Duration>) -> Option<Duration> {
        match (self.trust, max_error) {
            (ClockTrust::Auto, Some(error)) if error <= LARGEST_ERROR => Some(error),
            (ClockTrust::Trusted, error) => Some(error.unwrap_or(LARGEST_ERROR).min(LARGEST_ERROR)),
            (ClockTrust::Auto | ClockTrust::Untrusted, _) => None,
        }
    }

    /// Milliseconds since the epoch, whether they can be trusted or not: never to judge by.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.read)().now_ms
    }

    /// Milliseconds since the epoch, and whether they can be trusted; one look.
    pub(crate) fn stamp(&self) -> (u64, bool) {
        let WallReading { now_ms, max_error } = (self.read)();
        (now_ms, self.judge(max_error).is_some())
    }

    /// Whether the time can be trusted for judging commands, and why, in words.
    pub(crate) fn trust(&self) -> Trust {
        let max_error = (self.read)().max_error;
        let ms = |error: Duration| format!("{:.1} ms", error.as_secs_f64() * 1_000.0);
        let why = match (self.trust, max_error) {
            (ClockTrust::Auto, None) => NOT_KNOWN.to_owned(),
            (ClockTrust::Auto, Some(error)) => {
                format!("the kernel says that it is right to {}", ms(error))
            }
            (ClockTrust::Trusted | ClockTrust::Untrusted, _) => "`clock` in nowd.toml says so".to_owned(),
        };
        Trust {
            trusted: self.judge(max_error).is_some(),
            wanted: self.trust == ClockTrust::Auto,
            why,
            max_error,
        }
    }

    /// Whether the clock is set at all, so that the dates of certificates can be judged by it.
    #[must_use]
    pub fn is_set(&self) -> bool {
        match self.trust {
            ClockTrust::Auto => (self.read)().max_error.is_some(),
            ClockTrust::Trusted => true,
            ClockTrust::Untrusted => false,
        }
    }
}

/// What this machine's wall clock shows, in milliseconds since the epoch: for people, never to judge by.
pub(crate) fn wall_ms() -> u64 {
    machine_ms()
}

/// What the wall clock showed at this instant, by what it shows now: for people, never to judge by.
pub(crate) fn wall_at(instant: BootInstant) -> SystemTime {
    let ago = u64::try_from(BootInstant::now().saturating_since(instant).as_millis()).unwrap_or(u64::MAX);
    UNIX_EPOCH + Duration::from_millis(wall_ms().saturating_sub(ago))
}

fn read_machine() -> WallReading {
    WallReading { now_ms: machine_ms(), max_error: max_error() }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn machine_ms() -> u64 {
    whole_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(target_pointer_width = "64")]
fn max_error() -> Option<Duration> {
    use rtime_clock::adjtime::{Timex, adjtimex};
    /// `STA_UNSYNC` of `adjtimex(2)`: nobody disciplines the clock.
    const STA_UNSYNC: i32 = 0x40;
    let mut timex = Timex::new();
    let disciplined = adjtimex(&mut timex).is_ok() && timex.0.status & STA_UNSYNC == 0;
    disciplined.then(|| u64::try_from(timex.0.maxerror).ok().map(Duration::from_micros)).flatten()
}

/// Nothing wraps `adjtimex(2)` there yet (decision 32).
#[cfg(not(target_pointer_width = "64"))]
const fn max_error() -> Option<Duration> {
    None
}

/// Rounded up: a clock that is read as too early makes deadlines late.
fn whole_ms(since_epoch: Duration) -> u64 {
    u64::try_from(since_epoch.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_late_by_a_part_of_a_millisecond() {
        for (nanos, ms) in [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(whole_ms(Duration::from_nanos(nanos)), ms, "{nanos} ns");
        }
    }

    #[test]
    fn trust() {
        let ms = Duration::from_millis;
        for (trust, max_error, error_ms, is_set) in [
            (ClockTrust::Auto, None, None, false),
            (ClockTrust::Auto, Some(ms(100)), Some(100), true),
            (ClockTrust::Auto, Some(Duration::from_micros(1)), Some(1), true),
            (ClockTrust::Auto, Some(ms(101)), None, true),
            (ClockTrust::Trusted, None, Some(100), true),
            (ClockTrust::Trusted, Some(ms(16_000)), Some(100), true),
            (ClockTrust::Trusted, Some(ms(3)), Some(3), true),
            (ClockTrust::Untrusted, Some(ms(3)), None, false),
        ] {
            let clock = WallClock::new(trust, move || WallReading { now_ms: 7, max_error });
            assert_eq!(clock.trusted().map(|wall| wall.error_ms), error_ms, "{trust:?} {max_error:?}");
            assert_eq!(clock.is_set(), is_set, "{trust:?} {max_error:?}");
        }
    }

    #[test]
    fn this_machine_has_a_clock() {
        assert!(
            WallClock::of_this_machine(ClockTrust::Trusted).trusted().unwrap().now_ms > 1_700_000_000_000
        );
    }
}
