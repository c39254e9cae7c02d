//! Notices that the process stood still: frozen, suspended, or held up by something of its own.
//!
//! Callers that send a deadline are judged by it, and only want to see in the log why they were told `expired`. For
//! those that send none, messages that came in the meantime lie in buffers and look fresh. So after a gap they are held
//! for stale until a message of our own, sent after the gap, has come back: everything before it is old. Where there
//! are such callers the clock is looked at more often.

use std::time::Duration;

use nowd_link::Beat;
use nowd_plugin::BootInstant;

/// How often the clock is looked at, and the longest time between two looks that is not a gap.
struct Pace {
    heartbeat: Duration,
    longest: Duration,
}

/// Where nobody needs more than a line in the log: one wake-up a second.
const SLOW: Pace = Pace { heartbeat: Duration::from_secs(1), longest: Duration::from_millis(1_250) };

/// Where callers send no deadlines.
const FAST: Pace = Pace { heartbeat: Duration::from_millis(100), longest: Duration::from_millis(250) };

#[derive(Debug)]
pub(super) struct Stall {
    heartbeat: Beat,
    longest: Duration,
    /// Whether some callers send no deadline.
    needed: bool,
    last: BootInstant,
    on: bool,
    /// Gaps since the start, and how long they were together.
    gaps: (u64, Duration),
}

impl Stall {
    /// `needed`: some callers send no deadline.
    pub(super) fn new(needed: bool) -> Self {
        let Pace { heartbeat, longest } = if needed { FAST } else { SLOW };
        let heartbeat = Beat::new(heartbeat);
        Self { heartbeat, longest, needed, last: BootInstant::now(), on: false, gaps: (0, Duration::ZERO) }
    }

    /// Some callers send no deadline from now on, or none do. Where they begin to: nobody has looked out for them, so what is
    /// in the buffers may be from a gap, until [`Self::over`]. Says whether that is so.
    pub(super) fn change(&mut self, needed: bool) -> bool {
        if needed == self.needed {
            return false;
        }
        *self = Self { on: needed, gaps: self.gaps, ..Self::new(needed) };
        needed
    }

    /// Waits for the next heartbeat.
    pub(super) async fn beat(&mut self) {
        self.heartbeat.tick().await;
    }

    /// To be called at every beat and before every message: the length of a gap that has just ended.
    pub(super) fn check(&mut self, now: BootInstant) -> Option<Duration> {
        let gap = now.saturating_since(self.last);
        self.last = now;
        if gap <= self.longest {
            return None;
        }
        self.on = self.needed;
        let (count, sum) = self.gaps;
        self.gaps = (count.saturating_add(1), sum.saturating_add(gap));
        Some(gap)
    }

    /// How many gaps there were since the start, and how long they were together.
    pub(super) const fn gaps(&self) -> (u64, Duration) {
        self.gaps
    }

    /// Whether messages may be older than they look, for callers that send no deadline.
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
        assert!(
            stall.change(false) || stall.gaps() == (1, Duration::from_millis(251)),
            "they are not forgotten"
        );
    }

    #[tokio::test]
    async fn nobody_needs_more_than_its_length() {
        let mut stall = Stall::new(false);
        let start = stall.last;
        let after = |ms| start.saturating_add(Duration::from_millis(ms));
        assert_eq!(stall.check(after(1_250)), None);
        assert_eq!(stall.check(after(3_000)), Some(Duration::from_millis(1_750)));
        assert!(!stall.is_on());
    }

    #[tokio::test]
    async fn what_came_before_somebody_needed_it_may_be_old() {
        let mut stall = Stall::new(false);
        let gap = stall.last.saturating_add(Duration::from_secs(60));
        assert!(stall.check(gap).is_some() && !stall.is_on(), "nobody needs it");
        assert!(stall.change(true), "and what came in the gap lies in the buffers still");
        assert!(stall.is_on());
        stall.over();
        assert!(!stall.change(true) && !stall.is_on());
        assert!(!stall.change(false) && !stall.is_on());
    }
}
