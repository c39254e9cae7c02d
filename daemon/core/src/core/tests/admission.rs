//! Which requests are started, and what the others hear.

use nowd_protocol::Fault;

use super::*;
use crate::event::Wall;

fn wall(now_ms: u64, error_ms: u64) -> Receipt {
    Receipt { wall: Some(Wall { now_ms, error_ms }), ..receipt() }
}

fn by_timestamp(timestamp: Option<u64>, timeout: u64) -> Request {
    Request { timestamp, timeout: Some(timeout), not_after: None, ..request(1, "set", 0) }
}

#[test]
fn the_deadline_decides() {
    let foreign = NotAfter { incarnation: Uuid::from_u128(2), at: at(100).as_micros() };
    let set = |until| request(1, "set", until);
    for (what, request, receipt, expected) in [
        ("in time", set(100), receipt(), "start 1 set"),
        ("one millisecond left", Request { timeout: Some(1), ..set(1) }, receipt(), "start 1 set"),
        ("at the deadline", set(0), receipt(), "reply 1 expired"),
        ("at the bound", set(5_000), receipt(), "start 1 set"),
        ("beyond the bound", set(5_001), receipt(), "reply 1 resync"),
        ("dead incarnation", Request { not_after: Some(foreign), ..set(0) }, receipt(), "reply 1 resync"),
        ("no timeout", Request { timeout: None, ..set(100) }, receipt(), "reply 1 invalid_request"),
        (
            "too long a timeout",
            Request { timeout: Some(5_001), ..set(100) },
            receipt(),
            "reply 1 invalid_request",
        ),
        ("no trusted clock", by_timestamp(Some(1_000), 500), receipt(), "reply 1 resync"),
        ("no timestamp", by_timestamp(None, 500), wall(1_000, 0), "reply 1 resync"),
        ("young enough", by_timestamp(Some(1_000), 500), wall(1_499, 0), "start 1 set"),
        ("too old", by_timestamp(Some(1_000), 500), wall(1_500, 0), "reply 1 expired"),
        ("too old with the error bound", by_timestamp(Some(1_000), 500), wall(1_450, 50), "reply 1 expired"),
        ("the future, within the error", by_timestamp(Some(1_050), 500), wall(1_000, 50), "start 1 set"),
        ("the future", by_timestamp(Some(1_051), 500), wall(1_000, 50), "reply 1 resync"),
    ] {
        assert_eq!(Bench::new().send_with(0, request, receipt), [expected], "{what}");
    }
}

#[test]
fn the_wall_clock_gives_the_rest_of_the_budget() {
    let mut bench = Bench::new();
    bench.send_with(0, by_timestamp(Some(1_000), 500), wall(1_100, 20));
    assert_eq!(bench.core.wake_at(), Some(at(380)));
}

#[test]
fn a_deadline_later_than_the_budget_is_cut() {
    let mut bench = Bench::new();
    bench.send(0, Request { timeout: Some(200), ..request(1, "set", 4_000) });
    assert_eq!(bench.core.wake_at(), Some(at(200)));
}

#[test]
fn messages_that_prove_nothing_are_dropped() {
    let level = |text| Level::new(text).unwrap();
    let foreign = RequestTopic { target: level("gw2"), ..request(1, "set", 100).topic };
    let own = RequestTopic { client: level("gw"), ..request(1, "set", 100).topic };
    for (topic, receipt, expected) in [
        (foreign, receipt(), "drop: the request is for another target, \"gw2\""),
        (own, receipt(), "drop: the request's client is this gateway itself"),
        (
            request(1, "set", 100).topic,
            Receipt { retained: true, ..receipt() },
            "drop: the request was retained by the broker, which says nothing of now",
        ),
    ] {
        let faulty = Received::Faulty(topic.clone(), Fault { field: "timeout", expected: "a number" });
        let good = Received::Request(Request { topic, ..request(1, "set", 100) });
        for message in [good, faulty] {
            assert_eq!(
                Bench::new().handle(0, Event::Received { message, receipt, params: Ok(0) }),
                [expected]
            );
        }
    }
}

