//! From a deployment to a call, other configurations, and the end.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nowd_plugin::BootInstant;
use nowd_testkit::{Deployed, Style, wait_for};
use serde_json::json;
use tokio::task::JoinSet;

use super::core::{COMPONENT, Core, ECHO, TARGET, broker};
use crate::bed::PATIENCE;

async fn deployed(core: &Core, id: &str) -> Deployed {
    wait_for(PATIENCE, "the end of the deployment", || core.nucleus.deployed(id).is_some()).await;
    core.nucleus.deployed(id).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_deployment_to_a_call_and_to_the_end() {
    let mut core = Core::new(Style::Classic);
    core.nucleus.set_configuration(COMPONENT, core.good());
    let cloud = core.cloud().await;
    let mut gateway = core.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    cloud.hears(TARGET, "echo", "ok").await;
    wait_for(PATIENCE, "the state", || core.nucleus.states(COMPONENT) == ["RUNNING"]).await;
    wait_for(PATIENCE, "what is kept", || core.kept()["component"]["nowd"].is_object()).await;
    assert_eq!(core.kept()["component"].get("accessControl"), None);
    let mode = core.work().join("greengrass.json").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The operator's commands see the same.
    let work = core.work();
    let work = work.to_str().unwrap();
    let (code, text) = core.nowd(&["methods", "--state-dir", work]).await;
    assert!(code == 0 && text.contains("component configuration, methods.d/echo.toml"), "{text}");
    let (code, text) = core.nowd(&["check", "--state-dir", work]).await;
    assert!(code == 0 && text.contains(&format!("ok: target {TARGET}, broker localhost:")), "{text}");

    // Another set of methods: while a call runs the deployment waits for it.
    let (calls, slow) = (cloud.clone(), "slow");
    let mut running = JoinSet::new();
    running.spawn(async move { calls.status(TARGET, slow).await });
    let other = ECHO.replace("\"echo\"", "\"other\"");
    wait_for(PATIENCE, "deferral", || {
        // The call may not have begun when the first deployment comes.
        let taken = core.nucleus.deferrals();
        if taken.iter().any(|deferral| !deferral.recheck_after.is_zero()) {
            return true;
        }
        drop(core.nucleus.deploy(COMPONENT, json!({"methods.d": {"other.toml": ""}})));
        std::thread::sleep(Duration::from_millis(100));
        false
    })
    .await;
    let id = core.nucleus.deploy(COMPONENT, json!({"methods.d": {"echo.toml": other}}));
    assert_eq!(running.join_next().await.unwrap().unwrap(), "ok");
    assert_eq!(deployed(&core, &id).await, Deployed::Succeeded);
    cloud.hears(TARGET, "other", "ok").await;
    assert_eq!(cloud.status(TARGET, "echo").await, "unknown_method");

    // One that is wrong: the deployment fails with the place, and what was there goes on.
    let wrong = "[simulator]\n[methods.\"third\"]\ndealy = \"1s\"\n";
    let id = core.nucleus.deploy(COMPONENT, json!({"methods.d": {"third.toml": wrong}}));
    let Deployed::Rejected(why) = deployed(&core, &id).await else { panic!("taken") };
    assert!(why.contains("component configuration, methods.d/third.toml:3:1: unknown key `dealy`"), "{why}");
    assert_eq!(cloud.status(TARGET, "other").await, "ok");

    // One that comes without having been judged, as on lite.
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"third.toml": wrong}}));
    gateway.wait_for_line(PATIENCE, "the new configuration is rejected").await;
    assert_eq!(cloud.status(TARGET, "other").await, "ok");
    assert_eq!(core.kept()["component"]["methods.d"].get("third.toml"), None);
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"third.toml": ""}}));

    // Another broker, by the nucleus: a gateway begins anew in the same process, with another incarnation.
    let first = cloud.call(TARGET, "other").await;
    assert_eq!(first.status.as_str(), "ok");
    let second = broker(&core.ca);
    let elsewhere = core.cloud_at(second.port()).await;
    let endpoint = json!({"iotDataEndpoint": format!("localhost:{}", second.port())});
    core.nucleus.merge("aws.greengrass.Nucleus", &endpoint);
    gateway.wait_for_line(PATIENCE, "`link` was changed as well: the gateway starts anew").await;
    elsewhere.hears(TARGET, "other", "ok").await;
    assert_eq!(gateway.try_exit(), None);
    let starts =
        gateway.lines().iter().filter(|line| line.contains("greengrass::run: starting version")).count();
    assert_eq!(starts, 2, "{:?}", gateway.lines());

    // The first has said that it is gone. The second has an incarnation of its own: whatever was sent to the first is refused.
    let (gone, there) = (core.presence(core.broker.port()).await, core.presence(second.port()).await);
    assert_eq!((gone["online"].as_bool(), there["online"].as_bool()), (Some(false), Some(true)));
    assert_ne!(gone["incarnation"], there["incarnation"]);

    let asked = BootInstant::now();
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    assert!(
        BootInstant::now().saturating_since(asked) < Duration::from_secs(4),
        "{:?}",
        BootInstant::now().saturating_since(asked)
    );
    assert_eq!(core.nucleus.mistakes(), Vec::<String>::new());
}
