//! The one place in the cloud side that reads the wall clock, and that waits for the steady one.
//!
//! Deadlines are instants of the steady clock. The wall clock is read for a request's `timestamp`, for signatures, and to
//! learn how long ago a platform before us took a request; nothing here is judged by it alone.

use std::time::Duration;
#[cfg(feature = "aws")]
use std::time::{SystemTime, UNIX_EPOCH};

pub use nowd_clock::BootInstant;
use rustix::time::{ClockId, clock_gettime};

/// Timers do not count a suspended machine's time, so a long wait looks at the clock again this often.
const LONGEST_NAP: Duration = Duration::from_secs(1);

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

/// What the wall clock shows now, for signatures.
#[cfg(feature = "aws")]
pub(crate) fn wall_clock() -> SystemTime {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
    UNIX_EPOCH + seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
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
