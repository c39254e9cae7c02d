//! What others see of the gateway.

use nowd_protocol::{Presence, PresenceTopic, Uuid};
use nowd_testkit::wait_for;

use crate::bed::{Bed, PATIENCE, TARGET, comes_back, request, words};

fn topic() -> String {
    PresenceTopic(TARGET.parse().unwrap()).to_string()
}

#[tokio::test]
async fn a_will_that_comes_late_does_not_leave_it_offline() {
    let mut bed = Bed::new().await;
    let observer = bed.observer().await;
    let _gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let last = || Presence::parse(observer.heard(&topic()).last().unwrap()).unwrap();
    wait_for(PATIENCE, "the presence", || !observer.heard(&topic()).is_empty() && last().online).await;
    let session = last().session;
    let will = Presence { online: false, session: Uuid::new_v4(), ..last() };
    observer.publish(&topic(), will.payload(), true);
    // The cloud side does not believe it, and the gateway puts it right.
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    let seen = observer.heard(&topic()).len();
    wait_for(PATIENCE, "the presence put right", || observer.heard(&topic()).len() > seen && last().online)
        .await;
    assert_eq!(last().session, session);
    // A cloud side that comes now finds it online.
    assert_eq!(words(&bed.cloud().await.invoke(request("echo", "1")).await), "ok executed 1");
}

/// A broker that ends in order publishes the wills of those who are connected still, and so to the gateway its own.
#[tokio::test]
async fn a_broker_that_was_restarted_in_order_is_no_wrong_presence() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    bed.broker.end();
    gateway.wait_for_line(PATIENCE, "the link is down").await;
    bed.broker.restart();
    comes_back(&cloud).await;
    let wrong: Vec<String> =
        gateway.lines().into_iter().filter(|line| line.contains("presence-wrong")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn a_gateway_that_is_killed_is_offline_and_comes_back_as_another_incarnation() {
    let mut bed = Bed::new().await;
    let observer = bed.observer().await;
    let mut gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    gateway.kill();
    observer.hears(&topic(), r#""online":false"#).await;
    wait_for(PATIENCE, "the cloud side to know", || !observer.heard(&topic()).is_empty()).await;
    let _gateway = bed.gateway().await;
    comes_back(&cloud).await;
    let incarnations: std::collections::BTreeSet<Uuid> = observer
        .heard(&topic())
        .iter()
        .map(|payload| Presence::parse(payload).unwrap().incarnation)
        .collect();
    assert_eq!(incarnations.len(), 2);
}
