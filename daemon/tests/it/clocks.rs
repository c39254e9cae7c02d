//! Clocks that are wrong, and processes that stand still.

use std::time::Duration;

use nowd::{ClockTrust, ConfigSource, Gateway, Setup, WallClock, WallReading};
use nowd_testkit::{wait_for, within};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, PATIENCE, comes_back, finds_the_bus, nowd, request, within_ms, words};

/// The gateway as a library, so that its wall clock can be whatever the test says; the machine's is never set.
async fn with_clock(trust: ClockTrust, reading: WallReading, first_attempts: u32) {
    let mut bed = Bed::new().await;
    let cloud = bed.cloud().await;
    let source = ConfigSource {
        file: bed.config(),
        required: true,
        environment: Vec::new(),
        set: Vec::new(),
        deployment: nowd::Deployment::None,
    };
    let files = source.load().unwrap();
    let setup = Setup::new(&files, Vec::new(), WallClock::new(trust, move || reading)).unwrap();
    let stop = CancellationToken::new();
    let local = LocalSet::new();
    let stopped = stop.clone();
    local.spawn_local(async move { Gateway::new(setup).unwrap().run(stopped).await });
    local
        .run_until(async {
            let mut attempts = 0;
            within(PATIENCE, "a good call", async {
                loop {
                    let answer = cloud.invoke(request("echo", "1")).await;
                    if answer.status.as_str() == "ok" {
                        attempts = answer.attempts;
                        return;
                    }
                    assert_eq!(answer.status.as_str(), "offline");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            assert_eq!(attempts, first_attempts, "attempts of the first call");
            for _ in 0..5 {
                let answer = cloud.invoke(request("window.set", r#"{"percent":3}"#)).await;
                assert_eq!((words(&answer).as_str(), answer.attempts), ("ok executed 3", 1));
            }
            stop.cancel();
        })
        .await;
    within(PATIENCE, "the gateway's end", local).await;
}

const IN_1970: u64 = 12_000;

#[tokio::test]
async fn a_gateway_in_1970_answers_on_time() {
    with_clock(ClockTrust::Auto, WallReading { now_ms: IN_1970, max_error: None }, 2).await;
}

#[tokio::test]
async fn a_clock_that_is_believed_and_wrong_runs_nothing_late() {
    let max_error = Some(Duration::from_millis(1));
    with_clock(ClockTrust::Trusted, WallReading { now_ms: IN_1970, max_error }, 2).await;
}

#[tokio::test]
async fn a_frozen_gateway_does_not_run_late_what_it_finds_when_it_goes_on() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    finds_the_bus(&cloud).await;
    assert_eq!(words(&cloud.invoke(request("window.set", r#"{"percent":10}"#)).await), "ok executed 10");
    let observer = bed.observer().await;
    gateway.pause();
    let id = "6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b11";
    // From a caller that states no deadline, and from one that does.
    observer.say(
        &format!("gw-1/window.set/cloud-old/{id}"),
        format!(r#"{{"id":"{id}","request":{{"percent":90}}}}"#),
    );
    let late = cloud.invoke(within_ms("window.set", r#"{"percent":95}"#, 400)).await;
    assert_eq!(words(&late), "no_reply unknown null");
    gateway.resume();
    let expired = || gateway.lines().iter().filter(|line| line.contains(r#""status":"expired""#)).count();
    // The cloud side had sent its call twice.
    wait_for(PATIENCE, "all to be dropped", || expired() == 3).await;
    // Nobody has moved the window: it is where it was, and takes no time to get there.
    let still = cloud.invoke(request("window.set", r#"{"percent":10}"#)).await;
    assert_eq!(words(&still), "ok executed 10");
    let in_time =
        |line: &&String| line.contains(r#""method":"window.set""#) && line.contains(r#""status":"ok""#);
    let executed = || gateway.lines().iter().filter(in_time).count();
    wait_for(PATIENCE, "the records of the two calls that were in time", || executed() >= 2).await;
    assert_eq!(executed(), 2, "only these");
}

#[tokio::test]
async fn a_freeze_is_told_also_where_every_caller_sends_its_deadline() {
    let bed = Bed::new().await;
    let config = bed.config();
    let gateway = nowd(&["run", "--config", config.to_str().unwrap(), "--set", "compat.clients="]);
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    gateway.pause();
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    gateway.resume();
    // A busy machine may make gaps of its own: the longest is ours.
    let longest = || {
        let gap =
            |line: &String| line.split_once(r#""gap_ms":"#)?.1.split([',', '}']).next()?.parse::<u64>().ok();
        gateway.lines().iter().filter_map(gap).max().unwrap_or_default()
    };
    wait_for(PATIENCE, "the length of the gap", || longest() >= 1_600).await;
    gateway.wait_for_line(PATIENCE, r#""message":"the process stood still; calls from"#).await;
}

/// What lay through the first freeze is not taken for fresh because of what came between the two.
#[tokio::test]
async fn two_freezes_in_a_row_run_nothing_late() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let cloud = bed.cloud().await;
    finds_the_bus(&cloud).await;
    assert_eq!(words(&cloud.invoke(request("window.set", r#"{"percent":10}"#)).await), "ok executed 10");
    let observer = bed.observer().await;
    let say = |id: &str| {
        let topic = format!("gw-1/window.set/cloud-old/{id}");
        observer.say(&topic, format!(r#"{{"id":"{id}","request":{{"percent":90}}}}"#));
    };
    let said = |id: &str| observer.topics().iter().any(|topic| topic.ends_with(id));
    let mut ids = Vec::new();
    for _ in 0..10 {
        let id = nowd_protocol::Uuid::new_v4().to_string();
        gateway.pause();
        say(&id);
        // The broker has it, so it lies in the gateway's buffers.
        wait_for(PATIENCE, "the request at the broker", || said(&id)).await;
        ids.push(id);
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.resume();
        // Somewhere between nothing and the whole of what a gateway does after a freeze.
        tokio::time::sleep(Duration::from_micros(300 * u64::try_from(ids.len()).unwrap())).await;
        gateway.pause();
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.resume();
    }
    let expired = |id: &String| {
        gateway.lines().iter().any(|line| line.contains(id) && line.contains(r#""status":"expired""#))
    };
    wait_for(PATIENCE, "all to be dropped", || ids.iter().all(expired)).await;
    let still = cloud.invoke(request("window.set", r#"{"percent":10}"#)).await;
    assert_eq!(words(&still), "ok executed 10");
    assert!(observer.replies().iter().all(|topic| !topic.starts_with("cloud-old/")), "something was run");
}

#[tokio::test]
async fn after_a_freeze_that_cost_the_link_callers_without_deadlines_are_served_again() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    gateway.pause();
    bed.broker.restart();
    // Longer than any gap that goes unnoticed.
    tokio::time::sleep(Duration::from_millis(400)).await;
    gateway.resume();
    gateway.wait_for_line(PATIENCE, "the process stood still").await;
    comes_back(&bed.cloud().await).await;
    let observer = bed.observer().await;
    let id = "6e1f3c52-8e1a-4c5f-9d51-0d6f0a2f7b13";
    observer.say(&format!("gw-1/echo/cloud-old/{id}"), format!(r#"{{"id":"{id}","request":"open"}}"#));
    observer.hears(&format!("cloud-old/{id}/gw-1/echo/ack"), "open").await;
}
