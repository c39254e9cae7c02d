use std::collections::BTreeMap;
use std::sync::Arc;

use nowd_plugin::map::MapSource;
use nowd_plugin::{Call, Completion, Deadline, Plugin};
use nowd_plugin_serial::{PortConfig, SerialPlugin};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn answers() {
    let mut panel = Panel::default();
    let long = format!("STATUS {}1", "0".repeat(LONGEST_COMMAND));
    for (command, expected) in [
        ("STATUS 3", Some("OK idle")),
        ("ARM 3", Some("OK armed")),
        ("STATUS 3", Some("OK armed")),
        ("STATUS 8", Some("OK idle")),
        ("SILENCE 3", Some("OK silent")),
        ("ARM 0", Some("ERR no such zone")),
        ("ARM 9", Some("ERR no such zone")),
        ("ARM x", Some("ERR no such zone")),
        ("ARM", Some("ERR unknown command")),
        ("", Some("ERR unknown command")),
        ("arm 3", Some("ERR unknown command")),
        (&long, Some("ERR unknown command")),
        ("HANG", None),
    ] {
        assert_eq!(panel.answer(command).as_deref(), expected, "{command}");
    }
}

const MAP: &str = r#"
[serial]
port = "alarm"
framing = { line = "\r\n" }
[methods."alarm.arm"]
send = "ARM $zone"
reply = '^OK (?<state>\w+)$'
refused = '^ERR (?<message>.+)$'
params.zone = { type = "integer" }
[methods."alarm.hang"]
send = "HANG"
reply = '^OK'
"#;

/// The panel behind the serial plugin, while it talks without being asked.
#[tokio::test]
async fn works_with_the_serial_plugin_over_a_pty() {
    let (device, master) = on_pty().unwrap();
    let ports = BTreeMap::from([("alarm".to_owned(), PortConfig::new(device))]);
    let map = MapSource { file: "alarm.toml".into(), text: MAP.into() };
    let plugin = SerialPlugin::load(&ports, &[map], None).unwrap();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&plugin).run(stop.clone()));
    let panel_stop = stop.clone();
    tasks.spawn(async move {
        serve_with_events(master, Duration::from_millis(5), panel_stop).await.unwrap();
    });

    let call = async |method: &str, params: Value, budget: Duration| {
        plugin.invoke(&Call::new(Uuid::new_v4(), method, params, Deadline::after(budget))).await
    };
    let bound = Deadline::after(LONG);
    while !matches!(call("alarm.arm", json!({"zone": 1}), Duration::ZERO).await, Completion::Expired(_)) {
        assert!(bound.check().is_ok());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..20 {
        let armed = call("alarm.arm", json!({"zone": 3}), LONG).await;
        assert_eq!(armed, Completion::Ok(json!({"state": "armed"})));
    }
    let refused = call("alarm.arm", json!({"zone": 9}), LONG).await;
    assert!(matches!(&refused, Completion::Refused(e) if e.message == "no such zone"), "{refused:?}");
    let hung = call("alarm.hang", Value::Null, Duration::from_millis(100)).await;
    assert!(matches!(hung, Completion::Timeout(_)), "{hung:?}");
    let armed = call("alarm.arm", json!({"zone": 4}), LONG).await;
    assert_eq!(armed, Completion::Ok(json!({"state": "armed"})));
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
