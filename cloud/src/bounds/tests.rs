use proptest::prelude::*;

use super::*;

fn level(name: &str) -> Level {
    Level::new(name).unwrap()
}

fn stamp(incarnation: u128, now: u64) -> GatewayStamp {
    GatewayStamp { incarnation: Uuid::from_u128(incarnation), now, since: Some(0), version: String::new() }
}

fn at(micros: u64) -> BootInstant {
    BootInstant::from_micros(micros)
}

/// What is asked for at `now`, with a deadline one second later.
fn asked(bounds: &ClockBounds, now: u64) -> Option<(u128, u64)> {
    bounds.not_after(&level("g"), at(now + 1_000_000), at(now)).map(|n| (n.incarnation.as_u128(), n.at))
}

#[test]
fn the_largest_bound_of_the_running_incarnation_is_kept() {
    let mut bounds = ClockBounds::new(4);
    assert_eq!(asked(&bounds, 0), None);
    bounds.heard(&level("g"), &stamp(1, 5_000_000), at(0), None);
    assert_eq!(asked(&bounds, 0), Some((1, 5_999_800)));
    // A slow reply says less than what is known already.
    bounds.heard(&level("g"), &stamp(1, 5_000_500), at(1_000), None);
    assert_eq!(asked(&bounds, 0), Some((1, 5_999_800)));
    // A quick one says more.
    bounds.heard(&level("g"), &stamp(1, 5_001_500), at(1_000), None);
    assert_eq!(asked(&bounds, 1_000), Some((1, 6_001_300)));
    // Another start of the process begins anew, however small its clock is.
    bounds.heard(&level("g"), &stamp(2, 70), at(2_000), None);
    assert_eq!(asked(&bounds, 2_000), Some((2, 999_870)));
    bounds.runs_as(&level("g"), Uuid::from_u128(2));
    assert!(asked(&bounds, 2_000).is_some());
    bounds.runs_as(&level("g"), Uuid::from_u128(3));
    assert_eq!(asked(&bounds, 2_000), None);
}

#[test]
fn a_resync_replaces_even_what_was_larger() {
    let mut bounds = ClockBounds::new(4);
    bounds.heard(&level("g"), &stamp(1, u64::MAX), at(0), None);
    assert_eq!(asked(&bounds, 0), Some((1, u64::MAX)));
    bounds.resynced(&level("g"), &stamp(1, 100), at(0));
    assert_eq!(asked(&bounds, 0), Some((1, 999_900)));
}

#[test]
fn a_bound_that_has_grown_too_old_is_not_used() {
    let mut bounds = ClockBounds::new(4);
    bounds.heard(&level("g"), &stamp(1, 0), at(0), None);
    // 200 ppm of 500 s are a tenth of the second that is left.
    assert!(asked(&bounds, 500_000_000).is_some());
    assert_eq!(asked(&bounds, 500_010_000), None);
    assert!(
        bounds.not_after(&level("g"), at(530_000_000), at(500_010_000)).is_some(),
        "enough for a longer one"
    );
}

#[test]
fn the_map_is_bounded() {
    let mut bounds = ClockBounds::new(2);
    for name in ["a", "b", "g"] {
        bounds.heard(&level(name), &stamp(1, 0), at(0), None);
    }
    assert_eq!(bounds.targets.len(), 2);
    assert!(asked(&bounds, 0).is_some());
    assert!(bounds.not_after(&level("a"), at(9), at(0)).is_none());
}

proptest! {
    /// For any offset, any delay of any reply and any drift within the margin, `not_after` has come in the gateway's
    /// clock when the caller's deadline comes.
    #[test]
    fn never_later_than_the_truth(
        ours in 0..10_u64.pow(13),
        theirs in 0..10_u64.pow(13),
        drift in -200..=200_i128,
        replies in prop::collection::vec((0..2_000_000_000_u64, 0..5_000_000_u64), 1..8),
        idle in 0..1_000_000_u64,
        budget in 1..30_000_000_u64,
    ) {
        // The gateway's clock when ours shows `instant`, in millionths of a microsecond.
        let gateway = |instant: u64| {
            i128::from(theirs) * 1_000_000 + i128::from(instant - ours) * (1_000_000 + drift)
        };
        let mut bounds = ClockBounds::new(4);
        let mut clock = ours;
        for (pause, delay) in replies {
            let stamped = clock + pause;
            clock = stamped + delay;
            let now = u64::try_from(gateway(stamped) / 1_000_000).unwrap();
            bounds.heard(&level("g"), &stamp(1, now), at(clock), None);
        }
        let now = clock + idle;
        let deadline = now + budget;
        if let Some(not_after) = bounds.not_after(&level("g"), at(deadline), at(now)) {
            prop_assert!(i128::from(not_after.at) * 1_000_000 <= gateway(deadline));
        }
    }

    /// And it is early by no more than the reply's way and the margin.
    #[test]
    fn early_by_no_more_than_the_delay(delay in 0..5_000_000_u64, idle in 0..1_000_000_u64, budget in 10_000..30_000_000_u64) {
        let mut bounds = ClockBounds::new(4);
        bounds.heard(&level("g"), &stamp(1, 0), at(delay), None);
        let deadline = delay + idle + budget;
        if let Some(not_after) = bounds.not_after(&level("g"), at(deadline), at(delay + idle)) {
            let early = deadline - not_after.at;
            prop_assert!(early <= delay + drift(idle + budget));
        }
    }
}

