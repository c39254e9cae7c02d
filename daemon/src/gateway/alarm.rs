//! The timer that wakes the gateway's loop for the core. One for all calls, and rather rung for nothing than set for each: the runtime
//! is woken for a timer that is set to ring sooner than all others.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// It may ring so much later than it should, which is how exact the runtime's timers are.
const EXACT: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Alarm {
    /// Set to no later than the last instant that was asked for.
    timer: Pin<Box<Sleep>>,
    /// How often it was set.
    #[cfg(test)]
    set: u32,
}

impl Alarm {
    /// To be called inside a runtime.
    pub(super) fn new() -> Self {
        Self {
            timer: Box::pin(sleep(Duration::ZERO)),
            #[cfg(test)]
            set: 0,
        }
    }

    /// Rings after `left` at the latest. One that rings before stays as it is.
    pub(super) fn ring_in(&mut self, left: Duration) {
        let now = Instant::now();
        // What is too far away for the runtime is far enough.
        let at = now.checked_add(left).unwrap_or_else(|| now + Duration::from_secs(86_400));
        let rang = self.timer.deadline() <= now;
        if (rang && !left.is_zero()) || self.timer.deadline() > at + EXACT {
            self.timer.as_mut().reset(at);
            #[cfg(test)]
            {
                self.set += 1;
            }
        }
    }

    /// Waits until it rings. May be dropped while waiting.
    pub(super) async fn rings(&mut self) {
        self.timer.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn it_is_set_once_for_many_calls() {
        let mut alarm = Alarm::new();
        let begun = Instant::now();
        for _ in 0..100 {
            alarm.ring_in(SOON * 100 + begun.elapsed());
        }
        assert_eq!(alarm.set, 1);
        alarm.ring_in(SOON);
        assert_eq!(alarm.set, 2, "one that is sooner");
        alarm.rings().await;
        let first = begun.elapsed();
        assert!(first >= SOON && first < SOON * 100, "{first:?}");
    }

    #[tokio::test]
    async fn one_that_rang_unheard_does_not_ring_for_the_next() {
        let mut alarm = Alarm::new();
        alarm.ring_in(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(2));
        let begun = Instant::now();
        alarm.ring_in(SOON);
        alarm.rings().await;
        assert!(begun.elapsed() >= SOON);
        alarm.ring_in(Duration::ZERO);
        alarm.rings().await;
        alarm.ring_in(Duration::MAX);
        alarm.ring_in(Duration::ZERO);
        alarm.rings().await;
    }
}
