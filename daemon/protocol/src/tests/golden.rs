//! One file for every message form. A change to one of these files is a change to the contract.

use super::*;

const ID: &str = "0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c";
const INCARNATION: &str = "5d3c7a52-1f0e-4c53-8f5e-6a3d2b1c0f9e";
const TOPIC: &str = "gateway-1/window.set/app-7/0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c";

fn full() -> Request {
    Request {
        topic: RequestTopic::parse(TOPIC).unwrap(),
        timestamp: Some(1_795_289_952_102),
        request: raw(r#"{"percent":40}"#),
        timeout: Some(800),
        not_after: Some(NotAfter { incarnation: INCARNATION.parse().unwrap(), at: 86_400_123_456 }),
        attempt: 2,
        caller: Some("arn:aws:iam::123456789012:role/operator".into()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    }
}

fn bare() -> Request {
    Request {
        request: raw("null"),
        timeout: None,
        not_after: None,
        attempt: 1,
        caller: None,
        traceparent: None,
        ..full()
    }
}

fn sample() -> Request {
    Request { request: raw(r#""open""#), ..bare() }
}

fn parse(payload: &str) -> Request {
    match Received::parse(TOPIC, payload.as_bytes()).unwrap() {
        Received::Request(request) => request,
        Received::Faulty(_, fault) => panic!("{fault}"),
    }
}

#[test]
fn requests() {
    for (request, payload, golden) in [
        (full(), full().payload(), include_str!("../../golden/request.json")),
        (bare(), bare().payload(), include_str!("../../golden/request-least.json")),
        (sample(), sample().compat_payload(), include_str!("../../golden/request-compat.json")),
    ] {
        assert_eq!(payload, golden.trim_end());
        assert_same(&parse(golden), &request);
    }
    assert_same(&parse(include_str!("../../golden/request-newer.json")), &full());
}

#[test]
fn replies() {
    let stamp = GatewayStamp {
        incarnation: INCARNATION.parse().unwrap(),
        now: 86_399_500_000,
        since: Some(1_234_567),
        version: "0.1.0".into(),
    };
    let ok = Reply {
        id: ID.parse().unwrap(),
        response: raw(r#"{"percent":40}"#),
        status: ReplyStatus::Known(Status::Ok),
        outcome: Outcome::Executed,
        error: None,
        timing: Some(Timing { queue: 12, plugin: 345, total: 371 }),
        attempt: Some(2),
        gateway: Some(stamp),
    };
    let failed = Reply {
        response: raw("null"),
        status: ReplyStatus::Known(Status::Failed),
        outcome: Outcome::Unknown,
        error: Some(ErrorBody {
            code: "com.example.Error.Motor".into(),
            message: "the motor is too hot".into(),
        }),
        ..ok.clone()
    };
    for (reply, golden) in [
        (&ok, include_str!("../../golden/reply.json")),
        (&failed, include_str!("../../golden/reply-error.json")),
    ] {
        assert_eq!(reply.payload(), golden.trim_end());
        assert_eq!(Reply::parse(golden.as_bytes()).unwrap().payload(), golden.trim_end());
        // Gateways that say neither which attempt they answer nor since when they hear are understood too.
        let less = golden.replace(r#","attempt":2"#, "").replace(r#""since":1234567,"#, "");
        let less = Reply::parse(less.as_bytes()).unwrap();
        assert_eq!((less.attempt, less.gateway.unwrap().since), (None, None));
    }
    let sample = Reply::parse(include_bytes!("../../golden/reply-compat.json")).unwrap();
    assert_eq!((sample.status, sample.outcome), (ReplyStatus::Known(Status::Ok), Outcome::Executed));
    assert_eq!(ReplyTopic(full().topic).to_string(), format!("app-7/{ID}/gateway-1/window.set/ack"));
}

#[test]
fn presences() {
    let online = Presence {
        online: true,
        session: ID.parse().unwrap(),
        incarnation: INCARNATION.parse().unwrap(),
        since: 1_234_567,
        version: "0.1.0".into(),
        methods: "9f86d081884c7d65".into(),
    };
    let offline = Presence { online: false, ..online.clone() };
    for (presence, golden) in [
        (online, include_str!("../../golden/presence-online.json")),
        (offline, include_str!("../../golden/presence-offline.json")),
    ] {
        assert_eq!(presence.payload(), golden.trim_end());
        assert_eq!(Presence::parse(golden.as_bytes()).unwrap(), presence);
    }
}

#[test]
fn questions_about_calls() {
    let golden = include_str!("../../golden/outcome-request.json").trim_end();
    let question = OutcomeQuery { id: ID.parse().unwrap() };
    assert_eq!(question.payload().get(), golden);
    assert_eq!(OutcomeQuery::parse(&raw(golden)).unwrap(), question);
    for wrong in ["null", "[]", "{}", r#"{"id": 7}"#, r#"{"id": "not an id"}"#] {
        assert!(OutcomeQuery::parse(&raw(wrong)).is_err(), "{wrong}");
    }
    let done = Ending {
        status: "timeout".into(),
        outcome: Outcome::Unknown,
        error: Some(ErrorBody { code: "timeout".into(), message: "no result came".into() }),
        response: None,
    };
    let late = Ending {
        status: "ok".into(),
        outcome: Outcome::Executed,
        error: None,
        response: Some(raw(r#"{"percent":40}"#)),
    };
    let full = OutcomeReport { state: CallState::Ended, answer: Some(done), late: Some(late) };
    for (report, golden) in [
        (full, include_str!("../../golden/outcome-ended.json")),
        (OutcomeReport::bare(CallState::Running), include_str!("../../golden/outcome-running.json")),
        (OutcomeReport::bare(CallState::NotKnown), include_str!("../../golden/outcome-not-known.json")),
    ] {
        assert_eq!(report.response().get(), golden.trim_end());
    }
}

#[test]
fn questions_about_methods() {
    let golden = include_str!("../../golden/methods-request.json").trim_end();
    let question = MethodsQuery { after: Some("window.halt".into()) };
    assert_eq!(question.payload().get(), golden);
    assert_eq!(MethodsQuery::parse(&raw(golden)).unwrap(), question);
    for first in ["null", "{}", r#"{"after":null}"#, r#"{"newer":1}"#] {
        assert_eq!(MethodsQuery::parse(&raw(first)).unwrap(), MethodsQuery::default(), "{first}");
    }
    assert_eq!(MethodsQuery::default().payload().get(), "{}");
    for wrong in ["[]", "7", r#""window.halt""#, r#"{"after": 7}"#] {
        assert!(MethodsQuery::parse(&raw(wrong)).is_err(), "{wrong}");
    }
    let schema = serde_json::json!({"type": "object"});
    let set = MethodEntry {
        name: "window.set",
        description: "moves the window".into(),
        params: Some(&schema),
        timeout_ms: 800,
        max_timeout_ms: 5_000,
        idempotent: true,
        stop: false,
        poll_ms: None,
    };
    let anything = serde_json::Value::Null;
    let level = MethodEntry {
        name: "window.level",
        description: "".into(),
        params: Some(&anything),
        poll_ms: Some(5_000),
        ..set.clone()
    };
    let (level, set) = (level.bounded(), set.bounded());
    let page = MethodsPage { methods: vec![&level, &set], more: true };
    assert_eq!(page.response().get(), include_str!("../../golden/methods-page.json").trim_end());
}

#[test]
fn an_entry_fits_on_a_page() {
    let schema = serde_json::json!({"enum": ["x".repeat(MAX_PAGE_LEN)]});
    let entry = MethodEntry {
        name: "m",
        description: "says little".into(),
        params: Some(&schema),
        timeout_ms: 1,
        max_timeout_ms: 1,
        idempotent: false,
        stop: false,
        poll_ms: None,
    };
    let without = entry.bounded();
    assert!(!without.get().contains("params") && without.get().contains("says little"), "{without}");
    let talkative = MethodEntry { description: "x".repeat(MAX_PAGE_LEN).into(), ..entry };
    assert!(talkative.bounded().get().len() < 1_000);
}

#[test]
fn values_that_the_gateway_reads() {
    let value = raw("21.5");
    let good = PolledValue { value: &value, age_ms: 1_234, error: None };
    let error = ErrorBody { code: "port_gone".into(), message: "the port is not there".into() };
    let old = PolledValue { age_ms: 61_234, error: Some(error), ..good.clone() };
    for (polled, golden) in [
        (good, include_str!("../../golden/polled.json")),
        (old, include_str!("../../golden/polled-error.json")),
    ] {
        assert_eq!(polled.response().get(), golden.trim_end());
    }
}
