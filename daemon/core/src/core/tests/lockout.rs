//! Locked out on site.

use super::*;

fn lock(reason: &str) -> Event<u8> {
    Event::Lockout(Some(reason.into()))
}

#[test]
fn nothing_starts_under_lockout() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 1_000));
    bench.send(0, request(2, "set", 1_000));
    assert_eq!(bench.handle(1, lock("a hand in the gate")), ["reply 2 locked"], "what waits is given up");
    assert_eq!(bench.send(2, request(3, "wide", 1_000)), ["reply 3 locked"]);
    assert_eq!(bench.send(2, request(4, "stop", 1_000)), ["reply 4 locked"], "a stop moves things too");
    assert_eq!(bench.send(2, request(5, "nothing", 1_000)), ["reply 5 unknown_method"]);
    assert_eq!(bench.end(3, 1, ok()), ["reply 1 ok"], "what ran may end");
    assert_eq!(bench.handle(4, Event::Lockout(None)), [""; 0]);
    // Who was told `locked` may have turned to something else.
    assert_eq!(bench.send(5, request(3, "wide", 1_000)), ["reply 3 locked", "record 3 Repeated locked"]);
    assert_eq!(bench.send(5, request(6, "wide", 1_000)), ["start 6 wide"]);
}

#[test]
fn the_reason_is_told() {
    let mut bench = Bench::new();
    bench.handle(0, lock("belt is being changed"));
    let message = Received::Request(request(1, "set", 1_000));
    let event = Event::Received { message, receipt: receipt(), params: Ok(0) };
    let actions = bench.core.handle(at(1), event);
    let Action::Reply(reply) = &actions[0] else { panic!("{actions:?}") };
    assert!(reply.error.as_ref().unwrap().message.ends_with("belt is being changed"));
    assert_eq!(reply.outcome, Outcome::NotExecuted);
}

#[test]
fn a_call_that_ran_before_the_lockout_is_made_safe() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "safe", 100));
    bench.handle(1, lock("x"));
    assert_eq!(bench.time(100), ["cancel", "reply 1 timeout", "start 5afe halt"]);
}
