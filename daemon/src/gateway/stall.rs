//! Notices that the process stood still, for the sake of callers that send no deadline.
//!
//! Messages that came in the meantime lie in buffers and look fresh. So after a gap they are held for stale until a
//! message of our own, sent after the gap, has come back: everything before it is old. Callers that do send a deadline
//! are judged by it, and need none of this: then there is no heartbeat and nothing to wake up for.

use std::time::Duration;

use nowd_plugin::BootInstant;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The longest time between two looks at the clock that is not a gap.
const LONGEST_GAP: Duration = Duration::from_millis(250);

const HEARTBEAT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Stall {
    heartbeat: Option<Interval>,
    last: BootInstant,
    on: bool,
}

impl Stall {
    /// Watches only if somebody needs it.
    pub(super) fn new(needed: bool) -> Self {
        let heartbeat = needed.then(|| {
            let mut heartbeat = interval(HEARTBEAT);
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            heartbeat
        });
        Self { heartbeat, last: BootInstant::now(), on: false }
    }

    /// Waits for the next heartbeat; for ever if nobody needs one.
    pub(super) async fn beat(&mut self) {
        match &mut self.heartbeat {
            Some(heartbeat) => {
                heartbeat.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// To be called at every beat and before every message: the length of a gap that has just ended.
    pub(super) fn check(&mut self, now: BootInstant) -> Option<Duration> {
        self.heartbeat.as_ref()?;
        let gap = now.saturating_since(self.last);
        self.last = now;
        if gap <= LONGEST_GAP {
            return None;
        }
        self.on = true;
        Some(gap)
    }

    /// Whether messages may be older than they look.
    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// Everything from the time of the gap has come in.
    pub(super) const fn over(&mut self) {
        self.on = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gap_lasts_until_it_is_over() {
        let mut stall = Stall::new(true);
        let start = stall.last;
        let after = |ms| start.saturating_add(Duration::from_millis(ms));
        assert_eq!(stall.check(after(250)), None);
        assert!(!stall.is_on());
        assert_eq!(stall.check(after(501)), Some(Duration::from_millis(251)));
        assert_eq!(stall.check(after(502)), None);
        assert!(stall.is_on());
        stall.over();
        assert!(!stall.is_on());
    }

    #[tokio::test]
    async fn nobody_needs_it() {
        let mut stall = Stall::new(false);
        assert_eq!(stall.check(stall.last.saturating_add(Duration::from_secs(9))), None);
        assert!(!stall.is_on());
    }
}
