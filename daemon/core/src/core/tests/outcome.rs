//! `nowd.outcome`.

use super::*;

fn question(about: u128) -> Request {
    let id = Uuid::from_u128(about);
    let text = format!("{{\"id\":\"{id}\"}}");
    Request { request: RawValue::from_string(text).unwrap(), ..request(0x99, "nowd.outcome", 90_000) }
}

fn ask(bench: &mut Bench, ms: u64, question: Request) -> String {
    let question = Request { not_after: request(1, "set", ms + 1_000).not_after, ..question };
    let message = Received::Request(question);
    let actions = bench.core.handle(at(ms), Event::Received { message, receipt: receipt(), params: Ok(0) });
    let mut replies = actions
        .iter()
        .filter_map(|action| if let Action::Reply(reply) = action { Some(reply) } else { None });
    let reply = replies.find(|reply| reply.topic.method.as_str() == "nowd.outcome");
    let reply = reply.unwrap();
    match &reply.response {
        Some(response) => response.get().to_owned(),
        None => reply.status.as_str().to_owned(),
    }
}

#[test]
fn a_call_is_followed_to_its_end() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, 0, question(1)), r#"{"state":"not_known"}"#);
    bench.send(0, request(1, "set", 1_000));
    bench.send(0, request(2, "set", 1_000));
    assert_eq!(ask(&mut bench, 1, question(1)), r#"{"state":"running"}"#);
    assert_eq!(ask(&mut bench, 1, question(2)), r#"{"state":"waiting"}"#);
    let response = Some(RawValue::from_string("7".into()).unwrap());
    bench.end(2, 1, Ended { response, ..ok() });
    let ended = r#"{"state":"ended","answer":{"status":"ok","outcome":"executed","response":7}}"#;
    assert_eq!(ask(&mut bench, 3, question(1)), ended);
    assert_eq!(ask(&mut bench, 70_000, question(1)), r#"{"state":"not_known"}"#, "forgotten");
}

#[test]
fn a_late_result_is_kept() {
    let mut bench = Bench::new();
    bench.send(0, request(1, "set", 100));
    bench.time(100);
    let report = ask(&mut bench, 150, question(1));
    assert!(
        report.starts_with(r#"{"state":"running","answer":{"status":"timeout","outcome":"unknown""#),
        "{report}"
    );
    let response = Some(RawValue::from_string("7".into()).unwrap());
    bench.end(200, 1, Ended { response, ..ok() });
    let report = ask(&mut bench, 250, question(1));
    assert!(report.starts_with(r#"{"state":"ended","answer":{"status":"timeout""#), "{report}");
    assert!(report.ends_with(r#""late":{"status":"ok","outcome":"executed","response":7}}"#), "{report}");
}

#[test]
fn nobody_else_is_told() {
    let mut bench = Bench::new();
    let by = |caller: &str, request| Request { caller: Some(caller.into()), ..request };
    bench.send(0, by("alice", request(1, "set", 1_000)));
    bench.send(0, request(2, "wide", 1_000));
    assert_eq!(ask(&mut bench, 1, by("alice", question(1))), r#"{"state":"running"}"#);
    assert_eq!(ask(&mut bench, 1, by("bob", question(1))), r#"{"state":"not_known"}"#);
    assert_eq!(ask(&mut bench, 1, question(1)), r#"{"state":"not_known"}"#);
    let mut through = by("alice", question(1));
    through.topic.client = Level::new("another").unwrap();
    assert_eq!(ask(&mut bench, 1, through), r#"{"state":"running"}"#, "the caller counts, not the way");
    let mut other = question(2);
    other.topic.client = Level::new("another").unwrap();
    assert_eq!(ask(&mut bench, 1, other), r#"{"state":"not_known"}"#);
    assert_eq!(ask(&mut bench, 1, question(2)), r#"{"state":"running"}"#);
}

#[test]
fn a_question_is_judged_like_a_call_and_not_remembered() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(0, Request { timeout: None, ..question(1) }), ["reply 99 invalid_request"]);
    assert_eq!(bench.send(0, request(1, "nowd.outcome", 100)), ["reply 1 invalid_request"]);
    assert_eq!(
        bench.send(0, Request { not_after: request(1, "set", 0).not_after, ..question(1) }),
        ["reply 99 expired"]
    );
    let foreign = NotAfter { incarnation: Uuid::from_u128(2), at: at(100).as_micros() };
    assert_eq!(bench.send(0, Request { not_after: Some(foreign), ..question(1) }), ["reply 99 resync"]);
    assert_eq!(bench.send(0, question(1)), ["reply 99 ok"]);
    assert_eq!(bench.send(0, question(2)), ["reply 99 ok"]);
    assert_eq!(bench.core.remembered(), 0);
    bench.handle(0, Event::Lockout(Some("x".into())));
    assert_eq!(bench.send(1, question(1)), ["reply 99 ok"], "it moves nothing");
}

#[test]
fn the_journal_is_asked_too() {
    let past = [1_u128, 2]
        .map(|id| JournalLine::Started { id: Uuid::from_u128(id), mark: Mark::of(&request(id, "set", 0)) });
    let ended = JournalLine::Ended { id: Uuid::from_u128(2), status: Status::Ok, outcome: Outcome::Executed };
    let mut bench = Bench::new();
    bench.core = Core::new(settings(), past.into_iter().chain([ended]));
    let report = ask(&mut bench, 1, question(1));
    assert!(
        report.starts_with(r#"{"state":"ended","answer":{"status":"timeout","outcome":"unknown""#),
        "{report}"
    );
    let report = ask(&mut bench, 1, question(2));
    assert!(
        report.starts_with(r#"{"state":"ended","answer":{"status":"ok","outcome":"executed""#),
        "{report}"
    );
    assert_eq!(
        ask(&mut bench, 1, Request { caller: Some("bob".into()), ..question(2) }),
        r#"{"state":"not_known"}"#
    );
}
