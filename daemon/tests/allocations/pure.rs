//! What decides, and what reads and writes messages: the same at each run, so the numbers are exact.

use std::sync::Arc;

use nowd_core::{Core, Ended, Event};
use nowd_protocol::{Outcome, Status};

use super::call::{RECEIPT, Sent, answered, at, core, key, raw, write};
use super::{CALLS, Taken, median, taken};

/// What each step of a call takes, in order.
fn one_call(core: &mut Core<Arc<()>>, call: usize) -> [Taken; 5] {
    let (sent, params) = (Sent::new(call), Arc::new(()));
    let mut message = None;
    let parsed = taken(|| message = Some(sent.parse()));
    let event = Event::Received { message: message.unwrap(), receipt: RECEIPT, params: Ok(params) };
    let mut actions = Vec::new();
    let started = taken(|| actions = core.handle(at(call), event));
    let ended =
        Ended { status: Status::Ok, outcome: Outcome::Executed, response: Some(raw("40")), error: None };
    let event = Event::Ended { key: key(&actions), ended };
    let ended = taken(|| actions = core.handle(at(call), event));
    let body = answered(actions);
    let written = taken(|| drop(write(body)));
    let repeat = Event::Received { message: sent.parse(), receipt: RECEIPT, params: Ok(Arc::new(())) };
    let mut actions = Vec::new();
    let repeated = taken(|| actions = core.handle(at(call), repeat));
    answered(actions);
    [parsed, started, ended, written, repeated]
}

#[test]
fn what_a_call_takes_without_a_plugin_and_a_link() {
    let mut core = core();
    for call in 0..CALLS {
        one_call(&mut core, call);
    }
    let calls: Vec<_> = (CALLS..2 * CALLS).map(|call| one_call(&mut core, call)).collect();
    let step = |index: usize| median(&calls.iter().map(|steps| steps[index]).collect::<Vec<_>>()).allocations;
    let found = [
        ("a request is read", step(0)),
        ("it starts", step(1)),
        ("it ends", step(2)),
        ("its answer is written", step(3)),
        ("a repeat is answered", step(4)),
    ];
    let expected = [
        ("a request is read", 6),
        ("it starts", 6),
        ("it ends", 5),
        ("its answer is written", 3),
        ("a repeat is answered", 11),
    ];
    assert_eq!(found, expected, "fewer? then say so here");
}
