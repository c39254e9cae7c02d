//! How long a deployment is asked to wait for calls. Pure: it reads no clock.

use std::time::Duration;

use nowd_plugin::BootInstant;

/// After so long the nucleus asks again.
pub(super) const RECHECK: Duration = Duration::from_secs(1);
/// A deployment waits no longer than this in all.
const MOST: Duration = Duration::from_secs(60);
/// Not asked for so long, and it is another deployment: of one that fails before its update nobody says that it is over. Another
/// component may make the same one wait in between.
const ANOTHER: Duration = Duration::from_secs(600);

/// Since when a deployment waits, if one does, and when it has asked last.
#[derive(Debug, Default)]
pub(super) struct Deferral(Option<(BootInstant, BootInstant)>);

impl Deferral {
    /// How long it is to wait before it asks again; zero lets it go on.
    pub(super) fn decide(&mut self, now: BootInstant, calls: usize) -> Duration {
        if calls == 0 {
            self.over();
            return Duration::ZERO;
        }
        let same = self.0.filter(|(_, last)| now.saturating_since(*last) < ANOTHER);
        let since = same.map_or(now, |(since, _)| since);
        self.0 = Some((since, now));
        if now.saturating_since(since) < MOST { RECHECK } else { Duration::ZERO }
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
            (61, 3, RECHECK),
            (62, 1, Duration::ZERO),
            // Another component makes it wait.
            (600, 1, Duration::ZERO),
            (1_199, 1, Duration::ZERO),
            // That one has failed somewhere; this is the next.
            (3_600, 1, RECHECK),
            (3_660, 1, Duration::ZERO),
            (3_661, 0, Duration::ZERO),
            (3_662, 1, RECHECK),
        ] {
            assert_eq!(deferral.decide(at(second), calls), expected, "{second} {calls}");
        }
        deferral.over();
        assert_eq!(deferral.decide(at(7_200), 1), RECHECK);
        deferral.over();
        assert_eq!(deferral.decide(at(8_000), 0), Duration::ZERO);
    }
}
