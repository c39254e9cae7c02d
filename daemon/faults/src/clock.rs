//! The clocks of the suite: instants of `CLOCK_BOOTTIME`, which all processes of a machine share, and the wall clock that
//! the daemon under test is given. The machine's own clock is never set.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nowd::WallReading;
use rustix::time::{ClockId, clock_gettime};

/// Microseconds of `CLOCK_BOOTTIME`.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    // The kernel counts from boot: neither part is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1_000)
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The caller's wall clock, in microseconds since 1970: right by definition.
#[expect(clippy::disallowed_methods, reason = "the one place of the suite that reads the wall clock")]
pub(crate) fn wall() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The daemon's wall clock: a small file that says how it differs from the right one.
#[derive(Debug, Clone)]
pub(crate) struct WallFile(pub(crate) PathBuf);

/// Of so many readings one is slow, where the file says so.
const SLOW_ONE_OF: u64 = 5;

impl WallFile {
    /// Sets the clock: wrong by `wrong_ms`, claiming an error of `max_error`. Takes effect with the next reading.
    pub(crate) fn set(&self, wrong_ms: i64, max_error: Duration) -> anyhow::Result<()> {
        self.set_slow(wrong_ms, max_error, 0)
    }

    /// The same, and now and then the process stands still for `slow_ms` just after it has read the clock.
    pub(crate) fn set_slow(&self, wrong_ms: i64, max_error: Duration, slow_ms: u64) -> anyhow::Result<()> {
        // Renamed into place, so that it is never read half-written.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{wrong_ms} {} {slow_ms}", micros(max_error)))
            .and_then(|()| std::fs::rename(&new, &self.0))
            .with_context(|| format!("cannot write {}", self.0.display()))
    }

    /// What the clock shows. `reading` counts the readings.
    pub(crate) fn read(&self, reading: u64) -> WallReading {
        let (wrong_ms, max_error, slow_ms) = parse(&self.0).unwrap_or_default();
        let now_ms = (wall() / 1_000).saturating_add_signed(wrong_ms);
        if slow_ms > 0 && reading.is_multiple_of(SLOW_ONE_OF) {
            std::thread::sleep(Duration::from_millis(slow_ms));
        }
        WallReading { now_ms, max_error: Some(Duration::from_micros(max_error)) }
    }
}

fn parse(file: &Path) -> Option<(i64, u64, u64)> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
