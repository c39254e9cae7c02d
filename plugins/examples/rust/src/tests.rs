//! The gate by itself; no bus and no daemon are needed for that.

use std::fs;
use std::time::Duration;

use nowd_plugin::Deadline;
use serde_json::Value;
use uuid::Uuid;

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn call(method: &str, params: Value, budget: Duration) -> Call {
    Call::new(Uuid::new_v4(), method, params, Deadline::after(budget))
}

#[tokio::test]
async fn it_opens_and_says_when_it_acted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record");
    let gate = Gate { record: Record::to(Some(file.clone())), ..Gate::new() };
    let open = call("gate.open", json!({"percent": 20}), LONG);
    assert_eq!(gate.invoke(&open).await, Completion::Ok(json!({"percent": 20.0})));
    let position = call("gate.position", json!({}), LONG);
    assert_eq!(gate.invoke(&position).await, Completion::Ok(json!({"percent": 20.0, "moving": false})));
    let record = fs::read_to_string(file).unwrap();
    let [acted, id, not_after, what @ ..] = &record.trim().split(' ').collect::<Vec<_>>()[..] else {
        panic!("{record}")
    };
    assert_eq!((*id, what), (&*open.id.to_string(), &["open", "20"][..]));
    assert!(acted.parse::<u64>().unwrap() < not_after.parse().unwrap());
}

#[tokio::test]
async fn too_late_it_does_nothing() {
    let gate = Gate::new();
    for method in ["gate.open", "gate.halt"] {
        let late = call(method, json!({"percent": 90}), Duration::ZERO);
        assert!(matches!(gate.invoke(&late).await, Completion::Expired(_)));
    }
    assert!(!gate.motor.is_moving() && gate.motor.percent() == 0.0);
}

#[tokio::test]
async fn the_latest_command_wins_and_a_cancelled_one_stops() {
    let gate = Gate::new();
    let open = call("gate.open", json!({"percent": 100}), LONG);
    let halt = call("gate.halt", json!({}), LONG);
    let (opened, halted) = tokio::join!(gate.invoke(&open), gate.invoke(&halt));
    assert!(matches!(&opened, Completion::Failed { outcome: Outcome::Unknown, .. }), "{opened:?}");
    assert!(matches!(&halted, Completion::Ok(_)), "{halted:?}");
    let cancelled = call("gate.open", json!({"percent": 100}), LONG);
    cancelled.cancelled.cancel();
    let ended = gate.invoke(&cancelled).await;
    assert!(matches!(&ended, Completion::Timeout(error) if error.code == "stopped"), "{ended:?}");
    assert!(!gate.motor.is_moving());
}
