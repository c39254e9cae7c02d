//! Starting, losing things, stopping.

use nowd_testkit::within;
use tokio::task::JoinSet;

use crate::bed::{Bed, PATIENCE, comes_back, request, words};

#[tokio::test]
async fn sigterm_lets_a_running_call_end_and_says_offline() {
    let mut bed = Bed::new().await;
    let observer = bed.observer().await;
    let mut gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let mut running = JoinSet::new();
    let calls = cloud.clone();
    running.spawn(async move { words(&calls.invoke(request("one", "1")).await) });
    comes_back(&bed.cloud().await).await;
    gateway.terminate();
    let answer = within(PATIENCE, "the answer", running.join_next()).await.unwrap().unwrap();
    assert_eq!(answer, "ok executed 1");
    let status = gateway.exit(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{:?}", gateway.lines());
    observer.hears("nowd/presence/gw-1", r#""online":false"#).await;
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "offline not_executed null");
}

#[tokio::test]
async fn a_lost_broker_and_a_lost_bus_are_survived() {
    let mut bed = Bed::new().await;
    let mut gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    bed.broker.restart();
    comes_back(&cloud).await;
    bed.bus.stop();
    within(PATIENCE, "the loss of the bus to be noticed", async {
        while words(&cloud.invoke(request("window.set", r#"{"percent":1}"#)).await)
            != "unavailable not_executed null"
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    assert!(gateway.try_exit().is_none());
}
