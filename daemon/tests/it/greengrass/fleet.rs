//! Cores fresh from the factory: each gets an identity of its own by itself, and answers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nowd_cloud::{CallRequest, Config, Invoker};
use nowd_plugin::BootInstant;
use nowd_protocol::Level;
use nowd_testkit::{Access, Identity, Nucleus, Process, Style, wait_for, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::core::{COMPONENT, ECHO};
use crate::bed::{PATIENCE, raw};
use crate::provision::service::{Act, CERTIFICATE, Service};

/// One core of a fleet; all run as this test's own user.
struct Fresh {
    thing: String,
    nucleus: Nucleus,
    work: TempDir,
}

/// What is deployed is the same for all.
fn configuration(service: &Service) -> Value {
    let Identity { ca, certificate, key } = service.ca.client("claim");
    json!({
        "nowd": {
            "clock": "untrusted",
            "link": {"ca": ca, "silence": "2s"},
            "access": {"default": ["cloud-*"]},
            "bus": {"serve": false},
            "provisioning": {
                "template": "fleet",
                "certificate": certificate,
                "key": key,
                "parameters": {"SerialNumber": {"env": "AWS_IOT_THING_NAME"}},
            },
        },
        "methods.d": {"echo.toml": ECHO},
    })
}

impl Fresh {
    fn new(number: usize, service: &Service) -> Self {
        let style = if number.is_multiple_of(2) { Style::Classic } else { Style::Lite };
        let (thing, nucleus) = (format!("core-{number}"), Nucleus::start(style));
        nucleus.set_thing_name(&thing);
        let endpoint = json!({"iotDataEndpoint": format!("localhost:{}", service.broker.port())});
        nucleus.set_configuration("aws.greengrass.Nucleus", endpoint);
        nucleus.set_configuration(COMPONENT, configuration(service));
        Self { thing, nucleus, work: tempfile::tempdir().unwrap() }
    }

    fn target(&self) -> String {
        format!("gw-{}", self.thing)
    }

    fn identity(&self) -> Option<toml::Table> {
        read(&self.work.path().join("identity/identity.toml"))
    }

    fn start(&self) -> Process {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nowd"));
        command.arg("run").arg("--state-dir").arg(self.work.path()).env_clear();
        command.envs(self.nucleus.environment(COMPONENT));
        Process::start(command)
    }
}

fn read(file: &Path) -> Option<toml::Table> {
    toml::from_str(&fs::read_to_string(file).ok()?).ok()
}

async fn cloud(service: &Service, tasks: &mut JoinSet<()>) -> Invoker {
    let config = Config::new(service.options("cloud"), Level::new("cloud").unwrap());
    let (invoker, background) = Invoker::new(config).unwrap();
    tasks.spawn(background.run(CancellationToken::new()));
    within(PATIENCE, "the cloud side's connection", invoker.connected()).await;
    invoker
}

async fn answers(cloud: &Invoker, target: &str) {
    let level = |text: &str| Level::new(text).unwrap();
    within(PATIENCE, &format!("an answer of {target}"), async {
        loop {
            let request = CallRequest::new(level(target), level("echo"), raw("1"), Duration::from_secs(10));
            if cloud.invoke(request).await.status.as_str() == "ok" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_cores_get_identities_of_their_own_and_one_that_was_killed_half_way_too() {
    let service = Service::start(Access::Everything).await;
    let mut tasks = JoinSet::new();
    let cloud = cloud(&service, &mut tasks).await;
    // The first is killed when it has a certificate that is not registered yet.
    service.acts(Act::Answer, Act::Silent);
    let first = Fresh::new(0, &service);
    let mut half_way = first.start();
    let pending = first.work.path().join("identity/pending.toml");
    let has_certificate = || read(&pending).is_some_and(|pending| pending.contains_key("certificate_id"));
    wait_for(PATIENCE, "a certificate that is pending", has_certificate).await;
    wait_for(PATIENCE, "a registration", || service.asked().len() == 2).await;
    half_way.kill();
    assert!(first.identity().is_none());
    service.acts(Act::Answer, Act::Answer);

    let cores: Vec<Fresh> = std::iter::once(first).chain((1..20).map(|n| Fresh::new(n, &service))).collect();
    let mut gateways = Vec::new();
    for core in &cores {
        gateways.push(core.start());
        // One after the other: mosquitto tells all who listen what AWS IoT Core tells only the one who has asked.
        wait_for(PATIENCE, &format!("an identity of {}", core.thing), || core.identity().is_some()).await;
    }
    for core in &cores {
        answers(&cloud, &core.target()).await;
    }
    let mut certificates: Vec<String> = cores
        .iter()
        .map(|core| {
            let identity = core.identity().unwrap();
            assert_eq!(identity["target"].as_str(), Some(core.target().as_str()));
            identity["certificate_id"].as_str().unwrap().to_owned()
        })
        .collect();
    certificates.sort();
    certificates.dedup();
    assert_eq!(certificates.len(), 20);
    let mut things: Vec<String> = service.registered().into_iter().map(|(_, thing)| thing).collect();
    things.sort();
    things.dedup();
    assert_eq!(things.len(), 20);
    service.assert_well_asked();
    for gateway in &gateways {
        gateway.terminate();
    }
    for gateway in &mut gateways {
        assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_and_tried_again_and_no_key_is_shown() {
    let service = Service::start(Access::Everything).await;
    let mut tasks = JoinSet::new();
    service.acts(Act::Answer, Act::Refuse(403, "AccessDenied", "Hook declined"));
    let core = Fresh::new(7, &service);
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "`link.certificate` is not set").await;
    gateway.wait_for_line(PATIENCE, "this gateway has no identity yet, and tries on").await;
    service.acts(Act::Answer, Act::Answer);
    gateway.wait_for_line(PATIENCE, "this gateway has an identity now").await;
    let certificates = service.asked().iter().filter(|topic| *topic == CERTIFICATE).count();
    assert_eq!(certificates, 1, "the one that was refused is registered later");
    let cloud = cloud(&service, &mut tasks).await;
    answers(&cloud, &core.target()).await;
    let said = gateway.lines().join("\n");
    assert!(!said.contains("PRIVATE") && !said.contains(&core.nucleus.token(COMPONENT)), "{said}");
    for token in service.tokens() {
        assert!(!said.contains(&token), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_provisioning_is_soon() {
    let service = Service::start(Access::Everything).await;
    service.acts(Act::Silent, Act::Silent);
    let core = Fresh::new(8, &service);
    let mut gateway = core.start();
    wait_for(PATIENCE, "a request for a certificate", || !service.asked().is_empty()).await;
    let asked = BootInstant::now();
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    assert!(BootInstant::now().saturating_since(asked) < Duration::from_secs(4));
}
