//! Starting, losing things, stopping.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use nowd_testkit::{Process, within};
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

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let mut bed = Bed::new().await;
    let fifo = bed.folder.path().join("stderr");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Open for reading too, so that writing waits for a reader instead of failing; and full from now on, since whoever
    // writes here never ends.
    let mut pipe = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    std::thread::spawn(move || while pipe.write_all(&[b'x'; 4_096]).is_ok() {});
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" run --config "$1" --set log.level=trace 2>"$2""#]);
    command.arg(env!("CARGO_BIN_EXE_nowd")).arg(bed.config()).arg(&fifo);
    let mut gateway = Process::start(command);
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    bed.broker.restart();
    comes_back(&cloud).await;
    for _ in 0..100 {
        assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    }
    assert!(gateway.lines().is_empty(), "the log went elsewhere: {:?}", gateway.lines());
    let asked = nowd_cloud::BootInstant::now();
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
    let took = nowd_cloud::BootInstant::now().saturating_since(asked);
    // Nothing runs, so nothing is waited for but the goodbye and the log.
    assert!(took < Duration::from_secs(4), "{took:?}");
}
