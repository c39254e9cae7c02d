//! Plugins in processes of their own, through the real gateway: those that describe themselves, and shipped ones.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use nowd_cloud::Invoker;
use nowd_plugin::service::Service;
use nowd_plugin::{BoxFuture, Call, Completion, Lane, Method, Plugin, Policy};
use nowd_testkit::{Process, wait_for, within};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, PATIENCE, nowd, request, within_ms, words};

const DROP_IN: &str = r#"
[plugin]
name = "com.example.Gate"
path = "/com/example/Gate"
[methods."gate.open"]
max_timeout = "25s"
[methods."gate.hang"]
allow = ["nobody"]
[methods."gate.opne"]
"#;

impl Bed {
    pub(crate) fn drop_in(&self, name: &str, text: &str) {
        let folder = self.folder.path().join("plugins.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }

    async fn gateway_on_the_bus(&self, more: &[&str]) -> Process {
        let address = format!("bus.address={}", self.bus.address());
        self.gateway_with(&[&["--set", &address], more].concat()).await
    }

    /// A shipped plugin in a process of its own.
    fn serve(&self, plugin: &str) -> Process {
        let config = self.config();
        let bus = self.bus.address();
        nowd(&["plugin", "serve", plugin, "--config", config.to_str().unwrap(), "--bus", &bus])
    }
}

/// Calls that take some time, methods that change.
#[derive(Debug)]
struct Gate(Vec<&'static str>);

impl Plugin for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn methods(&self) -> Vec<Method> {
        let method = |name: &&str| Method {
            name: (*name).into(),
            description: "A gate".into(),
            origin: "here".into(),
            place: None,
            lane: Lane::exclusive("motor"),
            policy: Policy::default(),
            params: None,
        };
        self.0.iter().map(method).collect()
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            if call.method == "gate.hang" {
                call.cancelled.cancelled().await;
            }
            Completion::Ok(json!(call.method))
        })
    }
}

