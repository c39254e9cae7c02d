//! The same id again.

use super::*;
use crate::event::Wall;

#[test]
fn a_repeat_joins_or_is_answered_from_memory() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(0, request(1, "set", 1_000)), ["start 1 set"]);
    assert_eq!(bench.send(1, request(1, "set", 1_000)), [""; 0]);
    assert_eq!(bench.send(2, Request { attempt: 2, ..request(1, "set", 1_000) }), [""; 0]);
    let each = ["reply 1 ok", "reply 1 ok", "record 1 Repeated ok", "reply 1 ok", "record 1 Repeated ok"];
    assert_eq!(bench.end(10, 1, ok()), each, "each attempt is answered");
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
    // Whoever sends it.
    let mut client = request(1, "wide", 1_000);
    client.topic.client = Level::new("app2").unwrap();
    assert_eq!(bench.send(1, client), ["reply 1 conflict"]);
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
    settings.limits = Limits {
        ids_per_asker: 2,
        askers: 2,
        ids: 100,
        remember: Duration::from_secs(1),
        response_bytes: 10,
        ..Limits::default()
    };
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
        let code = reply.error.as_ref().map(|error| error.code.clone());
        (reply.status, reply.response.as_ref().map(|r| r.get().to_owned()), code)
    };
    assert_eq!(kept(1), (Status::Ok, None, Some("response_forgotten".into())));
    assert_eq!(kept(2), (Status::Ok, Some("\"abc\"".into()), None));
}

#[test]
fn a_call_is_the_same_through_another_return_address() {
    let mut bench = Bench::new();
    let through = |client: &str, name: &str, id| {
        let mut request = request(id, name, 1_000);
        request.topic.client = Level::new(client).unwrap();
        Request { caller: Some("arn:aws:iam::1:role/ops".into()), ..request }
    };
    assert_eq!(bench.send(0, through("one", "set", 1)), ["start 1 set"]);
    assert_eq!(bench.send(1, through("two", "set", 1)), [""; 0], "it joins");
    let event = Event::Ended { key: bench.keys[&1], ended: ok() };
    let replies: Vec<_> = bench.core.handle(at(2), event).into_iter().filter_map(to).collect();
    assert_eq!(replies, ["one", "two"]);
    let message = Received::Request(through("three", "set", 1));
    let event = Event::Received { message, receipt: receipt(), params: Ok(0) };
    let replies: Vec<_> = bench.core.handle(at(3), event).into_iter().filter_map(to).collect();
    assert_eq!(replies, ["three"]);
    // What is remembered is told only to those who may call.
    let secret = |client| Request { caller: None, ..through(client, "ops", 2) };
    assert_eq!(bench.send(4, secret("ops-1")), ["start 2 ops"]);
    assert_eq!(bench.send(4, secret("app")), ["reply 2 forbidden"]);
}

fn to(action: Action<u8>) -> Option<String> {
    if let Action::Reply(reply) = action { Some(reply.topic.client.to_string()) } else { None }
}

#[test]
fn each_reply_says_which_attempt_it_answers() {
    let mut bench = Bench::new();
    bench.send(0, Request { attempt: 3, ..request(1, "set", 1_000) });
    bench.send(1, Request { attempt: 4, ..request(1, "set", 1_000) });
    let event = Event::Ended { key: bench.keys[&1], ended: ok() };
    let attempts = |actions: Vec<Action<u8>>| {
        let attempt = |action| if let Action::Reply(reply) = action { Some(reply.attempt) } else { None };
        actions.into_iter().filter_map(attempt).collect::<Vec<_>>()
    };
    assert_eq!(attempts(bench.core.handle(at(2), event)), [3, 4]);
    let message = Received::Request(Request { attempt: 7, ..request(1, "set", 1_000) });
    let event = Event::Received { message, receipt: receipt(), params: Ok(0) };
    assert_eq!(attempts(bench.core.handle(at(3), event)), [7]);
}

#[test]
fn only_so_many_repeats_of_a_running_call_are_answered() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 1_000));
    for _ in 0..20 {
        assert_eq!(bench.send(1, request(1, "set", 1_000)), [""; 0]);
    }
    let replies = bench.end(2, 1, ok()).into_iter().filter(|word| word.starts_with("reply")).count();
    assert_eq!(replies, 9);
}

#[test]
fn a_call_made_anew_under_its_id_may_run_if_the_earlier_one_did_not() {
    let mut bench = Bench::new();
    for id in 1..=3 {
        bench.send(0, request(id, "set", 1_000));
    }
    let made = |ms| Request { timestamp: Some(ms), ..request(4, "set", 1_000) };
    assert_eq!(bench.send(1, made(50)), ["reply 4 busy"]);
    for id in 1..=3 {
        bench.end(10, id, ok());
    }
    assert_eq!(bench.send(20, made(50)), ["reply 4 busy", "record 4 Repeated busy"], "the same bytes");
    assert_eq!(bench.send(20, made(49)), ["reply 4 busy", "record 4 Repeated busy"], "an older one");
    assert_eq!(bench.send(20, made(51)), ["start 4 set"], "a newer one, though it is a first attempt");
    bench.end(21, 4, ok());
    assert_eq!(bench.send(22, made(52)), ["reply 4 ok", "record 4 Repeated ok"]);
}

