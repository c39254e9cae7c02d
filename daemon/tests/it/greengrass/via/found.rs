//! Subscriptions that are lost, or granted and deaf, and what comes before they are known to be granted.

use std::fmt::Write as _;

use nowd_cloud::Unannounced;
use nowd_testkit::Fault;

use super::*;

/// A nucleus, and a gateway that was told of it, not yet started.
fn with(style: Style, link: &Value) -> Via {
    let via = Via::new(Nucleus::start(style));
    if style == Style::Lite {
        via.nucleus.set_configuration("aws.greengrass.NucleusLite", json!({"iotDataEndpoint": "localhost"}));
    }
    let mut all = json!({"via": "greengrass", "silence": "2s", "probe": "1s"});
    for (key, value) in link.as_object().unwrap() {
        all.as_object_mut().unwrap().insert(key.clone(), value.clone());
    }
    via.configure(&json!({"link": all}));
    via
}

fn times(gateway: &Process, text: &str) -> usize {
    gateway.lines().iter().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_before_the_nucleus_says_that_it_is_subscribed_is_answered() {
    let via = with(Style::Lite, &json!({}));
    via.nucleus.fault("SubscribeToIoTCore", Fault::Silent);
    let gateway = via.start();
    wait_for(PATIENCE, "the subscription", || via.nucleus.calls("SubscribeToIoTCore") == 1).await;
    via.stamp(&id(1)).await;
    assert_eq!(times(&gateway, "the link is up"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_lost_while_the_nucleus_is_offline_is_found_at_once() {
    for style in [Style::Classic, Style::Lite] {
        let via = with(style, &json!({}));
        let gateway = via.start();
        gateway.wait_for_line(PATIENCE, "the link is up").await;
        // Either nucleus refuses a message with QoS 0 while it is offline.
        via.nucleus.refuse("PublishToIoTCore", "ServiceError", "Device is offline");
        via.nucleus.lose_subscriptions();
        gateway
            .wait_for_line(PATIENCE, "the nucleus is not connected to AWS, or has lost the subscription")
            .await;
        via.nucleus.allow("PublishToIoTCore");
        wait_for(PATIENCE, "the link", || times(&gateway, "the link is up") >= 2).await;
        via.stamp(&id(1)).await;
        assert_eq!(times(&gateway, "refused a message of this gateway to itself"), 0, "{style:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_subscription_does_not_die_with_the_last_one() {
    let via = with(Style::Classic, &json!({}));
    let gateway = via.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    via.nucleus.set_taking_back(Duration::from_millis(600));
    via.nucleus.end_subscriptions();
    wait_for(PATIENCE, "the link", || times(&gateway, "the link is up") == 2).await;
    via.stamp(&id(1)).await;
    assert_eq!(times(&gateway, "has lost the subscription"), 0, "{:?}", gateway.lines());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_was_deaf_from_the_beginning_is_found_without_waiting_for_the_probe() {
    let via = with(Style::Classic, &json!({"probe": "20m"}));
    via.nucleus.fault("SubscribeToIoTCore", Fault::Deaf);
    let gateway = via.start();
    gateway.wait_for_line(PATIENCE, "has lost the subscription").await;
    wait_for(PATIENCE, "the link", || times(&gateway, "the link is up") == 2).await;
    via.stamp(&id(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_methods_are_told_in_pages_that_fit() {
    // It says that it is lite, and takes a configuration that is longer than that would.
    let via = with(Style::Classic, &json!({}));
    via.nucleus.set_configuration("aws.greengrass.NucleusLite", json!({"iotDataEndpoint": "localhost"}));
    let mut map = MAP.to_owned();
    for number in 0..200 {
        writeln!(map, "[methods.\"m{number:03}\"]").unwrap();
    }
    // One that would fill more than a message by itself.
    let large = format!("[simulator]\n[methods.\"large\"]\ndescription = \"{}\"\n", "x".repeat(7_000));
    let mut all = via.nucleus.configuration(COMPONENT);
    all["methods.d"] = json!({"echo.toml": map, "large.toml": large});
    via.nucleus.set_configuration(COMPONENT, all);
    let gateway = via.start();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let (incarnation, now) = via.stamp(&id(1)).await;
    let not_after = json!({"incarnation": incarnation, "at": now + 5_000_000});
    let mut names: Vec<String> = Vec::new();
    for number in 2.. {
        via.ask(
            "nowd.methods",
            &id(number),
            &not_after,
            &json!({"after": names.last().cloned().unwrap_or_default()}),
        );
        let reply = via.reply(&id(number), 1).await;
        let page = reply["response"]["methods"].as_array().unwrap_or_else(|| panic!("{reply}"));
        names.extend(page.iter().map(|method| method["name"].as_str().unwrap().to_owned()));
        if reply["response"]["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(names.len(), 203);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_whose_nucleus_keeps_no_presence_is_called_where_the_cloud_side_is_told_so() {
    let broker = Mosquitto::start();
    let mut via = Via::new(Nucleus::bridged(Style::Lite, &broker));
    via.nucleus.set_configuration("aws.greengrass.NucleusLite", json!({"iotDataEndpoint": "localhost"}));
    via.configure(&json!({}));
    let _gateway = via.start();
    wait_for(PATIENCE, "its presence", || {
        via.nucleus.published().iter().any(|message| message.topic == "nowd/presence/core-1")
    })
    .await;
    let plain = via.cloud(&broker).await;
    let config =
        Config::new(Options::new("cloud", "127.0.0.1", broker.port()), Level::new("cloud-2").unwrap());
    let config = Config { unannounced: Unannounced::like("core-*"), ..config };
    let (told, background) = Invoker::new(config).unwrap();
    via.tasks.spawn(background.run(CancellationToken::new()));
    within(PATIENCE, "the cloud side's connection", told.connected()).await;
    assert_eq!(call(&plain, "echo", "1", LONG).await.status.as_str(), "offline");
    assert_eq!(call(&told, "echo", "1", LONG).await.status.as_str(), "ok");
}
