//! What only a start shows, and what is in the way of one: the gateway of before goes on.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use nowd_plugin::BootInstant;
use nowd_testkit::{Style, wait_for};
use serde_json::json;

use super::core::{COMPONENT, Core, ECHO, TARGET};
use crate::bed::PATIENCE;

/// Wants a journal, whose place something else has, and renames a method.
fn with_journal(core: &Core) -> serde_json::Value {
    fs::write(core.work().join("journal"), "something else").unwrap();
    fs::set_permissions(core.work().join("journal"), Permissions::from_mode(0o666)).unwrap();
    json!({"nowd": {"journal": {"enabled": true}}, "methods.d": {"echo.toml": ECHO.replace("\"echo\"", "\"other\"")}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_cannot_be_opened_is_found_before_the_gateway_of_before_ends() {
    let mut core = Core::new(Style::Classic);
    core.nucleus.set_configuration(COMPONENT, core.good());
    let cloud = core.cloud().await;
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    cloud.hears(TARGET, "echo", "ok").await;
    let change = with_journal(&core);

    // A deployment that asks first hears it.
    let id = core.nucleus.deploy(COMPONENT, change.clone());
    wait_for(PATIENCE, "the end of the deployment", || core.nucleus.deployed(&id).is_some()).await;
    let said = format!("{:?}", core.nucleus.deployed(&id));
    assert!(said.contains("is not a journal of this version"), "{said}");

    // One that comes unasked is refused.
    core.nucleus.merge(COMPONENT, &change);
    let line = gateway.wait_for_line(PATIENCE, "the new configuration is rejected").await;
    assert!(line.contains("is not a journal of this version"), "{line}");
    assert_eq!(cloud.status(TARGET, "echo").await, "ok");
    assert_eq!(core.kept()["component"]["nowd"].get("journal"), None);

    // With its place free it is taken.
    fs::remove_file(core.work().join("journal")).unwrap();
    core.nucleus.merge(COMPONENT, &json!({"nowd": {"access": {"default": ["cloud-*", "nobody-*"]}}}));
    cloud.hears(TARGET, "other", "ok").await;
    wait_for(PATIENCE, "what is kept", || core.kept()["component"]["nowd"].get("journal").is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_latest_cannot_start_the_one_before_does() {
    let mut core = Core::new(Style::Classic);
    core.nucleus.set_configuration(COMPONENT, core.good());
    let cloud = core.cloud().await;
    let mut gateway = core.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    wait_for(PATIENCE, "what is kept", || core.kept()["component"]["nowd"].is_object()).await;
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));

    // While no process runs, nobody judges it.
    let change = with_journal(&core);
    core.nucleus.merge(COMPONENT, &change);
    let gateway = core.start();
    let line = gateway.wait_for_line(PATIENCE, "the deployment of before goes on").await;
    assert!(line.contains("is not a journal of this version"), "{line}");
    cloud.hears(TARGET, "echo", "ok").await;
    assert_eq!(core.kept()["component"]["nowd"].get("journal"), None);

    fs::remove_file(core.work().join("journal")).unwrap();
    core.nucleus.merge(COMPONENT, &json!({"nowd": {"access": {"default": ["cloud-*", "nobody-*"]}}}));
    cloud.hears(TARGET, "other", "ok").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_folder_that_cannot_be_written_stops_no_call() {
    let mut core = Core::new(Style::Classic);
    core.nucleus.set_configuration(COMPONENT, core.good());
    // The component's user may read it.
    if nix::unistd::geteuid().is_root() {
        chown(core.work(), Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(core.work(), Permissions::from_mode(0o555)).unwrap();
    let cloud = core.cloud().await;
    let mut gateway = core.start();
    gateway.wait_for_line(PATIENCE, "what was deployed cannot be kept").await;
    cloud.hears(TARGET, "echo", "ok").await;
    // Another configuration is taken all the same.
    core.nucleus
        .merge(COMPONENT, &json!({"methods.d": {"echo.toml": ECHO.replace("\"echo\"", "\"other\"")}}));
    cloud.hears(TARGET, "other", "ok").await;
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    fs::set_permissions(core.work(), Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_in_time_while_it_takes_another_configuration() {
    // Told to stop as soon as something is said; what comes next is another configuration at another place each time.
    for at in [
        "starting as a component",
        "connected to the nucleus",
        "run: starting",
        "the link is up",
        "starts anew",
    ] {
        let core = Core::new(Style::Classic);
        core.nucleus.set_configuration(COMPONENT, core.good());
        let mut gateway = core.start();
        if at == "starts anew" {
            gateway.wait_for_line(PATIENCE, "the link is up").await;
            core.nucleus.merge(COMPONENT, &json!({"nowd": {"link": {"probe": "30s"}}}));
        }
        gateway.wait_for_line(PATIENCE, at).await;
        core.nucleus.merge(COMPONENT, &json!({"nowd": {"link": {"probe": "40s"}}}));
        let asked = BootInstant::now();
        gateway.terminate();
        assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0), "{at}: {:?}", gateway.lines());
        let took = BootInstant::now().saturating_since(asked);
        assert!(took < Duration::from_secs(4), "{at}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_while_a_deployment_is_written_is_read_again_before_it_counts() {
    const OLD: &str = "com.example.AOld";
    const NEW: &str = "com.example.BNew";
    let mut core = Core::new(Style::Classic);
    let mut good = core.good();
    good["maps"] = json!([OLD, NEW]);
    good["methods.d"] = json!({});
    core.nucleus.set_configuration(OLD, json!({"methods.d": {"old.toml": ECHO}}));
    core.nucleus.set_configuration(NEW, json!({"methods.d": {}}));
    core.nucleus.set_configuration(COMPONENT, good);
    let cloud = core.cloud().await;
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    cloud.hears(TARGET, "echo", "ok").await;

    // Between the answer of the one and that of the other, both are changed: the method moves.
    core.nucleus.set_delay(Duration::from_millis(300));
    let asked = core.nucleus.calls("GetConfiguration");
    core.nucleus.merge(COMPONENT, &json!({"nowd": {"access": {"default": ["cloud-*", "nobody-*"]}}}));
    wait_for(PATIENCE, "the question for the first", || core.nucleus.calls("GetConfiguration") == asked + 3)
        .await;
    core.nucleus.merge(OLD, &json!({"methods.d": {"old.toml": ""}}));
    let moved = format!("{ECHO}[methods.\"more\"]\n");
    core.nucleus.merge(NEW, &json!({"methods.d": {"new.toml": moved}}));
    cloud.hears(TARGET, "more", "ok").await;
    assert_eq!(cloud.status(TARGET, "echo").await, "ok");
    let lines = gateway.lines();
    assert!(!lines.iter().any(|line| line.contains("rejected")), "{lines:?}");
}
