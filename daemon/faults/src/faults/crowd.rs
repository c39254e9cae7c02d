//! Trouble of others beside good calls: a flood of requests that are all refused, and a port that hangs.

use anyhow::ensure;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Fault;
use crate::bed::TARGET;
use crate::load::Way;
use crate::stage::Stage;

const CHECKED: Way = ("checked", "now");

pub(super) const FAULTS: &[Fault] = &[
    Fault::new("flood", "another client sends requests in a row that are all refused or dropped", |stage| {
        Box::pin(flood(stage))
    }),
    Fault::new("burst", "far more calls at once than the lanes can serve in time", |stage| {
        Box::pin(burst(stage))
    }),
    Fault {
        ways: &[CHECKED],
        alone: true,
        ..Fault::new("port-hangs", "a port hangs beside good calls on another lane", |stage| {
            Box::pin(port_hangs(stage))
        })
    },
];

/// How many refused requests come to one good one; 10,000 in the long form.
const FLOOD: usize = 10;
/// How many calls come at once, and how often.
const BURST: u64 = 60;
const MOST_BURSTS: usize = 10;
/// Good calls of which the times are compared.
const COMPARED: usize = 30;
/// With a hanging port beside them, good calls may take this many times as long, and [`SLACK`] more.
const RATIO: u64 = 10;
const SLACK: u64 = 50_000;
/// The budget of the call that hangs, in milliseconds: longer than the times take, however busy the machine.
const HANGS_FOR: u64 = 25_000;

async fn flood(stage: &mut Stage) -> anyhow::Result<()> {
    stage.wait(200).await;
    stage.strike();
    let (mut said, mut full) = (0_usize, 0_usize);
    while said < 1_000 || !stage.load.is_over() && said < 1_000 * FLOOD {
        let (topic, payload) = refused(said);
        if stage.raw.say(&topic, payload) {
            said += 1;
            continue;
        }
        full += 1;
        ensure!(full < 100_000, "the flood is stuck after {said} requests");
        stage.wait(1).await;
    }
    stage.mended();
    stage.note(format!("{said} requests that are refused or dropped"));
    if stage.bed.broker.lines().iter().any(|line| line.contains("messages are being dropped")) {
        stage.note("the broker's queue for the daemon was full, and it dropped messages, good ones too");
    }
    Ok(())
}

async fn burst(stage: &mut Stage) -> anyhow::Result<()> {
    stage.at_most(MOST_BURSTS);
    let mut burst = JoinSet::new();
    while stage.goes_on() {
        stage.wait(100).await;
        stage.strike();
        for turn in 0..BURST {
            let way = if turn % 2 == 0 { ("serial", "busy") } else { ("plain", "busy") };
            let (caller, budget) = (stage.caller.clone(), 200 + turn * 20);
            burst.spawn(async move { caller.call(way, budget).await });
        }
        stage.wait(1_000).await;
        stage.mended();
    }
    while let Some(call) = burst.join_next().await {
        stage.calls.push(call??);
    }
    Ok(())
}

/// One of many kinds.
fn refused(number: usize) -> (String, String) {
    let id = Uuid::new_v4();
    let whole = |method: &str, more: &str| {
        let topic = format!("{TARGET}/{method}/raw-2/{id}");
        (topic, format!(r#"{{"id":"{id}","timestamp":1,"timeout":1000{more}}}"#))
    };
    match number % 7 {
        0 => whole("nothing", ""),
        1 => whole("closed", ""),
        2 => whole("checked", r#","request":{"number":-1,"how":"now"}"#),
        3 => whole("checked", r#","request":{"number":0,"how":"now"},"not_after":{"at":1}"#),
        4 => whole("checked", r#","request":{"number":0,"how":"now"}"#),
        5 => (format!("{TARGET}/checked/raw-2/{id}"), "no JSON at all".into()),
        _ => (format!("{TARGET}/checked/raw-2/no-id"), format!(r#"{{"id":"{id}"}}"#)),
    }
}

async fn port_hangs(stage: &mut Stage) -> anyhow::Result<()> {
    let before = median(stage).await?;
    let mut hanging = JoinSet::new();
    stage.strike();
    let caller = stage.caller.clone();
    hanging.spawn(async move { caller.call(("serial", "hang"), HANGS_FOR).await });
    stage.wait(100).await;
    let beside = median(stage).await?;
    stage.mended();
    if hanging.try_join_next().is_some() {
        stage.fail("nothing hung while the times were taken");
    }
    // The hanging port comes back by losing its device.
    stage.bed.restart_actuator().await?;
    while let Some(call) = hanging.join_next().await {
        stage.calls.push(call??);
    }
    stage.note(format!("the median of good calls was {before} us, and {beside} us beside a port that hung"));
    if beside > before * RATIO + SLACK {
        stage.fail("a port that hangs slows down calls on another lane");
    }
    Ok(())
}

/// How long a good call takes, in microseconds.
async fn median(stage: &mut Stage) -> anyhow::Result<u64> {
    let mut times = Vec::new();
    for _ in 0..COMPARED {
        let call = stage.caller.call(CHECKED, 5_000).await?;
        times.push(call.ended - call.begun);
        stage.calls.push(call);
    }
    times.sort_unstable();
    Ok(times.get(COMPARED / 2).copied().unwrap_or_default())
}
