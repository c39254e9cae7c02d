//! The one place in the cloud side that reads the wall clock, and that waits for the steady one.
//!
//! Deadlines are instants of the steady clock. The wall clock is read for a request's `timestamp`, for signatures, and to
//! learn how long ago a platform before us took a request; nothing here is judged by it alone.

use std::pin::Pin;
use std::time::Duration;
#[cfg(feature = "aws")]
use std::time::{SystemTime, UNIX_EPOCH};

pub use nowd_clock::BootInstant;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Sleep, sleep};

/// Timers do not count a suspended machine's time, so a long wait looks at the clock again this often.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// An alarm may ring so much later than it should, which is how exact the runtime's timers are.
const EXACT: Duration = Duration::from_millis(1);

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

/// A timer for whoever waits again and again, each time until another instant. It is rather rung for nothing than set for each: the
/// runtime is woken for a timer that is set to ring sooner than all others.
#[derive(Debug)]
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// To be called inside a runtime.
    pub(crate) fn new() -> Self {
        Self(Box::pin(sleep(Duration::ZERO)))
    }

    /// Rings when `instant` has come, or before, and [`EXACT`] later at most, as far as the runtime's timers go; never where there is none. May be dropped while it waits.
    pub(crate) async fn rings(&mut self, instant: Option<BootInstant>) {
        let Some(instant) = instant else { return std::future::pending().await };
        let (now, left) = (Instant::now(), instant.saturating_since(BootInstant::now()));
        let at = now + left.min(LONGEST_NAP);
        if self.0.deadline() <= now || self.0.deadline() > at + EXACT {
            self.0.as_mut().reset(at);
        }
        self.0.as_mut().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Further away than a nap is long.
    const LATE: Duration = Duration::from_secs(3_600);

    /// One look at an alarm that is to ring after `wait`; when it is set to ring.
    async fn set(alarm: &mut Alarm, wait: Option<Duration>) -> Instant {
        let instant = wait.map(|wait| BootInstant::now().saturating_add(wait));
        tokio::select! {
            biased;
            () = alarm.rings(instant) => {}
            () = std::future::ready(()) => {}
        }
        alarm.0.deadline()
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_is_set_once_for_many_and_anew_for_what_is_sooner() {
        let mut alarm = Alarm::new();
        let first = set(&mut alarm, Some(Duration::from_millis(100))).await;
        for wait in [Some(LATE), None, Some(LATE)] {
            assert_eq!(set(&mut alarm, wait).await, first, "{wait:?}");
        }
        let sooner = set(&mut alarm, Some(Duration::from_millis(1))).await;
        assert!(sooner < first);
        alarm.rings(Some(BootInstant::now().saturating_add(LATE))).await;
        assert!((sooner..first).contains(&Instant::now()), "it rings for the one that was sooner");
        let now = Instant::now();
        assert_eq!(
            set(&mut alarm, Some(LATE)).await,
            now + LONGEST_NAP,
            "a suspended machine's time is not counted"
        );
    }
}