#[test]
fn an_incarnation_vouches_only_for_what_was_published_after_it_began() {
    let stamp = |now, since| GatewayStamp { since, ..stamp(1, now) };
    let at = BootInstant::from_micros;
    for (what, stamp, heard, published, expected) in [
        ("long ago", stamp(10_000_000, Some(0)), 2_000_000, 1_000_000, true),
        ("after the call was published", stamp(10_000_000, Some(9_500_000)), 2_000_000, 1_000_000, false),
        ("perhaps just then", stamp(10_000_000, Some(9_000_000)), 2_000_000, 1_000_000, false),
        ("within the drift", stamp(10_000_000, Some(8_999_800)), 2_000_000, 1_000_000, false),
        ("beyond the drift", stamp(10_000_000, Some(8_999_799)), 2_000_000, 1_000_000, true),
        ("it does not say", stamp(10_000_000, None), 2_000_000, 1_000_000, true),
    ] {
        assert_eq!(was_the_one(&stamp, at(heard), at(published)), expected, "{what}");
    }
}

#[test]
fn a_bound_that_a_reply_disproves_is_given_up() {
    let at = BootInstant::from_micros;
    let second = 1_000_000;
    let mut bounds = ClockBounds::new(10);
    let not_after = |bounds: &ClockBounds, now: u64| {
        bounds.not_after(&level("g"), at(now + second), at(now)).map(|not_after| not_after.at)
    };
    bounds.heard(&level("g"), &stamp(1, 100 * second), at(0), Some(at(0)));
    // The gateway's machine was paused for ten seconds: its clock is ten seconds behind what the bound says.
    let heard = 20 * second;
    bounds.heard(&level("g"), &stamp(1, 110 * second), at(heard), Some(at(heard - 10)));
    assert_eq!(not_after(&bounds, heard), Some(111 * second - 200));
    // A reply that was under way for long disproves nothing.
    bounds.heard(&level("g"), &stamp(1, 109 * second), at(heard + second), Some(at(heard - 11 * second)));
    assert_eq!(not_after(&bounds, heard), Some(111 * second - 200));
}

#[test]
fn a_slow_clock_is_followed_at_every_reply() {
    let at = BootInstant::from_micros;
    let mut bounds = ClockBounds::new(10);
    // 400 millionths slower than ours, asked every second, each answer a tenth of a millisecond under way.
    let slow = |ours: u64| 1_000_000_000 + ours - ours * 400 / 1_000_000;
    for round in 0..1_000_u64 {
        let asked = round * 1_000_000;
        bounds.heard(&level("g"), &stamp(1, slow(asked + 100)), at(asked + 200), Some(at(asked)));
        let deadline = asked + 29_000_000;
        let not_after = bounds.not_after(&level("g"), at(deadline), at(asked + 200)).unwrap().at;
        // It lags by what it is slower beyond the margin in 29 s, and no more with every round.
        assert!(
            not_after <= slow(deadline) + 29 * 200 + 600,
            "round {round}: {}",
            not_after - slow(deadline)
        );
    }
}

#[test]
fn a_reply_that_just_agrees_disproves_nothing() {
    let at = BootInstant::from_micros;
    let (second, start) = (1_000_000, 100_000_000);
    for (shown, kept) in [(start + second - 200, true), (start + second - 201, false)] {
        let mut bounds = ClockBounds::new(10);
        bounds.heard(&level("g"), &stamp(1, start), at(0), Some(at(0)));
        bounds.heard(&level("g"), &stamp(1, shown), at(second + 500), Some(at(second)));
        let not_after = bounds.not_after(&level("g"), at(2 * second), at(second + 500)).unwrap().at;
        // What the first reply proves of two seconds later, or the second one of half a millisecond less than a second.
        let expected = if kept { start + 2 * second - 400 } else { shown + second - 500 - 200 };
        assert_eq!(not_after, expected, "{shown}");
    }
}
