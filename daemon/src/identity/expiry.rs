//! How long a certificate still holds, and when that is worth a line in the log. Decides nothing else: a certificate that has
//! ended is tried all the same, because the broker is the one who judges it.

use std::time::Duration;

use nowd_link::CertificateFacts;
use nowd_plugin::BootInstant;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

/// From how many days before its end on a certificate is warned of.
const WARNED_OF: i64 = 30;
/// ... and that is an error.
const URGENT: i64 = 7;
/// Said no more often than this, unless it got worse.
const AGAIN: Duration = Duration::from_hours(24);

const DAY: i64 = 86_400;

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// More than 30 days are left.
    Good,
    /// 30 days at most.
    Warned,
    /// 7 days at most.
    Urgent,
    /// Its time has not come.
    NotYet,
    /// Its time is over.
    Ended,
}

impl Standing {
    pub(crate) const fn of(facts: &CertificateFacts, now_s: i64) -> Self {
        let left = days_left(facts, now_s);
        if now_s > facts.not_after {
            Self::Ended
        } else if now_s < facts.not_before {
            Self::NotYet
        } else if left < URGENT {
            Self::Urgent
        } else if left < WARNED_OF {
            Self::Warned
        } else {
            Self::Good
        }
    }
}

/// Whole days until the end; negative after it.
pub(crate) const fn days_left(facts: &CertificateFacts, now_s: i64) -> i64 {
    facts.not_after.saturating_sub(now_s).div_euclid(DAY)
}

/// RFC 3339, for people.
pub(crate) fn date(seconds: i64) -> String {
    // The last second of the year 9999 is the last that this can write, and that certificates can name.
    let seconds = u64::try_from(seconds.clamp(0, 253_402_300_799)).unwrap_or_default();
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// Says it in good time, and not too often.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    told: Option<(Standing, BootInstant)>,
}

impl Warnings {
    /// A look at the certificate in use: `now_s` is the wall clock, in seconds since the epoch, where it is set.
    pub(super) fn look(&mut self, facts: Option<&CertificateFacts>, now_s: Option<i64>, now: BootInstant) {
        let (Some(facts), Some(now_s)) = (facts, now_s) else { return };
        let standing = Standing::of(facts, now_s);
        let is_news = match self.told {
            None => standing > Standing::Good,
            Some((told, at)) => {
                standing != told || (standing > Standing::Good && now.saturating_since(at) >= AGAIN)
            }
        };
        if !is_news {
            return;
        }
        let (days_left, not_after) = (days_left(facts, now_s), date(facts.not_after));
        match standing {
            Standing::Good => {
                info!(days_left, not_after, "this gateway's certificate holds long enough again");
            }
            Standing::Warned => warn!(
                see = "certificate-ends-soon",
                days_left,
                not_after,
                "this gateway's certificate ends in {days_left} days; renew it, or see why that has not happened"
            ),
            Standing::Urgent => error!(
                see = "certificate-urgent",
                days_left,
                not_after,
                "this gateway's certificate ends in {days_left} days, and the broker will not let it connect any more; renew it"
            ),
            Standing::NotYet => error!(
                see = "certificate-not-yet",
                not_before = date(facts.not_before),
                "this gateway's certificate is not valid yet; set this machine's clock, or look at who made it"
            ),
            Standing::Ended => {
                error!(
                    see = "certificate-ended",
                    days_left, not_after, "this gateway's certificate has ended; renew it"
                );
            }
        }
        self.told = Some((standing, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standings() {
        let facts = CertificateFacts { subject: None, not_before: 100 * DAY, not_after: 200 * DAY };
        for (now_s, left, expected) in [
            (100 * DAY - 1, 100, Standing::NotYet),
            (100 * DAY, 100, Standing::Good),
            (170 * DAY, 30, Standing::Good),
            (170 * DAY + 1, 29, Standing::Warned),
            (193 * DAY, 7, Standing::Warned),
            (193 * DAY + 1, 6, Standing::Urgent),
            (200 * DAY, 0, Standing::Urgent),
            (200 * DAY + 1, -1, Standing::Ended),
        ] {
            assert_eq!((days_left(&facts, now_s), Standing::of(&facts, now_s)), (left, expected), "{now_s}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(2_524_607_999), "2049-12-31T23:59:59Z");
        assert_eq!(date(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(date(-1), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn it_is_said_once_a_day_and_when_it_gets_worse() {
        let facts = CertificateFacts { subject: None, not_before: 0, not_after: 40 * DAY };
        let hours = |hours: u64| BootInstant::from_micros(hours * 3_600_000_000);
        let mut warnings = Warnings::default();
        let mut told = |now_s: Option<i64>, now| {
            let before = warnings.told;
            warnings.look(Some(&facts), now_s, now);
            warnings.told != before
        };
        assert!(!told(None, hours(0)), "the clock is not set");
        assert!(!told(Some(DAY), hours(0)), "39 days are good");
        assert!(told(Some(20 * DAY), hours(1)), "20 days are warned of");
        assert!(!told(Some(20 * DAY), hours(24)));
        assert!(told(Some(21 * DAY), hours(25)), "once a day");
        assert!(told(Some(34 * DAY), hours(26)), "6 days are urgent");
        assert!(told(Some(41 * DAY), hours(27)), "it has ended");
        assert!(told(Some(DAY), hours(28)), "all is well again");
        assert!(!told(Some(DAY), hours(280)));
    }
}
