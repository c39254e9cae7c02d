//! Values that the gateway reads by itself.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nowd_cloud::Invoker;
use nowd_testkit::{Pty, wait_for, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::bed::{Bed, PATIENCE, comes_back, request, words};

const METER: &str = r#"
[serial]
port = "meter"
framing = { line = "\n" }
[methods."meter.level"]
send = "LEVEL $unit"
reply = '^L (?<level>\d+)$'
params.unit = { type = "string", enum = ["mm", "cm"], default = "mm" }
poll = "100ms"
timeout = "500ms"
[methods."meter.set"]
send = "SET $to"
reply = '^OK$'
params.to = { type = "integer", minimum = 0, maximum = 99 }
"#;

/// A meter at a serial port: tells its level in millimetres, and lets it be set. It can fall silent.
async fn meter(mut pty: Pty, mute: Arc<AtomicBool>) {
    let (mut level, mut line) = ("7".to_owned(), Vec::new());
    while let Ok(byte) = pty.read_u8().await {
        if byte != b'\n' {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
        let answer = match text.split_once(' ') {
            Some(("LEVEL", "mm")) => format!("L {level}\n"),
            Some(("SET", to)) => {
                level = to.to_owned();
                "OK\n".to_owned()
            }
            // Two frames that run into each other.
            _ => unreachable!("the meter does not understand {text:?}"),
        };
        if !mute.load(Ordering::Relaxed) {
            pty.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

/// The answer to a call of the meter's level, once it is `good`.
async fn level(cloud: &Invoker, good: impl Fn(&Value) -> bool) -> Value {
    within(PATIENCE, "a level", async {
        loop {
            let answer = cloud.invoke(request("meter.level", "null")).await;
            let value = serde_json::from_str(answer.response.get()).unwrap();
            if good(&value) {
                return value;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_value_is_read_beside_commands_and_told_with_its_age() {
    let mut bed = Bed::new().await;
    let pty = Pty::open();
    let port = format!("\n[ports.meter]\ndevice = \"{}\"\nsilence = \"20ms\"\n", pty.path().display());
    fs::write(bed.config(), fs::read_to_string(bed.config()).unwrap() + &port).unwrap();
    fs::write(bed.folder.path().join("methods.d/meter.toml"), METER).unwrap();
    let mute = Arc::new(AtomicBool::new(false));
    let mut device = JoinSet::new();
    device.spawn(meter(pty, Arc::clone(&mute)));
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;

    let good = |answer: &Value| answer["value"]["level"] == "7" && answer.get("error").is_none();
    let first = level(&cloud, good).await;
    assert!(first["age_ms"].is_u64(), "{first}");
    for to in 10..60 {
        let set = cloud.invoke(request("meter.set", &json!({ "to": to }).to_string())).await;
        assert_eq!(set.status.as_str(), "ok", "{:?}", set.error);
    }
    level(&cloud, |answer| answer["value"]["level"] == "59").await;
    let given = cloud.invoke(request("meter.level", r#"{"unit":"mm"}"#)).await;
    assert_eq!(given.status.as_str(), "ok", "what the gateway reads with anyway");
    let other = cloud.invoke(request("meter.level", r#"{"unit":"cm"}"#)).await;
    assert_eq!(words(&other), "invalid_request not_executed null");
    let offered = cloud.invoke(request("nowd.methods", r#"{"after":"meter.kind"}"#)).await;
    let offered: Value = serde_json::from_str(offered.response.get()).unwrap();
    assert_eq!(
        (&offered["methods"][0]["name"], &offered["methods"][0]["poll_ms"]),
        (&json!("meter.level"), &json!(100))
    );

    mute.store(true, Ordering::Relaxed);
    let old = level(&cloud, |answer| answer.get("error").is_some()).await;
    assert_eq!(old["value"]["level"], "59", "the last one that was read");
    let older = level(&cloud, |answer| answer["age_ms"].as_u64() > old["age_ms"].as_u64()).await;
    assert_eq!(older["value"]["level"], "59");
    mute.store(false, Ordering::Relaxed);
    level(&cloud, |answer| answer.get("error").is_none()).await;

    let lines = |text: &str| gateway.lines().iter().filter(|line| line.contains(text)).count();
    let told = || (lines("the method cannot be read"), lines("the method can be read again"));
    wait_for(PATIENCE, "one line when it fails, and one when it works", || {
        told().0 > 0 && told().0 == told().1
    })
    .await;
    let calls = |line: &String| line.contains("nowd::call") && line.contains("meter.level");
    wait_for(PATIENCE, "the calls in the log", || gateway.lines().iter().any(calls)).await;
    let own = gateway.lines().into_iter().filter(calls).find(|line| !line.contains("cloud-"));
    assert_eq!(own, None, "the gateway's own reads are no calls");
}
