//! One failure of the link that goes on is one thing to tell: once, and once an hour with how often, not each half minute.

use std::time::Duration;

use nowd_plugin::BootInstant;
use tracing::{debug, error, warn};

use super::LineError;

/// How often a failure that goes on is told again.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// The failure that goes on.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of which kind it is, and when it was last told.
    last: Option<(&'static str, BootInstant)>,
    attempts: u64,
}

impl Told {
    /// A connection has ended, or none came about; the next attempt comes in `again`.
    pub(super) fn down(&mut self, e: &LineError, reason: &str, again: Duration) {
        let again_ms = u64::try_from(again.as_millis()).unwrap_or(u64::MAX);
        match self.failed(e.kind(), BootInstant::now()) {
            (true, attempts) if e.needs_mending() => {
                error!(see = "link-needs-mending", attempts, again_ms, "the link is down: {reason}");
            }
            (true, attempts) => warn!(see = "link-down", attempts, again_ms, "the link is down: {reason}"),
            (false, attempts) => debug!(attempts, again_ms, "the link is down: {reason}"),
        }
    }

    /// `who` refused a subscription.
    pub(super) fn refused(&mut self, who: &str, filter: &str, reason: &str, remedy: &str) {
        let (true, attempts) = self.failed("subscription_refused", BootInstant::now()) else { return };
        error!(
            see = "subscription-refused",
            attempts, "{who} refused the subscription to {filter}: {reason}; {remedy}"
        );
    }

    /// Another failure. Says whether it is to be told, and how many there were since the link was up.
    fn failed(&mut self, kind: &'static str, now: BootInstant) -> (bool, u64) {
        self.attempts = self.attempts.saturating_add(1);
        let tell = self.last.is_none_or(|(last, at)| last != kind || now.saturating_since(at) >= AGAIN);
        if tell {
            self.last = Some((kind, now));
        }
        (tell, self.attempts)
    }

    /// The link is up. Says how many failures there were since it was up before.
    pub(super) fn over(&mut self) -> u64 {
        std::mem::take(self).attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_once_an_hour() {
        let at = |seconds: u64| BootInstant::from_micros(seconds * 1_000_000);
        let mut told = Told::default();
        for (kind, seconds, expected) in [
            ("lost", 0, (true, 1)),
            ("unreachable", 1, (true, 2)),
            ("unreachable", 31, (false, 3)),
            ("unreachable", 3_600, (false, 4)),
            ("unreachable", 3_601, (true, 5)),
            ("unreachable", 3_602, (false, 6)),
            ("name", 3_603, (true, 7)),
        ] {
            assert_eq!(told.failed(kind, at(seconds)), expected, "{kind} at {seconds} s");
        }
        assert_eq!(told.over(), 7);
        assert_eq!(told.failed("name", at(3_604)), (true, 1));
    }
}
