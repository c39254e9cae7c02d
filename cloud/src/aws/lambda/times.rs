//! How long there is: from the wall clocks of API Gateway and Lambda to instants of the steady clock.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::http::Arrived;

/// API Gateway answers its caller by itself after this time: 29 s for a REST API, 30 s for an HTTP API.
pub(super) const GATEWAY_LIMIT: Duration = Duration::from_secs(29);
/// What carrying an answer from the function to the caller may take.
pub(super) const MARGIN: Duration = Duration::from_millis(100);

/// What is earlier than this, in March 1973, is no time in milliseconds: emulators write seconds, 0, or how long there is.
const FIRST_TIME: u64 = 100_000_000_000;

/// The two instants that the router wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) arrived: Arrived,
    pub(super) answer_by: BootInstant,
}

/// When the request arrived at API Gateway, and when nobody waits for its answer any more: what is left of API Gateway's
/// limit or of the function's own time, `until`, less a margin. All are in milliseconds since 1970; `wall` is what the wall
/// clock shows now.
///
/// Nothing arrives in the future.
pub(super) fn times(now: BootInstant, wall: u64, at: Option<u64>, until: u64) -> Times {
    let known = |time: &u64| *time >= FIRST_TIME;
    let age = Duration::from_millis(at.filter(known).map_or(0, |at| wall.saturating_sub(at)));
    let own = Some(until).filter(known).map(|until| Duration::from_millis(until.saturating_sub(wall)));
    let own = own.unwrap_or(GATEWAY_LIMIT);
    let left = GATEWAY_LIMIT.saturating_sub(age).min(own).saturating_sub(MARGIN);
    let up = Duration::from_micros(now.as_micros());
    let at = u64::try_from(up.saturating_sub(age).as_micros()).unwrap_or(u64::MAX);
    let arrived = Arrived { at: BootInstant::from_micros(at), before: age.saturating_sub(up) };
    Times { arrived, answer_by: now.saturating_add(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        const WALL: u64 = 1_800_000_000_000;
        let now = BootInstant::from_micros(3_600_000_000);
        // Milliseconds: the request's age, and what the function has; then age and rest as found.
        let table: &[(Option<i64>, Option<i64>, u64, u64)] = &[
            (None, None, 0, 28_900),
            (Some(0), Some(35_000), 0, 28_900),
            (Some(2_500), Some(35_000), 2_500, 26_400),
            (Some(2_500), Some(3_000), 2_500, 2_900),
            (Some(28_950), Some(35_000), 28_950, 0),
            (Some(3_000_000), Some(35_000), 3_000_000, 0),
            (Some(-9_000), Some(35_000), 0, 28_900),
            (Some(0), Some(-50), 0, 0),
            // Before this machine was started.
            (Some(4_000_000), Some(35_000), 3_600_000, 0),
        ];
        for (at, until) in [(Some(0), 0), (Some(WALL / 1_000), 600_000), (None, 35)] {
            let times = times(now, WALL, at, until);
            assert_eq!((times.arrived.at, times.arrived.before), (now, Duration::ZERO));
            assert_eq!(times.answer_by.saturating_since(now).as_millis(), 28_900);
        }
        for &(age, own, found_age, left) in table {
            let at = age.map(|age| WALL.checked_add_signed(-age).unwrap());
            let until = own.map_or(0, |own| WALL.checked_add_signed(own).unwrap());
            let times = times(now, WALL, at, until);
            assert_eq!(
                now.saturating_since(times.arrived.at).as_millis(),
                found_age.into(),
                "{age:?} {own:?}"
            );
            let before = age.unwrap_or_default().saturating_sub_unsigned(found_age).max(0);
            assert_eq!(times.arrived.before.as_millis(), before.unsigned_abs().into(), "{age:?} {own:?}");
            assert_eq!(times.answer_by.saturating_since(now).as_millis(), left.into(), "{age:?} {own:?}");
        }
    }
}
