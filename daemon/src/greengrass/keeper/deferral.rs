//! How long a deployment is asked to wait for calls. Pure: it reads no clock.

use std::time::Duration;

use nowd_plugin::BootInstant;

/// After so long the nucleus asks again.
pub(super) const RECHECK: Duration = Duration::from_secs(1);
/// A deployment waits no longer than this in all.
const MOST: Duration = Duration::from_secs(60);

/// Since when a deployment waits, if one does.
#[derive(Debug, Default)]
pub(super) struct Deferral(Option<BootInstant>);

impl Deferral {
    /// How long it is to wait before it asks again; zero lets it go on.
    pub(super) fn decide(&mut self, now: BootInstant, calls: usize) -> Duration {
        let since = *self.0.get_or_insert(now);
        if calls > 0 && now.saturating_since(since) < MOST {
            return RECHECK;
        }
        Duration::ZERO
    }

    /// It is over: the next one may wait as long again.
    pub(super) const fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_waits_for_calls_and_not_for_ever() {
        let at = |seconds: u64| BootInstant::from_micros(seconds * 1_000_000);
        let mut deferral = Deferral::default();
        for (second, calls, expected) in [
            (1, 0, Duration::ZERO),
            (2, 1, RECHECK),
            (60, 3, RECHECK),
            (61, 1, Duration::ZERO),
            (3_600, 1, Duration::ZERO),
        ] {
            assert_eq!(deferral.decide(at(second), calls), expected, "{second} {calls}");
        }
        deferral.over();
        assert_eq!(deferral.decide(at(7_200), 1), RECHECK);
        deferral.over();
        assert_eq!(deferral.decide(at(8_000), 0), Duration::ZERO);
    }
}