#[test]
fn a_request_that_names_no_incarnation_is_not_believed_if_it_is_older_than_the_connection() {
    let mut bench = Bench::new();
    let made = |id, ms| Request { timestamp: Some(ms), not_after: None, ..request(id, "set", 0) };
    let wall = Receipt { wall: Some(Wall { now_ms: 10_100, error_ms: 20 }), since: at(0), ..receipt() };
    // The wall clock stood at 10,000 ms when the connection began, give or take 20.
    assert_eq!(bench.send_with(100, made(1, 10_019), wall), ["reply 1 resync"]);
    assert_eq!(bench.send_with(100, made(2, 10_020), wall), ["reply 2 resync"]);
    assert_eq!(bench.send_with(100, made(3, 10_021), wall), ["start 3 set"]);
}

#[test]
fn a_copy_of_a_conflicting_request_meets_the_same_however_late() {
    let mut settings = settings();
    settings.limits.remember = Duration::from_secs(1);
    let mut bench = Bench::with(settings);
    bench.send(0, request(1, "set", 100));
    bench.end(10, 1, ok());
    assert_eq!(bench.send(20, request(1, "other", 5_000)), ["reply 1 conflict"]);
    assert_eq!(bench.send(4_000, request(1, "other", 5_000)), ["reply 1 conflict"]);
}

#[test]
fn an_answer_that_came_late_is_remembered_from_then_on() {
    let mut settings = settings();
    settings.limits.remember = Duration::from_secs(1);
    let mut bench = Bench::with(settings);
    bench.send(0, request(1, "set", 100));
    // The process stood still, and answers only now.
    assert_eq!(bench.time(5_000), ["cancel", "reply 1 timeout"]);
    let again = |until| Request { attempt: 2, ..request(1, "set", until) };
    assert_eq!(bench.send(5_999, again(8_000)), ["reply 1 timeout", "record 1 Repeated timeout"]);
    bench.end(6_000, 1, ok());
    assert_eq!(bench.send(6_999, again(8_000)), ["reply 1 timeout", "record 1 Repeated timeout"]);
    assert_eq!(bench.send(7_000, again(8_000)), ["start 1 set"]);
}

#[test]
fn what_found_no_room_is_not_started_by_way_of_another_address() {
    let mut settings = settings();
    settings.limits.askers = 1;
    let mut bench = Bench::with(settings);
    let through = |client: &str, until| {
        let mut request = request(1, "set", until);
        request.topic.client = Level::new(client).unwrap();
        Request { timestamp: Some(7), ..request }
    };
    bench.send(0, request(9, "set", 1_000));
    assert_eq!(bench.send(0, through("zoe", 2_000)), ["reply 1 busy"], "no room for a second client");
    let beyond = Request { timeout: Some(1), ..through("app", 9_000) };
    assert_eq!(bench.send(0, beyond), ["reply 1 resync"]);
    bench.end(1, 9, ok());
    assert_eq!(bench.send(2, through("zoe", 2_000)), ["reply 1 busy"]);
}

#[test]
fn an_id_is_remembered_as_long_as_its_bytes_could_be_admitted() {
    let mut settings = settings();
    offer(&mut settings).methods.get_mut("set").unwrap().max_timeout = Duration::from_secs(600);
    let mut bench = Bench::with(settings);
    // One second to run, and any time within 500 s to begin.
    let generous = || Request { timeout: Some(1_000), ..request(1, "set", 500_000) };
    assert_eq!(bench.send(0, generous()), ["start 1 set"]);
    bench.end(10, 1, ok());
    assert_eq!(bench.send(100_000, generous()), ["reply 1 ok", "record 1 Repeated ok"]);
    assert_eq!(bench.send(499_000, generous()), ["reply 1 ok", "record 1 Repeated ok"]);
    assert_eq!(bench.send(570_000, generous()), ["reply 1 expired"]);
}

#[test]
fn an_id_is_remembered_while_its_call_runs_and_a_minute_after_a_late_result() {
    let mut settings = settings();
    settings.limits.remember = Duration::from_secs(1);
    let mut bench = Bench::with(settings);
    bench.send(0, request(1, "wide", 100));
    bench.time(100);
    let again = |until| Request { attempt: 2, ..request(1, "wide", until) };
    assert_eq!(bench.send(50_000, again(52_000)), ["reply 1 timeout", "record 1 Repeated timeout"]);
    bench.end(60_000, 1, ok());
    assert_eq!(bench.send(60_999, again(62_000)), ["reply 1 timeout", "record 1 Repeated timeout"]);
    assert_eq!(bench.send(62_000, again(64_000)), ["start 1 wide"]);
}

