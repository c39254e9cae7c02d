//! What the operator of many cores sees: whether the nucleus is there, and which deployment a core runs.

use std::time::Duration;

use nowd_testkit::{Bus, Style, within};
use serde_json::{Value, json};

use super::core::{COMPONENT, Core, ECHO};
use crate::bed::PATIENCE;
use crate::metrics::{OF_A_COMPONENT, names};

/// What `nowd status --json` says of it, when it says what is wanted.
async fn told(core: &Core, bus: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    within(PATIENCE, what, async {
        loop {
            let (_, text) = core.nowd(&["status", "--json", "--bus", bus]).await;
            let status: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(greengrass) = status.get("greengrass").filter(|greengrass| wanted(greengrass)) {
                return greengrass.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_says_which_deployment_it_runs_and_which_it_did_not_take() {
    let core = Core::new(Style::Classic);
    let bus = Bus::start();
    let address = bus.address();
    let ask = async |args: &[&str]| core.nowd(&[args, &["--bus", &address]].concat()).await.1;
    let mut good = core.good();
    good["nowd"]["bus"] = json!({"address": address});
    core.nucleus.set_configuration(COMPONENT, good);
    let gateway = core.start_as_this_user();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let first = told(&core, &address, "the first", |of| of["deployment"]["digest"].is_string()).await;
    assert_eq!(
        (&first["nucleus"]["connected"], &first["nucleus"]["kind"], &first["refused"]),
        (&json!(true), &json!("classic"), &Value::Null)
    );
    let digest = |of: &Value| of["digest"].as_str().unwrap().to_owned();
    let old = digest(&first["deployment"]);
    assert!(old.len() == 12 && old.bytes().all(|byte| byte.is_ascii_hexdigit()), "{old}");
    let text = ask(&["status"]).await;
    assert!(text.contains("nucleus  connected for ") && text.contains(" (classic)"), "{text}");
    assert!(text.contains(&format!("deployed {old} for ")), "{text}");
    gateway.wait_for_line(PATIENCE, &old).await;

    // Refused before it comes: the deployment fails.
    let wrong = "[simulator]\n[methods.\"third\"]\ndealy = \"1s\"\n";
    drop(core.nucleus.deploy(COMPONENT, json!({"methods.d": {"third.toml": wrong}})));
    let refused = told(&core, &address, "a refusal", |of| of["refused"].is_object()).await;
    let why = refused["refused"]["why"].as_str().unwrap();
    assert!(why.contains("unknown key `dealy`"), "{why}");
    let never = digest(&refused["refused"]);
    assert_ne!(never, old);
    let line = gateway.wait_for_line(PATIENCE, "cannot be used, and fails").await;
    assert!(line.contains("WARN") && line.contains("deployment-refused") && line.contains(&never), "{line}");
    // The same by itself, as on lite: one and the same deployment is known by one and the same digest.
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"third.toml": wrong}}));
    gateway.wait_for_line(PATIENCE, "the new configuration is rejected").await;
    let refused = told(&core, &address, "the second refusal", |of| of["refused"].is_object()).await;
    assert_eq!((digest(&refused["refused"]), digest(&refused["deployment"])), (never.clone(), old.clone()));
    let text = ask(&["status"]).await;
    assert!(text.contains(&format!("{never}, newer, was not taken ")), "{text}");
    let metrics = ask(&["metrics"]).await;
    for sample in [
        "nowd_nucleus_connected{target=\"core-1-nowd\"} 1".to_owned(),
        format!("nowd_deployment_info{{target=\"core-1-nowd\",digest=\"{old}\"}} 1"),
        "nowd_deployment_refused{target=\"core-1-nowd\"} 1".to_owned(),
    ] {
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }
    let names = names(&metrics);
    for line in OF_A_COMPONENT {
        assert!(names.lines().any(|name| name == line), "{line}: {names}");
    }

    // One that is right.
    let right = wrong.replace("dealy", "delay");
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"third.toml": right}}));
    let second = told(&core, &address, "the second", |of| of["deployment"]["digest"] != json!(old)).await;
    assert_eq!(second["refused"], Value::Null);
    gateway.wait_for_line(PATIENCE, &digest(&second["deployment"])).await;

    core.nucleus.stop();
    let lost = told(&core, &address, "the loss", |of| of["nucleus"]["why"].is_string()).await;
    assert_eq!(lost["nucleus"]["connected"], json!(false));
    assert_eq!(digest(&lost["deployment"]), digest(&second["deployment"]));
    let text = ask(&["status"]).await;
    assert!(text.contains("nucleus  NOT connected for "), "{text}");
    let metrics = ask(&["metrics"]).await;
    assert!(metrics.contains("nowd_nucleus_connected{target=\"core-1-nowd\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maps_that_come_later_are_waited_for_and_that_is_no_error() {
    let core = Core::new(Style::Lite);
    let bus = Bus::start();
    let address = bus.address();
    let mut good = core.good();
    good["nowd"]["bus"] = json!({"address": address});
    core.nucleus.set_configuration(COMPONENT, good);
    let gateway = core.start_as_this_user();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    core.nucleus.merge(COMPONENT, &json!({"maps": ["com.example.Maps"]}));
    let line = gateway.wait_for_line(PATIENCE, "waits for maps that are not here yet").await;
    assert!(line.contains("WARN") && line.contains("com.example.Maps"), "{line}");
    told(&core, &address, "the kind", |of| of["nucleus"]["kind"] == json!("lite")).await;
    let (code, text) = core.nowd(&["status", "--check", "--bus", &address]).await;
    assert!(code == 0 && text.contains("note     the configuration that came "), "{code}: {text}");
    // Not only they are missing.
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"wrong.toml": "[simulator]\nx = 1\n"}}));
    gateway.wait_for_line(PATIENCE, "the new configuration is rejected").await;
    let (code, text) = core.nowd(&["status", "--check", "--bus", &address]).await;
    assert!(code == 1 && text.contains("wrong.toml"), "{code}: {text}");
    let more = ECHO.replace("\"echo\"", "\"more\"").replace("\"slow\"", "\"slower\"");
    core.nucleus.set_configuration("com.example.Maps", json!({"methods.d": {"more.toml": more}}));
    core.nucleus.merge(COMPONENT, &json!({"methods.d": {"wrong.toml": ""}}));
    within(PATIENCE, "the maps", async {
        while core.nowd(&["call", "more", "--bus", &address]).await.0 != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
