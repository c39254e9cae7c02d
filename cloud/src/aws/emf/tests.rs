use nowd_protocol::{Level, Outcome, Status, Uuid};

use super::*;
use crate::invoker::Elapsed;

const NOW: u64 = 1_800_000_000_000;

fn record() -> Record {
    Record {
        id: Uuid::from_u128(7),
        target: Level::new("vehicle-1").ok(),
        method: Level::new("window.set").ok(),
        caller: Some("arn:aws:iam::123456789012:user/ann".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        status: ReplyStatus::Known(Status::Ok),
        outcome: Outcome::Executed,
        http: 200,
        attempts: 2,
        timing: Elapsed {
            total: Duration::from_micros(31_234),
            round_trip: Some(Duration::from_micros(30_000)),
            gateway: Some(Timing { queue: 17, plugin: 9_000, total: 10_500 }),
        },
        error: None,
    }
}

/// What the format's specification demands.
fn check(line: &str) -> Value {
    assert!(line.len() <= 256 * 1024 && line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
    let root: Value = serde_json::from_str(line).unwrap();
    let metadata = root["_aws"].as_object().unwrap();
    assert!(metadata["Timestamp"].as_u64().is_some());
    for directive in metadata["CloudWatchMetrics"].as_array().unwrap() {
        assert!((1..=1024).contains(&directive["Namespace"].as_str().unwrap().len()));
        for set in directive["Dimensions"].as_array().unwrap() {
            let set = set.as_array().unwrap();
            assert!(set.len() <= 30);
            for name in set {
                let value = root[name.as_str().unwrap()].as_str().unwrap();
                assert!((1..=1024).contains(&value.len()) && value.is_ascii(), "{name} {value}");
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        for metric in metrics {
            let name = metric["Name"].as_str().unwrap();
            assert!((1..=1024).contains(&name.len()));
            assert!(["Count", "Milliseconds"].contains(&metric["Unit"].as_str().unwrap()));
            assert!(root[name].is_number(), "{name}");
        }
    }
    root
}

#[test]
fn a_call_is_a_line() {
    let root = check(&line("f", &record(), NOW));
    let mut expected = json!({
        "_aws": { "Timestamp": NOW, "CloudWatchMetrics": [{
            "Namespace": "nowd",
            "Dimensions": [["Function", "Status"]],
            "Metrics": [
                { "Name": "Calls", "Unit": "Count" },
                { "Name": "Total", "Unit": "Milliseconds" },
                { "Name": "Network", "Unit": "Milliseconds" },
                { "Name": "Gateway", "Unit": "Milliseconds" },
                { "Name": "Queue", "Unit": "Milliseconds" },
                { "Name": "Plugin", "Unit": "Milliseconds" },
            ],
        }] },
        "Function": "f", "Status": "ok", "Calls": 1,
        "Total": 31.234, "Network": 19.5, "Gateway": 10.5, "Queue": 0.017, "Plugin": 9.0,
        "id": "00000000-0000-0000-0000-000000000007", "status": "ok", "outcome": "executed", "http": 200, "attempts": 2,
    });
    let fields = expected.as_object_mut().unwrap();
    fields.insert("target".into(), "vehicle-1".into());
    fields.insert("method".into(), "window.set".into());
    fields.insert("caller".into(), record().caller.unwrap().into());
    fields.insert("traceparent".into(), record().traceparent.unwrap().into());
    assert_eq!(root, expected);
}

#[test]
fn without_a_reply_only_what_is_known() {
    let record = Record {
        target: None,
        method: None,
        caller: None,
        traceparent: None,
        status: ReplyStatus::Known(Status::InvalidRequest),
        outcome: Outcome::NotExecuted,
        timing: Elapsed::default(),
        error: Some("the body is not JSON\nat all \"\u{1b}".into()),
        ..record()
    };
    let root = check(&line("f", &record, NOW));
    let names: Vec<_> = root.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "Calls", "Function", "Status", "Total", "_aws", "attempts", "error", "http", "id", "outcome",
        "status",
    ];
    assert_eq!(names, expected);
    assert_eq!(root["error"], "the body is not JSON\nat all \"\u{1b}");
}

#[test]
fn what_others_say_is_bounded_and_no_dimension() {
    let long = "ü".repeat(300_000);
    let record = Record {
        status: ReplyStatus::Other(long.clone()),
        caller: Some(long.clone()),
        traceparent: Some(long.clone()),
        error: Some(long),
        timing: Elapsed { total: Duration::MAX, round_trip: Some(Duration::MAX), gateway: None },
        ..record()
    };
    let root = check(&line("f", &record, NOW));
    assert_eq!(root["Status"], "other");
    assert_eq!(root["caller"].as_str().unwrap().chars().count(), LONGEST);
}

#[test]
fn a_question_is_no_call() {
    let root = check(&line("f", &Record { method: Level::new(METHODS_METHOD).ok(), ..record() }, NOW));
    assert_eq!(
        root["_aws"]["CloudWatchMetrics"][0]["Metrics"],
        json!([{ "Name": "Questions", "Unit": "Count" }])
    );
    assert_eq!((&root["Questions"], &root["Calls"]), (&json!(1), &Value::Null));
    assert_eq!(root["Total"], 31.234);
}