/// Serves a gate until the token is cancelled.
pub(crate) fn gate(bed: &Bed, tasks: &mut JoinSet<()>, methods: &[&'static str]) -> CancellationToken {
    let bus = bed.bus.address().parse().unwrap();
    let service =
        Service::new(Arc::new(Gate(methods.to_vec())), bus, "com.example.Gate", "/com/example/Gate");
    let (service, stop) = (service.unwrap(), CancellationToken::new());
    let until = stop.clone();
    tasks.spawn(async move { service.run(until).await.unwrap() });
    stop
}

pub(crate) async fn until(cloud: &Invoker, method: &str, expected: &str) {
    within(PATIENCE, &format!("{method}: {expected}"), async {
        while words(&cloud.invoke(request(method, "{}")).await) != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn methods_come_with_a_description_and_stay_when_the_plugin_goes() {
    let mut bed = Bed::new().await;
    bed.drop_in("gate", DROP_IN);
    let gateway = bed.gateway_on_the_bus(&[]).await;
    let cloud = bed.cloud().await;
    let ask = async |method| cloud.invoke(request(method, "{}")).await;
    assert_eq!(words(&ask("gate.open").await), "unavailable not_executed null", "named, and not there");
    assert_eq!(words(&ask("gate.close").await), "unknown_method not_executed null", "nobody named it");
    let mut tasks = JoinSet::new();
    let stop = gate(&bed, &mut tasks, &["gate.open", "gate.close", "echo"]);
    until(&cloud, "gate.open", "ok executed \"gate.open\"").await;
    assert_eq!(words(&ask("gate.close").await), "ok executed \"gate.close\"");
    assert_eq!(words(&ask("gate.hang").await), "forbidden not_executed null", "nobody may");
    assert_eq!(words(&ask("echo").await), "ok executed {}", "it is the simulator's still");
    wait_for(PATIENCE, "what is wrong is told", || {
        let told = |text: &str| gateway.lines().iter().any(|line| line.contains(text));
        told("did you mean \\\"gate.open\\\"?") && told("\\\"echo\\\" is already declared in")
    })
    .await;
    stop.cancel();
    until(&cloud, "gate.open", "unavailable not_executed null").await;
    let answer = ask("gate.open").await;
    let error = answer.error.unwrap();
    assert!(error.message.contains("com.example.Gate"), "{error:?}");
    // Another version of it.
    let _stop = gate(&bed, &mut tasks, &["gate.open", "gate.hang"]);
    until(&cloud, "gate.open", "ok executed \"gate.open\"").await;
    until(&cloud, "gate.close", "unknown_method not_executed null").await;
    assert_eq!(words(&ask("gate.hang").await), "forbidden not_executed null");
}

#[tokio::test]
async fn a_plugin_that_changes_its_mind_costs_nobody_a_call_that_waits() {
    let mut bed = Bed::new().await;
    bed.drop_in("gate", DROP_IN);
    let _gateway = bed.gateway_on_the_bus(&[]).await;
    let cloud = Arc::new(bed.cloud().await);
    // The lane runs one at a time, 400 ms each: the last ones wait while descriptions come and go.
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let cloud = Arc::clone(&cloud);
        calls.spawn(async move { words(&cloud.invoke(request("one", "{}")).await) });
    }
    let mut tasks = JoinSet::new();
    let stop = gate(&bed, &mut tasks, &["gate.open"]);
    until(&cloud, "gate.open", "ok executed \"gate.open\"").await;
    stop.cancel();
    until(&cloud, "gate.open", "unavailable not_executed null").await;
    let _stop = gate(&bed, &mut tasks, &["gate.open", "gate.close"]);
    until(&cloud, "gate.close", "ok executed \"gate.close\"").await;
    let mut left = 0;
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap(), "ok executed {}");
        left += 1;
    }
    assert_eq!(left, 8);
}

#[tokio::test]
async fn a_shipped_plugin_in_a_process_of_its_own() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway_on_the_bus(&["--set", "isolate=serial"]).await;
    let cloud = bed.cloud().await;
    let arm = async || cloud.invoke(request("alarm.arm", "{\"zone\":3}")).await;
    let absent = arm().await;
    assert_eq!(words(&absent), "unavailable not_executed null");
    let message = absent.error.unwrap().message;
    let advice = "has the name io.nowd.Plugin.serial; start it: nowd plugin serve serial, or systemctl start nowd-plugin@serial";
    assert!(message.ends_with(advice), "{message}");
    let serial = bed.serve("serial");
    let armed = "ok executed {\"state\":\"armed\"}";
    let in_the_end = async |expected: &str| {
        within(PATIENCE, expected, async {
            while words(&arm().await) != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    in_the_end(armed).await;
    assert!(!gateway.lines().iter().any(|line| line.contains("port panel")), "the gateway opens no port");
    drop(serial);
    in_the_end("unavailable not_executed null").await;
    // Killed in mid-call.
    let serial = bed.serve("serial");
    in_the_end(armed).await;
    let hang = cloud.invoke(within_ms("alarm.hang", "{}", 10_000));
    let kill = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(serial);
    };
    let (answer, ()) = tokio::join!(hang, kill);
    assert_eq!(words(&answer), "failed unknown null");
    assert_eq!(answer.error.unwrap().code, "plugin_gone");
    // With other maps than the gateway's.
    let panel = bed.folder.path().join("methods.d/panel.toml");
    let text = fs::read_to_string(&panel).unwrap();
    fs::write(&panel, text.replace("ARM $zone", "DISARM $zone")).unwrap();
    let _serial = bed.serve("serial");
    within(PATIENCE, "the other maps are noticed", async {
        loop {
            let answer = arm().await;
            assert_eq!(words(&answer), "unavailable not_executed null");
            if answer.error.unwrap().code == "other_maps" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    gateway.hang_up();
    within(PATIENCE, "both have the same again", async {
        while arm().await.error.is_some_and(|error| error.code == "other_maps") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
