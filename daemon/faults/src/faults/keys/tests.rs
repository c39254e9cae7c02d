//! Several requests of one call: who may have done it, and whose refusal says so.

use nowd_protocol::Outcome;
use nowd_protocol::Outcome::{Executed, NotExecuted, Unknown};

use super::together;
use crate::act::Act;
use crate::judge::{Answer, Call, Judged, judge};

const BUDGET: u64 = 100;

fn request((begun, outcome): (u64, Outcome)) -> Call {
    let answer = Answer { id: "a".into(), status: "said".into(), outcome };
    Call {
        number: 1,
        deadline: begun + BUDGET,
        begun,
        ended: begun + 5,
        answers: vec![answer],
        refusals_needed: 1,
        answer_needed: true,
    }
}

#[test]
fn requests_under_one_key() {
    // The requests, when it was actuated with how late a deadline, and how much of it is late and untrue.
    type Case<'a> = (&'a str, &'a [(u64, Outcome)], Option<(u64, u64)>, (usize, usize));
    let cases: &[Case<'_>] = &[
        ("done, and told so twice", &[(10, Executed), (50, Executed)], Some((12, 110)), (0, 0)),
        ("refused, and then done", &[(10, NotExecuted), (50, Executed)], Some((52, 150)), (0, 0)),
        ("done, and a repeat refused", &[(10, Unknown), (50, NotExecuted)], Some((12, 110)), (0, 0)),
        ("done, and refused before", &[(10, NotExecuted), (50, Executed)], Some((12, 110)), (0, 1)),
        ("done, and all refused", &[(10, NotExecuted), (50, NotExecuted)], Some((52, 150)), (0, 1)),
        ("not done, and told so", &[(10, Unknown), (50, Executed)], None, (0, 1)),
        ("not done", &[(10, Unknown), (50, NotExecuted)], None, (0, 0)),
        ("given what only a later one had", &[(10, Unknown), (50, Unknown)], Some((12, 150)), (1, 0)),
        ("given what only a refused one had", &[(10, Unknown), (50, NotExecuted)], Some((52, 150)), (1, 0)),
    ];
    for (name, requests, act, (late, untrue)) in cases {
        let act = act.map(|(at, not_after)| {
            let (id, way) = ("a".into(), "checked".into());
            Act { at, number: 1, id, not_after, way }
        });
        let requests: Vec<_> = requests.iter().copied().map(request).collect();
        let call = together(&requests, act.as_ref()).unwrap();
        let acts: Vec<_> = act.into_iter().collect();
        let tally = judge(&[call], &acts, Judged::All, 0);
        assert_eq!((tally.late, tally.contradictions), (*late, *untrue), "{name}: {:?}", tally.wrong);
    }
}
