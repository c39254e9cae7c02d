//! Processes that stand still: everything stays connected, nothing is answered, and then all goes on at once.

use super::Fault;
use crate::judge::Judged;
use crate::load::{GOOD, Way};
use crate::raw::Own;
use crate::stage::Stage;

/// Calls that take their time, so that they are found in their midst.
const SLOW: &[Way] = &[("checked", "slow")];

pub(super) const FAULTS: &[Fault] = &[
    Fault { must_strike: false, ..Fault::new("none", "nothing is broken", |stage| Box::pin(none(stage))) },
    Fault::new("daemon-frozen", "the daemon stands still past deadlines", |stage| Box::pin(daemon(stage))),
    Fault {
        ways: SLOW,
        ..Fault::new("daemon-frozen-in-calls", "the daemon stands still while calls run", |stage| {
            Box::pin(daemon(stage))
        })
    },
    Fault {
        more: "[compat]\nclients = [\"raw-old\"]\n",
        ..Fault::new(
            "daemon-frozen-for-compat",
            "the daemon stands still while callers that state no deadline ask",
            |stage| Box::pin(compat(stage)),
        )
    },
    Fault {
        judged: Judged::NotUnchecked,
        ..Fault::new("actuator-frozen", "the actuators stand still past deadlines", |stage| {
            Box::pin(actuator(stage))
        })
    },
    Fault {
        judged: Judged::NotUnchecked,
        ..Fault::new("bus-frozen", "the D-Bus daemon stands still past deadlines", |stage| {
            Box::pin(bus(stage))
        })
    },
    Fault::new("broker-frozen", "the broker stands still past deadlines", |stage| Box::pin(broker(stage))),
    Fault::new("cloud-side-frozen", "the cloud side stands still past deadlines", |stage| {
        Box::pin(cloud(stage))
    }),
];

/// In between.
const PAUSE: u64 = 300;

async fn none(stage: &mut Stage) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
    }
    Ok(())
}

async fn daemon(stage: &mut Stage) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.daemon.pause();
        stage.wait(stage.length()).await;
        stage.bed.daemon.resume();
        stage.mended();
    }
    Ok(())
}

async fn compat(stage: &mut Stage) -> anyhow::Result<()> {
    let mut own = Vec::new();
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.daemon.pause();
        // What was said just before may be heard just before.
        stage.wait(50).await;
        for way in GOOD {
            let stale = Own::stale(stage.caller.number(), *way);
            stage.raw.say(&stale.topic, stale.bytes());
            own.push(stale);
        }
        stage.wait(stage.length()).await;
        stage.bed.daemon.resume();
        stage.mended();
    }
    stage.wait(PAUSE).await;
    let calls: Vec<_> = own.iter().map(|own| stage.raw.call(own, 1)).collect();
    stage.note(format!("{} calls without deadlines while the daemon stood still", calls.len()));
    stage.calls.extend(calls);
    Ok(())
}

async fn actuator(stage: &mut Stage) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.actuator.pause();
        stage.wait(stage.length()).await;
        stage.bed.actuator.resume();
        stage.mended();
    }
    Ok(())
}

async fn bus(stage: &mut Stage) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.bus.pause();
        stage.wait(stage.length()).await;
        stage.bed.bus.resume();
        stage.mended();
    }
    Ok(())
}

async fn broker(stage: &mut Stage) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.broker.pause();
        stage.wait(stage.length()).await;
        stage.bed.broker.resume();
        stage.mended();
    }
    Ok(())
}

async fn cloud(stage: &mut Stage) -> anyhow::Result<()> {
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.cloud.pause();
        stage.wait(stage.length()).await;
        stage.bed.cloud.resume();
        stage.mended();
    }
    Ok(())
}
