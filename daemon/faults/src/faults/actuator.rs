//! Actuators that misbehave: one that never answers, one that answers when nobody waits any more, one that dies.

use super::Fault;
use crate::load::Way;
use crate::stage::Stage;

const HANGS: &[Way] = &[
    ("checked", "now"),
    ("plain", "now"),
    ("serial", "now"),
    ("checked", "hang"),
    ("checked", "now"),
    ("serial", "hang"),
    ("checked", "now"),
];

const LATE: &[Way] = &[
    ("checked", "now"),
    ("plain", "now"),
    ("serial", "now"),
    ("checked", "late"),
    ("checked", "now"),
    ("plain", "late"),
    ("serial", "late"),
];

const DIES: &[Way] = &[
    ("checked", "now"),
    ("plain", "now"),
    ("serial", "now"),
    ("checked", "slow"),
    ("checked", "die-after"),
    ("checked", "now"),
    ("plain", "now"),
    ("serial", "now"),
    ("checked", "slow"),
    ("plain", "die-first"),
    ("checked", "now"),
    ("plain", "now"),
    ("serial", "now"),
    ("checked", "slow"),
    ("serial", "die-after"),
];

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        ways: HANGS,
        ..Fault::new("actuator-hangs", "actuators act and never answer", |stage| Box::pin(as_it_is(stage)))
    },
    Fault {
        ways: LATE,
        ..Fault::new("actuator-late", "actuators act and answer when nobody waits any more", |stage| {
            Box::pin(as_it_is(stage))
        })
    },
    Fault {
        ways: DIES,
        ..Fault::new("actuator-dies", "the actuators die before or after acting, and come back", |stage| {
            Box::pin(dies(stage))
        })
    },
];

/// The calls themselves say how the actuators behave. In the end the actuators start anew, so that nothing hangs.
async fn as_it_is(stage: &mut Stage) -> anyhow::Result<()> {
    stage.strike();
    while !stage.load.is_over() {
        stage.wait(50).await;
    }
    // The last ones are let run into their deadlines.
    stage.wait(2_000).await;
    stage.mended();
    stage.bed.restart_actuator().await
}

async fn dies(stage: &mut Stage) -> anyhow::Result<()> {
    let mut deaths = 0;
    stage.strike();
    let mut quiet = 0;
    // The last death may come well after the last call was made.
    while quiet < 100 {
        stage.wait(20).await;
        quiet = if stage.load.is_over() { quiet + 1 } else { 0 };
        if stage.bed.actuator.try_exit().is_some() {
            deaths += 1;
            stage.bed.restart_actuator().await?;
        }
    }
    stage.mended();
    stage.note(format!("the actuators died {deaths} times"));
    if deaths == 0 {
        stage.fail("no actuator died, so that nothing is proved");
    }
    Ok(())
}
