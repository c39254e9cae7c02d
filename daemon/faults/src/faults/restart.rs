//! Processes that end in the midst of calls and start again: the broker with all that it has saved, the daemon without
//! any memory, while requests of its earlier life come in again.

use super::Fault;
use crate::load::Way;
use crate::raw::Own;
use crate::stage::Stage;

/// Calls that take their time among others, so that some run when the daemon ends.
pub(super) const MIXED: &[Way] =
    &[("checked", "slow"), ("checked", "slow"), ("plain", "now"), ("checked", "slow"), ("serial", "now")];

pub(super) const FAULTS: &[Fault] = &[
    Fault::new("broker-restarted", "the broker ends as asked and starts again with what it saved", |stage| {
        Box::pin(broker(stage, true))
    }),
    Fault::new("broker-killed", "the broker is killed and starts again with what it saved", |stage| {
        Box::pin(broker(stage, false))
    }),
    Fault::new("bus-killed", "the D-Bus daemon is killed with all connections, and starts again", |stage| {
        Box::pin(bus(stage))
    }),
    Fault {
        ways: MIXED,
        ..Fault::new("daemon-stopped", "the daemon is asked to stop in mid-call, and starts again", |stage| {
            Box::pin(daemon(stage, true, false))
        })
    },
    Fault {
        ways: MIXED,
        ..Fault::new("daemon-killed", "the daemon is killed in mid-call, and starts again", |stage| {
            Box::pin(daemon(stage, false, false))
        })
    },
    Fault {
        ways: MIXED,
        ..Fault::new(
            "daemon-killed-and-repeats",
            "the same, and another publisher repeats all requests when the daemon is back",
            |stage| Box::pin(daemon(stage, false, true)),
        )
    },
    Fault {
        ways: MIXED,
        clock: "trusted",
        ..Fault::new(
            "repeats-by-timestamp",
            "the same with calls that carry only a timestamp, where the clock is trusted",
            |stage| Box::pin(by_timestamp(stage)),
        )
    },
    Fault {
        ways: MIXED,
        ..Fault::new("daemon-twice", "a second daemon of the same name runs for a while", |stage| {
            Box::pin(twice(stage, false))
        })
    },
    Fault {
        ways: MIXED,
        ..Fault::new(
            "daemon-frozen-and-replaced",
            "the daemon stands still, another takes its place, and then it goes on",
            |stage| Box::pin(twice(stage, true)),
        )
    },
];

const PAUSE: u64 = 400;
/// After a link was lost that often its pauses are long, and there is nothing new to see.
const MOST_RESTARTS: usize = 4;

async fn broker(stage: &mut Stage, gently: bool) -> anyhow::Result<()> {
    stage.at_most(MOST_RESTARTS);
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.restart_broker(gently).await?;
        stage.mended();
    }
    Ok(())
}

async fn bus(stage: &mut Stage) -> anyhow::Result<()> {
    stage.at_most(MOST_RESTARTS);
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        stage.bed.restart_bus().await?;
        stage.mended();
    }
    Ok(())
}

async fn daemon(stage: &mut Stage, gently: bool, repeated: bool) -> anyhow::Result<()> {
    let mut repeats = 0;
    while stage.goes_on() {
        let from = stage.raw.heard();
        stage.wait(PAUSE).await;
        stage.strike();
        if gently {
            stage.bed.daemon.terminate();
            stage.wait(PAUSE).await;
        }
        let earlier = stage.raw.incarnation(None).await?;
        stage.bed.restart_daemon().await?;
        if repeated {
            stage.raw.incarnation(Some(earlier)).await?;
            let requests = stage.raw.requests(from);
            for request in &requests {
                stage.raw.say(&request.topic, request.payload.clone());
            }
            repeats += requests.len();
        }
        stage.mended();
    }
    if repeated {
        stage.note(format!("{repeats} requests were repeated after restarts"));
    }
    Ok(())
}

async fn by_timestamp(stage: &mut Stage) -> anyhow::Result<()> {
    let mut own = Vec::new();
    while stage.goes_on() {
        let earlier = stage.raw.incarnation(None).await?;
        let mut now = Vec::new();
        for _ in 0..10 {
            let call = Own::new(stage.caller.number(), ("checked", "now"), 1_500, None);
            stage.raw.say(&call.topic, call.bytes());
            now.push(call);
            stage.wait(30).await;
        }
        stage.strike();
        stage.bed.restart_daemon().await?;
        stage.raw.incarnation(Some(earlier)).await?;
        for call in &now {
            stage.raw.say(&call.topic, call.bytes());
        }
        stage.mended();
        own.extend(now);
    }
    stage.wait(PAUSE).await;
    let calls: Vec<_> = own.iter().map(|own| stage.raw.call(own, 2)).collect();
    stage.calls.extend(calls);
    Ok(())
}

async fn twice(stage: &mut Stage, frozen: bool) -> anyhow::Result<()> {
    stage.at_most(MOST_RESTARTS);
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        if frozen {
            stage.bed.daemon.pause();
            stage.wait(PAUSE / 2).await;
        }
        let mut first = stage.bed.second_daemon().await?;
        if frozen {
            first.resume();
        }
        // Each takes the other's connection away.
        stage.wait(2 * PAUSE).await;
        first.kill();
        stage.mended();
    }
    Ok(())
}