#[test]
fn whoever_fills_his_memory_shuts_out_nobody_else() {
    let mut settings = settings();
    settings.limits.ids_per_asker = 2;
    settings.limits.remember = Duration::from_secs(1);
    let mut bench = Bench::with(settings);
    let by = |caller: &str, request| Request { caller: Some(caller.into()), ..request };
    for id in [1, 2] {
        bench.send(0, by("mallory", request(id, "wide", 100)));
        bench.end(0, id, ok());
    }
    let far = || Request { timeout: Some(5_000), ..request(3, "wide", 3_000_000) };
    assert_eq!(bench.send(0, by("mallory", far())), ["reply 3 busy"]);
    // Through the same return address.
    assert_eq!(bench.send(1, by("alice", request(4, "wide", 1_000))), ["start 4 wide"]);
    bench.end(2, 4, ok());
    // What mallory had is forgotten; he is still shut out, and nobody else is.
    assert_eq!(bench.send(5_000, by("mallory", far())), ["reply 3 busy"]);
    assert_eq!(bench.send(5_000, by("mallory", request(5, "wide", 6_000))), ["reply 5 busy"]);
    assert_eq!(bench.send(5_000, by("bob", request(6, "wide", 6_000))), ["start 6 wide"]);
    assert_eq!(bench.send(5_000, request(7, "wide", 6_000)), ["start 7 wide"]);
}

#[test]
fn all_ids_together_are_bounded() {
    let mut settings = settings();
    settings.limits.ids = 3;
    let mut bench = Bench::with(settings);
    let by = |caller: u128, request| Request { caller: Some(caller.to_string()), ..request };
    for id in 1..=3 {
        bench.send(0, by(id, request(id, "wide", 1_000)));
        bench.end(0, id, ok());
    }
    assert_eq!(bench.send(0, by(4, request(4, "wide", 1_000))), ["reply 4 busy"]);
    assert_eq!(bench.send(0, by(1, request(5, "wide", 1_000))), ["reply 5 busy"]);
    assert_eq!(bench.core.remembered(), 3);
}

#[test]
fn no_copy_of_a_repeat_that_joined_is_judged_anew() {
    let mut bench = Bench::new();
    let through = |client: &str, timestamp| {
        let mut request = request(2, "set", 1_000);
        request.topic.client = Level::new(client).unwrap();
        Request { timestamp: Some(timestamp), ..request }
    };
    bench.send(0, request(1, "set", 1_000));
    assert_eq!(bench.send(0, through("one", 5)), [""; 0]);
    assert_eq!(bench.send(0, through("two", 6)), [""; 0], "it joins, made later");
    let locked = bench.handle(1, Event::Lockout(Some("x".into())));
    assert_eq!(locked, ["reply 2 locked", "reply 2 locked", "record 2 Repeated locked"]);
    bench.handle(2, Event::Lockout(None));
    bench.end(2, 1, ok());
    assert_eq!(bench.send(3, through("two", 6)), ["reply 2 locked", "record 2 Repeated locked"]);
    assert_eq!(bench.send(3, through("one", 5)), ["reply 2 locked", "record 2 Repeated locked"]);
    // Of two made in one millisecond one is the later.
    assert_eq!(
        bench.send(3, Request { timeout: Some(4_000), ..through("two", 6) }),
        ["reply 2 locked", "record 2 Repeated locked"]
    );
    assert_eq!(bench.send(3, Request { timeout: Some(4_000), ..through("zoe", 6) }), ["start 2 set"]);
}

/// The responses that are kept of calls 1 to `n`, each of ten bytes where there is one.
fn responses(limits: Limits, with_response: &[bool]) -> Vec<bool> {
    let mut bench = Bench::with(Settings { limits, ..settings() });
    let call = |id: u128| Request { caller: Some(id.to_string()), ..request(id, "wide", 1_000) };
    for (id, with_response) in (1..).zip(with_response) {
        bench.send(0, call(id));
        let response = with_response.then(|| RawValue::from_string("\"12345678\"".into()).unwrap());
        bench.end(0, id, Ended { response, ..ok() });
    }
    let mut kept = |id| {
        let event =
            Event::Received { message: Received::Request(call(id)), receipt: receipt(), params: Ok(0) };
        let actions = bench.core.handle(at(1), event);
        let Action::Reply(reply) = &actions[0] else { panic!("{actions:?}") };
        reply.response.is_some()
    };
    (1..).zip(with_response).map(|(id, _)| kept(id)).collect()
}

#[test]
fn the_oldest_responses_are_forgotten_first() {
    let limits =
        |ids_per_asker, response_bytes| Limits { ids_per_asker, response_bytes, ..Limits::default() };
    assert_eq!(responses(limits(9, 20), &[true, true]), [true, true], "they just fit");
    assert_eq!(responses(limits(9, 19), &[true, true]), [false, true]);
    assert_eq!(responses(limits(2, 1_000), &[true, true]), [true, true], "as many as there may be");
    assert_eq!(responses(limits(2, 1_000), &[true, true, true, true]), [false, false, true, true]);
    assert_eq!(responses(limits(2, 1_000), &[true, false, false, false]), [true, false, false, false]);
}