#[test]
fn names_callers_and_parameters_are_judged_before_the_deadline() {
    let client = |name: &str, client: &str| {
        let mut request = request(1, name, 100);
        request.topic.client = Level::new(client).unwrap();
        request
    };
    let caller = |caller: &str| Request { caller: Some(caller.into()), ..request(1, "ops", 100) };
    for (request, expected) in [
        (request(1, "nothing", 100), "reply 1 unknown_method"),
        (request(1, "halt", 100), "reply 1 forbidden"),
        (request(1, "ops", 100), "reply 1 forbidden"),
        (client("ops", "ops-7"), "start 1 ops"),
        (caller("arn:aws:iam::1:role/ops"), "start 1 ops"),
        (caller("arn:aws:iam::1:role/dev"), "reply 1 forbidden"),
    ] {
        assert_eq!(Bench::new().send(0, request), [expected]);
    }
    let mut closed = settings();
    offer(&mut closed).access_default.clear();
    assert_eq!(Bench::with(closed).send(0, request(1, "set", 100)), ["reply 1 forbidden"]);
    let params = Err(ErrorBody { code: "x".into(), message: "y".into() });
    let message = Received::Request(request(1, "set", 100));
    let event = Event::Received { message, receipt: receipt(), params };
    assert_eq!(Bench::new().handle(0, event), ["reply 1 invalid_request"]);
    let faulty =
        Received::Faulty(request(1, "set", 100).topic, Fault { field: "timeout", expected: "a number" });
    let event = Event::Received { message: faulty, receipt: receipt(), params: Ok(0) };
    assert_eq!(Bench::new().handle(0, event), ["reply 1 invalid_request"]);
}

#[test]
fn the_star_stands_for_all_other_names() {
    let mut settings = settings();
    offer(&mut settings).methods.insert("*".into(), method("wide"));
    let mut bench = Bench::with(settings);
    assert_eq!(bench.send(0, request(1, "anything", 100)), ["start 1 anything"]);
    assert_eq!(bench.send(0, request(2, "halt", 100)), ["reply 2 forbidden"]);
}

fn sample(id: u128, timestamp: Option<u64>) -> Request {
    let mut request = Request { timestamp, timeout: None, not_after: None, ..request(id, "set", 0) };
    request.topic.client = Level::new("old-1").unwrap();
    request
}

#[test]
fn compatibility_callers_hear_only_success() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(0, sample(1, None)), ["start 1 set"]);
    assert_eq!(bench.core.wake_at(), Some(at(1_000)));
    assert_eq!(bench.end(10, 1, ok()), ["reply 1 ok"]);
    assert_eq!(bench.send(20, sample(2, None)), ["start 2 set"]);
    assert_eq!(bench.time(1_020), ["cancel"], "no `timeout` is answered");
    assert_eq!(bench.end(1_030, 2, ok()), ["record 2 Late ok"]);
    let mut unknown = sample(3, None);
    unknown.topic.method = Level::new("nothing").unwrap();
    assert_eq!(bench.send(1_040, unknown), [""; 0]);
}

#[test]
fn compatibility_callers_get_no_old_messages() {
    let stalled = Receipt { stalled: true, ..receipt() };
    for (what, timestamp, receipt, started) in [
        ("no trusted clock", Some(1), receipt(), true),
        ("buffered while frozen", Some(1), stalled, false),
        ("fresh", Some(9_500), wall(10_000, 50), true),
        ("stale", Some(8_950), wall(10_000, 50), false),
        ("no timestamp, trusted clock", None, wall(10_000, 50), false),
    ] {
        let found = Bench::new().send_with(0, sample(1, timestamp), receipt);
        assert_eq!(found, if started { vec!["start 1 set"] } else { vec![] }, "{what}");
    }
    // Whoever sends a deadline is judged by it, however long it lay.
    assert_eq!(Bench::new().send_with(0, request(1, "set", 100), stalled), ["start 1 set"]);
}
