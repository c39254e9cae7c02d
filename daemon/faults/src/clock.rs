//! The clocks of the suite: instants of `CLOCK_BOOTTIME`, which all processes of a machine share, and the wall clock that
//! the daemon under test is given. The machine's own clock is never set.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nowd::WallReading;
use nowd_plugin::BootInstant;

/// Microseconds of `CLOCK_BOOTTIME`.
pub(crate) fn now() -> u64 {
    BootInstant::now().as_micros()
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

impl WallFile {
    /// Sets the clock: wrong by `wrong_ms`, claiming an error of `max_error`. Takes effect with the next reading.
    pub(crate) fn set(&self, wrong_ms: i64, max_error: Duration) -> anyhow::Result<()> {
        // Renamed into place, so that it is never read half-written.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{wrong_ms} {}", micros(max_error)))
            .and_then(|()| std::fs::rename(&new, &self.0))
            .with_context(|| format!("cannot write {}", self.0.display()))
    }

    /// What the clock shows.
    pub(crate) fn read(&self) -> WallReading {
        let (wrong_ms, max_error) = parse(&self.0).unwrap_or_default();
        WallReading {
            now_ms: (wall() / 1_000).saturating_add_signed(wrong_ms),
            max_error: Some(Duration::from_micros(max_error)),
        }
    }
}

fn parse(file: &Path) -> Option<(i64, u64)> {
    let text = std::fs::read_to_string(file).ok()?;
    let (wrong, error) = text.split_once(' ')?;
    Some((wrong.parse().ok()?, error.parse().ok()?))
}
