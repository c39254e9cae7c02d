//! A nucleus that is late, gone, unwilling or mad, and configurations that are wrong from the start.

use std::fs;
use std::time::Duration;

use nowd_plugin::BootInstant;
use nowd_testkit::{Bus, Fault, Style, wait_for, within};
use serde_json::json;

use super::core::{COMPONENT, Core, ECHO, TARGET};
use crate::bed::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nucleus_that_is_absent_restarts_refuses_or_is_mad() {
    let mut core = Core::new(Style::Lite);
    core.nucleus.set_configuration(COMPONENT, core.good());
    let cloud = core.cloud().await;
    core.nucleus.stop();
    // Nothing is known: it says so, and waits.
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "no gateway runs yet").await;
    gateway.wait_for_line(PATIENCE, "`link.endpoint` is not set").await;
    core.nucleus.listen();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    cloud.hears(TARGET, "echo", "ok").await;
    wait_for(PATIENCE, "what is kept", || core.kept()["component"]["nowd"].is_object()).await;
    // It restarts: calls go on, and what was changed meanwhile is taken up.
    core.nucleus.stop();
    assert_eq!(cloud.status(TARGET, "echo").await, "ok");
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"more.toml": ECHO.replace("\"echo\"", "\"more\"").replace("\"slow\"", "\"slower\"")}}));
    core.nucleus.listen();
    cloud.hears(TARGET, "more", "ok").await;
    drop(gateway);

    // Without the nucleus it starts with what was kept.
    core.nucleus.stop();
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    cloud.hears(TARGET, "more", "ok").await;
    drop(gateway);
    // With one that refuses everything, too.
    for operation in ["GetConfiguration", "SubscribeToConfigurationUpdate", "UpdateState"] {
        core.nucleus.refuse(operation, "UnauthorizedError", "not you");
    }
    core.nucleus.listen();
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    cloud.hears(TARGET, "more", "ok").await;
    for operation in ["GetConfiguration", "SubscribeToConfigurationUpdate", "UpdateState"] {
        core.nucleus.allow(operation);
    }
    // And with one that is mad for a while.
    for fault in [Fault::Garbage, Fault::CutOff, Fault::Huge] {
        core.nucleus.fault("GetConfiguration", fault);
    }
    let before = core.nucleus.ever_connected();
    core.nucleus.close_all();
    wait_for(PATIENCE, "more connections", || core.nucleus.ever_connected() >= before + 3).await;
    assert_eq!(cloud.status(TARGET, "more").await, "ok");
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"more.toml": ""}}));
    cloud.hears(TARGET, "more", "unknown_method").await;
    assert_eq!(cloud.status(TARGET, "echo").await, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_from_the_start_costs_one_exit_and_is_mended_by_a_deployment() {
    let mut core = Core::new(Style::Classic);
    let mut wrong = core.good();
    wrong["nowd"]["lnik"] = json!({});
    core.nucleus.set_configuration(COMPONENT, wrong);
    let mut gateway = core.start();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(78), "{:?}", gateway.lines());
    let said = gateway.lines().join("\n");
    assert!(
        said.contains("component configuration, `nowd`: unknown key `lnik`; did you mean `link`?"),
        "{said}"
    );
    // From now on it waits.
    for _ in 0..2 {
        let mut gateway = core.start();
        gateway.wait_for_line(PATIENCE, "no gateway runs yet").await;
        let asked = BootInstant::now();
        gateway.terminate();
        assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
        assert!(BootInstant::now().saturating_since(asked) < Duration::from_secs(4));
    }
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "no gateway runs yet").await;
    core.nucleus.set_configuration(COMPONENT, core.good());
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"more.toml": ""}}));
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    core.cloud().await.hears(TARGET, "echo", "ok").await;
    wait_for(PATIENCE, "the exit to be forgotten", || !core.work().join("greengrass-exit").exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_told_and_taken_up_when_it_comes() {
    let mut core = Core::new(Style::Lite);
    let mut good = core.good();
    let key = core.path(&format!("{TARGET}.key"));
    let away = core.path("away");
    fs::rename(&key, &away).unwrap();
    good["maps"] = json!(["com.example.Maps"]);
    core.nucleus.set_configuration(COMPONENT, good.clone());
    let gateway = core.start();
    gateway.wait_for_line(PATIENCE, "`maps` names com.example.Maps, which is not deployed here").await;
    let maps = json!({"methods.d": {"more.toml": ECHO.replace("\"echo\"", "\"more\"").replace("\"slow\"", "\"slower\"")}});
    core.nucleus.set_configuration("com.example.Maps", maps);
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"gone.toml": ""}}));
    gateway.wait_for_line(PATIENCE, &format!("{}", key.display())).await;
    fs::rename(&away, &key).unwrap();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let cloud = core.cloud().await;
    cloud.hears(TARGET, "more", "ok").await;
    // A change there is taken up as well.
    core.nucleus.merge("com.example.Maps", &json!({"methods.d": {"more.toml": ""}}));
    cloud.hears(TARGET, "more", "unknown_method").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_says_so_on_the_bus_and_a_gateway_takes_its_place() {
    let mut core = Core::new(Style::Classic);
    let bus = Bus::start();
    let mut good = core.good();
    good["nowd"]["bus"] = json!({"address": bus.address()});
    let key = core.path(&format!("{TARGET}.key"));
    let away = core.path("away");
    fs::rename(&key, &away).unwrap();
    core.nucleus.set_configuration(COMPONENT, good);
    let mut gateway = core.start_as_this_user();
    gateway.wait_for_line(PATIENCE, "no gateway runs yet").await;
    let address = bus.address();
    let ask = async |args: &[&str]| core.nowd(&[args, &["--bus", &address]].concat()).await;
    let until = async |expected: &str| {
        within(PATIENCE, expected, async {
            while !ask(&["status"]).await.1.contains(expected) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    until("PROBLEM  no gateway runs yet, so no call comes from anywhere: ").await;
    let (code, text) = ask(&["status", "--check"]).await;
    assert!(code == 1 && text.contains(&key.display().to_string()), "{text}");
    let (code, text) = ask(&["reload"]).await;
    assert!(code == 78 && text.contains(&key.display().to_string()), "{text}");
    let (code, text) = ask(&["call", "echo"]).await;
    assert!(code == 3 && text.contains("no gateway runs yet, so nothing was done"), "{text}");
    fs::rename(&away, &key).unwrap();
    drop(ask(&["reload"]).await);
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    until("up for").await;
    until("link     up").await;
    let (code, text) = ask(&["call", "echo"]).await;
    assert_eq!(code, 0, "{text}");

    // A gateway that is started anew is there again, on the same bus.
    core.nucleus.merge(COMPONENT, &json!({"nowd": {"log": {"level": "debug"}, "link": {"probe": "30s"}}}));
    gateway.wait_for_line(PATIENCE, "`link`, `log` was changed as well: the gateway starts anew").await;
    until("link     up").await;
    // What is said of each further attempt is of the level that was asked for.
    core.broker.stop();
    gateway.wait_for_line(PATIENCE, "DEBUG nowd::uplink").await;
    let asked = BootInstant::now();
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    assert!(BootInstant::now().saturating_since(asked) < Duration::from_secs(4));
}

/// Whoever looks at a core sees why it gets no identity, not only that it has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_why_there_is_no_identity_yet() {
    let core = Core::new(Style::Classic);
    let bus = Bus::start();
    core.nucleus.set_configuration(
        COMPONENT,
        json!({"nowd": {
            "bus": {"address": bus.address()},
            "provisioning": {"template": "gateways", "certificate": "/nowhere/claim.crt", "key": "/nowhere/claim.key"},
        }}),
    );
    let _gateway = core.start_as_this_user();
    let address = bus.address();
    within(PATIENCE, "the reason", async {
        while !core.nowd(&["status", "--bus", &address]).await.1.contains("the last attempt: /nowhere/claim.")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
