//! Configurations: read, watched, validated.

use std::time::Duration;

use nowd_greengrass::{Event, RefusalKind, Verdict};
use nowd_testkit::{Deployed, Fault, Nucleus, Style, wait_for};
use serde_json::json;

use crate::common::{BOUND, OURS, next, open};

const BOTH: [Style; 2] = [Style::Classic, Style::Lite];

#[tokio::test]
async fn a_leaf_an_object_and_other_components_are_read() {
    for style in BOTH {
        let nucleus = Nucleus::start(style);
        nucleus.set_configuration(OURS, json!({"nowd": {"target": "gw-7"}, "maps": ["com.example.Maps"]}));
        nucleus.set_configuration("aws.greengrass.Nucleus", json!({"iotDataEndpoint": "a-ats.iot.example"}));
        let connection = open(&nucleus).await;
        let client = connection.client();
        for (component, path, expected) in [
            (None, vec![], json!({"nowd": {"target": "gw-7"}, "maps": ["com.example.Maps"]})),
            (None, vec!["nowd"], json!({"target": "gw-7"})),
            (None, vec!["nowd", "target"], json!("gw-7")),
            (None, vec!["maps"], json!(["com.example.Maps"])),
            (Some("aws.greengrass.Nucleus"), vec!["iotDataEndpoint"], json!("a-ats.iot.example")),
        ] {
            assert_eq!(client.configuration(component, &path).await.unwrap(), expected, "{style:?} {path:?}");
        }
        let leaf = client.object(None, &["nowd", "target"]).await.unwrap();
        assert_eq!(leaf, json!({"target": "gw-7"}), "what the nucleus says");
        for (component, path) in [(None, ["missing"]), (Some("com.example.Unknown"), ["nowd"])] {
            let error = client.configuration(component, &path).await.unwrap_err();
            assert_eq!(error.refusal(), Some(RefusalKind::NotFound), "{error}");
        }
        assert_eq!(nucleus.mistakes(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn changes_are_told_and_only_those_that_were_asked_for() {
    for style in BOTH {
        let nucleus = Nucleus::start(style);
        nucleus.set_configuration(OURS, json!({"nowd": {"target": "gw-7"}}));
        nucleus.set_configuration("com.example.Maps", json!({"methods.d": {}}));
        let mut connection = open(&nucleus).await;
        let client = connection.client();
        let own = client.subscribe_configuration(None, &["nowd"]).await.unwrap();
        let maps = client.subscribe_configuration(Some("com.example.Maps"), &[]).await.unwrap();
        assert_ne!(own, maps);
        nucleus.merge(OURS, &json!({"other": 1}));
        nucleus.merge(OURS, &json!({"nowd": {"log": {"level": "debug"}}}));
        nucleus.merge("com.example.Maps", &json!({"methods.d": {"window.toml": "[dbus]"}}));
        let changed = |subscription, component: &str, path: &[&str]| Event::ConfigurationChanged {
            subscription,
            component: component.to_owned(),
            key_path: path.iter().map(|&key| key.to_owned()).collect(),
        };
        assert_eq!(next(&mut connection).await, changed(own, OURS, &["nowd", "log", "level"]));
        let file = ["methods.d", "window.toml"];
        assert_eq!(next(&mut connection).await, changed(maps, "com.example.Maps", &file));
        client.unsubscribe(own);
        wait_for(BOUND, "the end of a subscription", || nucleus.subscriptions(OURS) == 1).await;
        nucleus.merge(OURS, &json!({"nowd": {"target": "gw-8"}}));
        nucleus.merge("com.example.Maps", &json!({"methods.d": {"window.toml": ""}}));
        assert_eq!(next(&mut connection).await, changed(maps, "com.example.Maps", &file));
    }
}

#[tokio::test]
async fn a_bad_configuration_fails_the_deployment() {
    let nucleus = Nucleus::start(Style::Classic);
    nucleus.set_configuration(OURS, json!({"nowd": {"target": "gw-7"}}));
    nucleus.set_validation_bound(BOUND);
    let mut connection = open(&nucleus).await;
    let client = connection.client();
    let validation = client.subscribe_validation().await.unwrap();
    for (target, verdict, outcome) in [
        ("a/b", Verdict::Rejected("target: no slash"), Deployed::Rejected("target: no slash".to_owned())),
        ("gw-8", Verdict::Accepted, Deployed::Succeeded),
    ] {
        let id = nucleus.deploy(OURS, json!({"nowd": {"target": target}}));
        let expected = Event::Validate {
            subscription: validation,
            deployment: id.clone(),
            configuration: json!({"nowd": {"target": target}}),
        };
        assert_eq!(next(&mut connection).await, expected);
        // An answer that is quicker than the nucleus is given once more.
        nucleus.fault("SendConfigurationValidityReport", Fault::Refused("InvalidArgumentsError"));
        client.report_validity(&id, verdict).await.unwrap();
        wait_for(BOUND, "the end of a deployment", || nucleus.deployed(&id).is_some()).await;
        assert_eq!(nucleus.deployed(&id), Some(outcome));
    }
    assert_eq!(nucleus.configuration(OURS), json!({"nowd": {"target": "gw-8"}}));
    let late = client.report_validity("deployment-0", Verdict::Accepted).await.unwrap_err();
    assert_eq!(late.refusal(), Some(RefusalKind::InvalidArguments), "{late}");

    nucleus.set_validation_bound(Duration::from_millis(20));
    let id = nucleus.deploy(OURS, json!({"nowd": {"target": "gw-9"}}));
    wait_for(BOUND, "the end of a deployment", || nucleus.deployed(&id).is_some()).await;
    assert_eq!(nucleus.deployed(&id), Some(Deployed::Unanswered));
}

#[tokio::test]
async fn the_stand_in_for_lite_takes_no_long_text() {
    let nucleus = Nucleus::start(Style::Lite);
    let failed = Deployed::Failed("a value is longer than nucleus lite takes");
    for (length, outcome) in [(1_022, Deployed::Succeeded), (1_023, failed)] {
        let id = nucleus.deploy(OURS, json!({"methods.d": {"window.toml": "x".repeat(length)}}));
        wait_for(BOUND, "the end of a deployment", || nucleus.deployed(&id).is_some()).await;
        assert_eq!(nucleus.deployed(&id), Some(outcome));
    }
}

#[tokio::test]
async fn the_stand_in_for_lite_makes_no_object_of_a_text() {
    let nucleus = Nucleus::start(Style::Lite);
    let kind = Deployed::Failed("nucleus lite makes no object of a value, and no value of an object");
    for (file, outcome) in [
        (json!("text"), Deployed::Succeeded),
        (json!({"001": "text"}), kind.clone()),
        (json!("another"), Deployed::Succeeded),
    ] {
        let id = nucleus.deploy(OURS, json!({"methods.d": {"window.toml": file}}));
        wait_for(BOUND, "the end of a deployment", || nucleus.deployed(&id).is_some()).await;
        assert_eq!(nucleus.deployed(&id), Some(outcome), "{file}");
    }
    let id = nucleus.deploy(OURS, json!({"methods.d": "text"}));
    wait_for(BOUND, "the end of a deployment", || nucleus.deployed(&id).is_some()).await;
    assert_eq!(nucleus.deployed(&id), Some(kind));
}
