//! `link.via` changed by other deployments, under a process that goes on.

use super::super::core::{Core, TARGET as OWN};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_deployment_takes_the_link_through_the_nucleus_and_back() {
    let mut core = Core::new(Style::Classic);
    let good = core.good();
    core.nucleus.set_configuration(COMPONENT, good.clone());
    let mut gateway = core.start_as_this_user();
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let cloud = core.cloud().await;
    cloud.hears(OWN, "echo", "ok").await;
    let up = async |count: usize| {
        wait_for(PATIENCE, "the link", || {
            gateway.lines().iter().filter(|line| line.contains("the link is up")).count() == count
        })
        .await;
    };

    let through = json!({"via": "greengrass", "ca": null, "certificate": null, "key": null});
    core.nucleus.merge(COMPONENT, &json!({"nowd": {"link": through}}));
    up(2).await;
    assert_eq!(
        core.presence(core.broker.port()).await["online"],
        false,
        "its own connection has ended in order"
    );
    cloud.hears(OWN, "echo", "offline").await;
    let id = id(1);
    let body = json!({"id": id, "timestamp": 1, "timeout": 5000, "request": 1});
    core.nucleus.publish(&format!("{TARGET}/echo/cloud-1/{id}"), body.to_string().as_bytes());
    let topic = format!("cloud-1/{id}/{TARGET}/echo/ack");
    wait_for(PATIENCE, "an answer", || core.nucleus.published().iter().any(|message| message.topic == topic))
        .await;

    let mut back = good["nowd"]["link"].clone();
    back["via"] = json!("direct");
    core.nucleus.merge(COMPONENT, &json!({"nowd": {"link": back}}));
    up(3).await;
    cloud.hears(OWN, "echo", "ok").await;
    assert_eq!(gateway.try_exit(), None);
    assert_eq!(core.nucleus.mistakes(), Vec::<String>::new());
}
