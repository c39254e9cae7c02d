//! The same id again.

use super::*;
use crate::event::Wall;

#[test]
fn a_repeat_joins_or_is_answered_from_memory() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(0, request(1, "set", 1_000)), ["start 1 set"]);
    assert_eq!(bench.send(1, request(1, "set", 1_000)), [""; 0]);
    assert_eq!(bench.send(2, Request { attempt: 2, ..request(1, "set", 1_000) }), [""; 0]);
    assert_eq!(bench.end(10, 1, ok()), ["reply 1 ok"]);
    assert_eq!(bench.send(20, request(1, "set", 1_000)), ["reply 1 ok", "record 1 Repeated ok"]);
    // Executed is executed, whatever deadline the repeat has.
    let later = Request { attempt: 2, ..request(1, "set", 3_000) };
    assert_eq!(bench.send(2_000, later), ["reply 1 ok", "record 1 Repeated ok"]);
}

#[test]
fn other_content_is_a_conflict() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 1_000));
    let other = Request { request: RawValue::from_string("2".into()).unwrap(), ..request(1, "set", 1_000) };
    assert_eq!(bench.send(1, other), ["reply 1 conflict"]);
    assert_eq!(bench.send(1, request(1, "other", 1_000)), ["reply 1 conflict"]);
    let caller = Request { caller: Some("another".into()), ..request(1, "set", 1_000) };
    assert_eq!(bench.send(1, caller), ["reply 1 conflict"]);
    // The same id of another client is another call.
    let mut client = request(1, "wide", 1_000);
    client.topic.client = Level::new("app2").unwrap();
    assert_eq!(bench.send(1, client), ["start 1 wide"]);
}

#[test]
fn what_was_said_not_to_be_executed_is_not_started_by_a_repeat() {
    let mut bench = Bench::new();
    for id in 1..=3 {
        bench.send(0, request(id, "set", 1_000));
    }
    assert_eq!(bench.send(1, request(4, "set", 1_000)), ["reply 4 busy"]);
    for id in 1..=3 {
        bench.end(10, id, ok());
    }
    // The lane is idle now. The same attempt, or the same values under another number, stay refused.
    assert_eq!(bench.send(20, request(4, "set", 1_000)), ["reply 4 busy", "record 4 Repeated busy"]);
    let numbered = Request { attempt: 2, ..request(4, "set", 1_000) };
    assert_eq!(bench.send(20, numbered), ["reply 4 busy", "record 4 Repeated busy"]);
    let old = Request { attempt: 1, ..request(4, "set", 1_001) };
    assert_eq!(bench.send(20, old), ["reply 4 busy", "record 4 Repeated busy"]);
    // Whoever heard the answer may send it again under new values.
    let again = Request { attempt: 2, ..request(4, "set", 1_200) };
    assert_eq!(bench.send(30, again.clone()), ["start 4 set"]);
    assert_eq!(bench.send(31, again), [""; 0]);
}

#[test]
fn an_attempt_after_resync_is_judged_anew_and_the_first_is_not() {
    let mut bench = Bench::new();
    let first = Request { timestamp: Some(1_000), not_after: None, ..request(1, "set", 0) };
    assert_eq!(bench.send(0, first.clone()), ["reply 1 resync"]);
    // Meanwhile the clock has come to be trusted: a repeat of the first attempt must not start.
    let wall = Receipt { wall: Some(Wall { now_ms: 1_000, error_ms: 0 }), ..receipt() };
    assert_eq!(bench.send_with(1, first.clone(), wall), ["reply 1 resync", "record 1 Repeated resync"]);
    let second = Request { attempt: 2, not_after: request(1, "set", 900).not_after, ..first.clone() };
    assert_eq!(bench.send(2, second), ["start 1 set"]);
    assert_eq!(bench.send_with(3, first, wall), [""; 0]);
}

#[test]
fn a_full_memory_refuses_only_its_author_and_never_starts_a_forgotten_one() {
    let mut settings = settings();
    settings.limits =
        Limits { ids_per_client: 2, clients: 2, remember: Duration::from_secs(1), response_bytes: 10 };
    let mut bench = Bench::with(settings);
    bench.send(0, request(1, "wide", 100));
    bench.send(0, request(2, "wide", 100));
    assert_eq!(bench.send(0, request(3, "wide", 2_000)), ["reply 3 busy"]);
    let from = |client: &str, id, until| {
        let mut request = request(id, "wide", until);
        request.topic.client = Level::new(client).unwrap();
        request
    };
    assert_eq!(bench.send(0, from("app2", 4, 3_000)), ["start 4 wide"]);
    assert_eq!(bench.send(0, from("app3", 5, 3_000)), ["reply 5 busy"], "no place for a third client");
    bench.end(1, 1, ok());
    bench.end(1, 2, ok());
    // At 1,100 ms ids 1 and 2 are forgotten. A repeat of 3 must still not start; a call with a later deadline may.
    assert_eq!(bench.send(1_500, request(3, "wide", 2_000)), ["reply 3 busy"]);
    assert_eq!(bench.core.remembered(), 1);
    assert_eq!(bench.send(1_500, request(6, "wide", 3_500)), ["start 6 wide"]);
}

#[test]
fn ids_are_forgotten_after_their_time_but_never_while_they_run() {
    let mut settings = settings();
    settings.limits.remember = Duration::from_secs(1);
    let mut bench = Bench::with(settings);
    bench.send(0, request(1, "wide", 100));
    bench.end(50, 1, ok());
    assert_eq!(bench.send(1_099, request(1, "wide", 100)), ["reply 1 ok", "record 1 Repeated ok"]);
    assert_eq!(bench.send(1_100, request(1, "wide", 100)), ["reply 1 expired"]);
    assert_eq!(bench.core.remembered(), 0);
}

#[test]
fn responses_are_bounded_and_outcomes_stay() {
    let mut settings = settings();
    settings.limits.response_bytes = 10;
    let mut bench = Bench::with(settings);
    let response = |text: &str| Ended { response: Some(RawValue::from_string(text.into()).unwrap()), ..ok() };
    bench.send(0, request(1, "wide", 1_000));
    bench.send(0, request(2, "wide", 1_000));
    bench.end(1, 1, response("\"123456\""));
    bench.end(1, 2, response("\"abc\""));
    let mut kept = |id| {
        let message = Received::Request(request(id, "wide", 1_000));
        let actions =
            bench.core.handle(at(2), Event::Received { message, receipt: receipt(), params: Ok(0) });
        let Action::Reply(reply) = &actions[0] else { panic!("{actions:?}") };
        (reply.status, reply.response.as_ref().map(|r| r.get().to_owned()))
    };
    assert_eq!(kept(1), (Status::Ok, None));
    assert_eq!(kept(2), (Status::Ok, Some("\"abc\"".into())));
}
