//! The link through the nucleus: the real program beside the stand-in, which is bridged to a real broker.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nowd_cloud::{Answer, Config, Invoker};
use nowd_link::Options;
use nowd_plugin::BootInstant;
use nowd_protocol::Level;
use nowd_testkit::{Mosquitto, Nucleus, Process, Style, wait_for, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::core::COMPONENT;
use crate::bed::{PATIENCE, raw};

mod beside;
mod found;
mod switched;

/// What the gateway is called where nothing says otherwise: the core's thing.
const TARGET: &str = "core-1";
const LONG: Duration = Duration::from_secs(20);
const MAP: &str =
    "[simulator]\n[lane]\nconcurrency = 8\n[methods.\"echo\"]\n[methods.\"slow\"]\ndelay = \"1500ms\"\n";

struct Via {
    nucleus: Nucleus,
    folder: TempDir,
    tasks: JoinSet<()>,
}

impl Via {
    fn new(nucleus: Nucleus) -> Self {
        Self { nucleus, folder: tempfile::tempdir().unwrap(), tasks: JoinSet::new() }
    }

    fn configure(&self, more: &Value) {
        let mut nowd = json!({
            "clock": "untrusted",
            "link": {"via": "greengrass", "silence": "2s", "probe": "1s"},
            "access": {"default": "cloud-*"},
            "bus": {"serve": "false"},
            "log": {"format": "json", "level": "info,nowd=debug"},
        });
        for (key, value) in more.as_object().unwrap() {
            nowd.as_object_mut().unwrap().insert(key.clone(), value.clone());
        }
        let all = json!({"accessControl": {}, "nowd": nowd, "methods.d": {"echo.toml": MAP}});
        self.nucleus.set_configuration(COMPONENT, all);
    }

    fn work(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn start(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nowd"));
        command.args(["run", "--state-dir"]).arg(self.work()).current_dir(self.work()).env_clear();
        command.env("PATH", "/usr/bin:/bin").envs(self.nucleus.environment(COMPONENT));
        Process::start(command)
    }

    async fn cloud(&mut self, broker: &Mosquitto) -> Arc<Invoker> {
        let options = Options::new("cloud", "127.0.0.1", broker.port());
        let (invoker, background) =
            Invoker::new(Config::new(options, Level::new("cloud-1").unwrap())).unwrap();
        self.tasks.spawn(background.run(CancellationToken::new()));
        within(PATIENCE, "the cloud side's connection", invoker.connected()).await;
        Arc::new(invoker)
    }

    /// What the gateway has answered to this id, in order.
    fn replies(&self, id: &str) -> Vec<Value> {
        let topic = format!("cloud-1/{id}/{TARGET}/");
        let all = self.nucleus.published();
        let replies = all.iter().filter(|message| message.topic.starts_with(&topic));
        replies.map(|reply| serde_json::from_slice(&reply.payload).unwrap()).collect()
    }

    async fn reply(&self, id: &str, count: usize) -> Value {
        wait_for(PATIENCE, "a reply", || self.replies(id).len() >= count).await;
        self.replies(id).remove(count - 1)
    }

    fn ask(&self, method: &str, id: &str, not_after: &Value, request: &Value) {
        let body = json!({"id": id, "timestamp": 1, "timeout": 5000, "request": request, "attempt": 1, "not_after": not_after});
        self.nucleus.publish(&format!("{TARGET}/{method}/cloud-1/{id}"), body.to_string().as_bytes());
    }

    /// The gateway's clock: what a deadline is made of.
    async fn stamp(&self, id: &str) -> (Value, u64) {
        self.ask("echo", id, &json!({"incarnation": uuid::Uuid::nil(), "at": 1}), &json!(null));
        let reply = self.reply(id, 1).await;
        let of = |what: &str| reply.pointer(what).unwrap().clone();
        assert_eq!(of("/status"), "resync", "{reply}");
        (of("/gateway/incarnation"), of("/gateway/now").as_u64().unwrap())
    }
}

fn id(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

async fn call(cloud: &Invoker, method: &str, text: &str, budget: Duration) -> Answer {
    let level = |text: &str| Level::new(text).unwrap();
    let request = nowd_cloud::CallRequest::new(level(TARGET), level(method), raw(text), budget);
    cloud.invoke(request).await
}

/// With the stand-in's own AWS IoT Core, for what no broker does at will.
async fn alone(style: Style) -> (Via, Process) {
    let via = Via::new(Nucleus::start(style));
    if style == Style::Lite {
        via.nucleus.set_configuration("aws.greengrass.NucleusLite", json!({"iotDataEndpoint": "localhost"}));
    }
    via.configure(&json!({}));
    let gateway = via.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    (via, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_the_real_cloud_side_through_a_broker_and_a_nucleus() {
    let broker = Mosquitto::start();
    let mut via = Via::new(Nucleus::bridged(Style::Classic, &broker));
    via.configure(&json!({}));
    let cloud = via.cloud(&broker).await;
    let mut gateway = via.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    // Before its presence has come there is nobody of that name; and that nothing was done is believed of no process that began to
    // listen only while the call was under way.
    within(PATIENCE, "a call", async {
        loop {
            let answer = call(&cloud, "echo", "\"there?\"", Duration::from_secs(1)).await;
            match answer.status.as_str() {
                "ok" => return,
                "offline" | "no_reply" => tokio::time::sleep(Duration::from_millis(20)).await,
                other => panic!("{other}"),
            }
        }
    })
    .await;
    let other = via.cloud(&broker).await;
    for which in ["first", "second", "third"] {
        let began = BootInstant::now();
        assert_eq!(call(&other, "echo", "1", LONG).await.status.as_str(), "ok");
        println!("the {which} call took {:?}", BootInstant::now().saturating_since(began));
    }
    let presence =
        via.nucleus.published().into_iter().find(|message| message.topic == "nowd/presence/core-1");
    let presence: Value = serde_json::from_slice(&presence.unwrap().payload).unwrap();
    assert_eq!((&presence["online"], &presence["via"]), (&json!(true), &json!("greengrass")));

    // Inside the time that a nucleus gives, with a call that runs.
    let running = {
        let cloud = Arc::clone(&cloud);
        via.tasks.spawn(async move {
            assert_eq!(call(&cloud, "slow", "1", LONG).await.status.as_str(), "ok");
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = BootInstant::now();
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    assert!(BootInstant::now().saturating_since(asked) < Duration::from_secs(4));
    wait_for(PATIENCE, "the answer", || running.is_finished()).await;
    let last = via.nucleus.published().pop().unwrap();
    assert_eq!(last.topic, "nowd/presence/core-1");
    assert!(String::from_utf8(last.payload).unwrap().contains("\"online\":false"));
    assert_eq!(call(&cloud, "echo", "1", LONG).await.status.as_str(), "offline");
    assert_eq!(via.nucleus.mistakes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_lost_is_found_and_a_nucleus_that_restarts_is_found_again() {
    let (via, mut gateway) = alone(Style::Lite).await;
    let (incarnation, _) = via.stamp(&id(1)).await;
    via.nucleus.lose_subscriptions();
    gateway.wait_for_line(PATIENCE, "or has lost the subscription").await;
    wait_for(PATIENCE, "the subscription", || {
        gateway.lines().iter().filter(|line| line.contains("the link is up")).count() == 2
    })
    .await;
    assert_eq!(via.stamp(&id(2)).await.0, incarnation);

    via.nucleus.end_subscriptions();
    gateway.wait_for_line(PATIENCE, "ended the subscription to requests").await;
    wait_for(PATIENCE, "the subscription", || {
        gateway.lines().iter().filter(|line| line.contains("the link is up")).count() == 3
    })
    .await;
    via.nucleus.stop();
    gateway.wait_for_line(PATIENCE, "the connection to the nucleus was lost").await;
    via.nucleus.listen();
    wait_for(PATIENCE, "the subscription", || {
        gateway.lines().iter().filter(|line| line.contains("the link is up")).count() == 4
    })
    .await;
    assert_eq!(via.stamp(&id(3)).await.0, incarnation);
    assert_eq!(gateway.try_exit(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_delivered_late_does_not_run_and_what_is_delivered_twice_runs_once() {
    let (via, gateway) = alone(Style::Classic).await;
    let (incarnation, now) = via.stamp(&id(1)).await;
    let at = |seconds: u64| json!({"incarnation": incarnation, "at": now + seconds * 1_000_000});
    // A nucleus that was offline hands on what was kept for it.
    via.nucleus.hold();
    via.ask("echo", &id(2), &at(1), &json!("late"));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    via.nucleus.release();
    let late = via.reply(&id(2), 1).await;
    assert_eq!((&late["status"], &late["outcome"]), (&json!("expired"), &json!("not_executed")), "{late}");

    // A process that stood still.
    gateway.pause();
    via.ask("echo", &id(6), &json!({"incarnation": incarnation, "at": now + 2_000_000}), &json!("late"));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    gateway.resume();
    let late = via.reply(&id(6), 1).await;
    assert_eq!((&late["status"], &late["outcome"]), (&json!("expired"), &json!("not_executed")), "{late}");
    let now = late["gateway"]["now"].as_u64().unwrap();
    let at = |seconds: u64| json!({"incarnation": incarnation, "at": now + seconds * 1_000_000});

    for _ in 0..3 {
        via.ask("slow", &id(3), &at(5), &json!("once"));
    }
    let once = via.reply(&id(3), 1).await;
    assert_eq!((&once["status"], &once["outcome"]), (&json!("ok"), &json!("executed")), "{once}");
    via.ask("slow", &id(3), &at(5), &json!("once"));
    let again = via.reply(&id(3), 2).await;
    assert_eq!(again["response"], once["response"]);
    // A retained one, which lite would not tell from another.
    let retained = nowd_testkit::Published {
        topic: format!("{TARGET}/echo/cloud-1/{}", id(4)),
        payload: json!({"id": id(4), "timestamp": 1, "timeout": 5000, "request": 1, "not_after": at(5)})
            .to_string()
            .into_bytes(),
        retain: true,
        qos: 1,
        ..nowd_testkit::Published::default()
    };
    via.nucleus.publish_message(&retained);
    via.ask("echo", &id(5), &at(20), &json!("after"));
    via.reply(&id(5), 1).await;
    assert_eq!(via.replies(&id(4)), Vec::<Value>::new());
    // Of the three, and the one after, one was started.
    let of_it = |what: &str| {
        gateway.lines().iter().filter(|line| line.contains(what) && line.contains(&id(3))).count()
    };
    // The log is written beside.
    wait_for(PATIENCE, "the last line", || of_it("repeat of slow answered") >= 3).await;
    assert_eq!((of_it("call slow: ok"), of_it("repeat of slow answered")), (1, 3), "{:?}", gateway.lines());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_large_for_the_nucleus_says_so() {
    // One that takes long requests, so that an answer can be as long, and may say that it is lite.
    for is_lite in [false, true] {
        let via = Via::new(Nucleus::start(Style::Classic));
        if is_lite {
            via.nucleus
                .set_configuration("aws.greengrass.NucleusLite", json!({"iotDataEndpoint": "localhost"}));
        }
        via.configure(&json!({}));
        let gateway = via.start();
        gateway.wait_for_line(PATIENCE, "the link is up").await;
        let (incarnation, now) = via.stamp(&id(1)).await;
        let not_after = json!({"incarnation": incarnation, "at": now + 5_000_000});
        via.ask("echo", &id(2), &not_after, &json!("x".repeat(6_144)));
        let reply = via.reply(&id(2), 1).await;
        assert_eq!((&reply["status"], &reply["outcome"]), (&json!("ok"), &json!("executed")), "{reply}");
        assert_eq!(reply["response"].is_null(), is_lite, "{reply}");
        let code = if is_lite { json!("response_too_large") } else { Value::Null };
        assert_eq!(reply["error"]["code"], code, "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_recipe_does_not_allow_is_said_with_the_key_to_change() {
    let via = Via::new(Nucleus::start(Style::Classic));
    via.configure(&json!({}));
    via.nucleus.refuse("SubscribeToIoTCore", "UnauthorizedError", "Principal is not authorized");
    let mut gateway = via.start();
    let line = gateway.wait_for_line(PATIENCE, "the nucleus refused the subscription to core-1/+/+/+").await;
    assert!(line.contains("aws.greengrass#SubscribeToIoTCore") && line.contains("accessControl"), "{line}");
    via.nucleus.allow("SubscribeToIoTCore");
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    via.nucleus.refuse("PublishToIoTCore", "UnauthorizedError", "Principal is not authorized");
    let (body, topic) = (json!({"id": id(1), "timestamp": 1, "timeout": 5000, "request": 1}), id(1));
    via.nucleus.publish(&format!("{TARGET}/echo/cloud-1/{topic}"), body.to_string().as_bytes());
    let line = gateway.wait_for_line(PATIENCE, "the nucleus refused an answer of this gateway").await;
    assert!(line.contains("aws.greengrass#PublishToIoTCore"), "{line}");
    assert_eq!(gateway.try_exit(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nucleus_that_takes_its_time_delays_nothing_else() {
    let (via, mut gateway) = alone(Style::Classic).await;
    via.nucleus.hold();
    // The end comes in time, though the nucleus takes no goodbye.
    let asked = BootInstant::now();
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    assert!(BootInstant::now().saturating_since(asked) < Duration::from_secs(4));
    // Nobody else says it: there is no will.
    let said = |text: &str| gateway.lines().iter().any(|line| line.contains(text));
    assert!(said("the nucleus did not take the goodbye in time") && !said("the last will"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_nucleus_the_link_is_down_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nowd.toml");
    std::fs::write(&file, "target = \"core-1\"\nbus.serve = false\n[link]\nvia = \"greengrass\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nowd"));
    command.args(["run", "--config"]).arg(&file).arg("--state-dir").arg(folder.path());
    for variable in ["SVCUID", "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"] {
        command.env_remove(variable);
    }
    let mut gateway = Process::start(command);
    let line = gateway.wait_for_line(PATIENCE, "was not started by a nucleus").await;
    assert!(line.contains("the link is down") && line.contains("`link.via = \"direct\"`"), "{line}");
    assert_eq!(gateway.try_exit(), None);
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
}

#[test]
fn what_needs_more_is_refused_and_what_is_not_there_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let check = |more: &[&str]| {
        let file = folder.path().join("nowd.toml");
        std::fs::write(&file, "target = \"core-1\"\n[link]\nvia = \"greengrass\"\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nowd"));
        command.args(["check", "--config"]).arg(&file).arg("--state-dir").arg(folder.path());
        for set in more {
            command.args(["--set", set]);
        }
        let output = command.env_remove("SVCUID").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    for (set, code, says) in [
        (&[][..], 0, "no nucleus has started this one"),
        (&[], 0, "broker AWS IoT Core, through the Greengrass nucleus"),
        (&["compat.clients=invocation_"], 78, "`compat.clients`: these callers send no deadline"),
        (&["compat.clients=invocation_", "clock=trusted"], 0, "ok:"),
        (&["link.certificate=/c.pem"], 78, "`link.certificate`: is of a connection of the gateway's own"),
        (&["link.client_id=me"], 78, "`link.client_id`: is of a connection"),
        (&["link.endpoint=unused:8883"], 0, "ok:"),
        (&["link.via=nucleus"], 78, "via"),
    ] {
        let (found, text) = check(set);
        assert!(found == code && text.contains(says), "{set:?}: {found}: {text}");
    }
}
