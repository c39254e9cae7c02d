use super::*;

/// A call under way from 1 s to 2 s whose deadline is 3 s.
fn call(number: u64, outcomes: &[Outcome]) -> Call {
    let answer = |outcome: &Outcome| Answer {
        id: format!("id-{number}"),
        status: outcome.as_str().into(),
        outcome: *outcome,
    };
    Call {
        number,
        deadline: 3_000_000,
        begun: 1_000_000,
        ended: 2_000_000,
        answers: outcomes.iter().map(answer).collect(),
        refusals_needed: 1,
        answer_needed: true,
    }
}

fn act(number: u64, way: &str, at: u64) -> Act {
    Act { at, number, id: format!("id-{number}"), not_after: 2_900_000, way: way.into() }
}

/// Late, double, contradictions.
fn counts(calls: &[Call], acts: &[Act], judged: Judged) -> [usize; 3] {
    let tally = judge(calls, acts, judged, 0);
    assert_eq!(tally.is_clean(), tally.wrong.is_empty(), "{:?}", tally.wrong);
    [tally.late, tally.double, tally.contradictions]
}

use Outcome::{Executed, NotExecuted, Unknown};

#[test]
fn answers_and_acts() {
    for (outcomes, acts, expected) in [
        (&[Executed][..], 1, [0, 0, 0]),
        (&[Executed], 0, [0, 0, 1]),
        (&[NotExecuted], 0, [0, 0, 0]),
        (&[NotExecuted], 1, [0, 0, 1]),
        (&[Unknown], 0, [0, 0, 0]),
        (&[Unknown], 1, [0, 0, 0]),
        (&[], 1, [0, 0, 0]),
        (&[Executed, NotExecuted], 1, [0, 0, 1]),
        (&[Executed], 2, [0, 1, 0]),
        (&[NotExecuted], 2, [0, 1, 1]),
    ] {
        let acts: Vec<_> = (0..acts).map(|_| act(7, CHECKED, 1_500_000)).collect();
        assert_eq!(counts(&[call(7, outcomes)], &acts, Judged::All), expected, "{outcomes:?} {}", acts.len());
    }
}

#[test]
fn too_late() {
    for (way, at, judged, late) in [
        (CHECKED, 2_899_999, Judged::All, 0),
        (CHECKED, 2_900_000, Judged::All, 1),
        (CHECKED, 2_900_000, Judged::NotUnchecked, 1),
        ("plain", 2_900_000 + DELIVERY - 1, Judged::All, 0),
        ("plain", 2_900_000 + DELIVERY, Judged::All, 1),
        ("serial", 9_000_000, Judged::NotUnchecked, 0),
    ] {
        let found = counts(&[call(7, &[Executed])], &[act(7, way, at)], judged);
        assert_eq!(found, [late, 0, 0], "{way} {at} {judged:?}");
    }
}

#[test]
fn a_deadline_beyond_the_callers_is_late_even_where_the_actuation_was_not() {
    // A thousandth of its two seconds may have been slewed.
    for (not_after, late) in [(3_002_000, 0), (3_002_001, 1)] {
        let generous = Act { not_after, ..act(7, "plain", 1_500_000) };
        assert_eq!(counts(&[call(7, &[Executed])], &[generous], Judged::NotUnchecked), [late, 0, 0]);
    }
}

#[test]
fn what_nobody_asked_for_or_under_the_id_of_another() {
    assert_eq!(counts(&[], &[act(7, CHECKED, 1)], Judged::All), [0, 0, 1]);
    let calls = [call(7, &[Executed]), call(8, &[Unknown])];
    let borrowed = Act { id: "id-7".into(), ..act(8, CHECKED, 1_500_000) };
    let found = counts(&calls, &[act(7, CHECKED, 1_500_000), borrowed], Judged::All);
    assert_eq!(found, [0, 1, 1]);
}

#[test]
fn a_call_sent_to_two_incarnations_is_not_executed_only_when_both_say_so() {
    let sent_twice = |outcomes| Call { refusals_needed: 2, ..call(7, outcomes) };
    let acts = [act(7, CHECKED, 1_500_000)];
    assert_eq!(counts(&[sent_twice(&[NotExecuted])], &acts, Judged::All), [0, 0, 0]);
    assert_eq!(counts(&[sent_twice(&[NotExecuted, NotExecuted])], &acts, Judged::All), [0, 0, 1]);
}

#[test]
fn the_row() {
    let calls = [call(1, &[Executed]), call(2, &[NotExecuted]), call(3, &[Unknown]), call(4, &[])];
    let tally = judge(&calls, &[act(1, CHECKED, 2_000_000), act(3, "plain", 3_100_000)], Judged::All, 0);
    let expected = Tally {
        calls: 4,
        acts: 2,
        in_time: 1,
        executed: 1,
        not_executed: 1,
        unknown: 2,
        closest: Some(1_000_000),
        unanswered: 1,
        statuses: [("executed", 1), ("not_executed", 1), ("unknown", 1)].map(|(s, n)| (s.into(), n)).into(),
        ..Tally::default()
    };
    assert_eq!(tally, expected);
}
