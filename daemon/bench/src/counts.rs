//! What one call costs the daemon in instructions and in allocations. Neither depends on how busy the machine is, so these
//! are the numbers that a change is judged by: see `guard.rs`.

mod callgrind;
mod profile;

use std::time::Duration;

use anyhow::ensure;
use serde::Deserialize;

use crate::Effort;
use crate::bed::{Bed, Maps};
use crate::calls::{Caller, Way};
use crate::drive::{self, greet};
use crate::measure::float;
use crate::report::Findings;

use callgrind::Callgrind;

const SECTION: &str = "what a call costs the daemon, whatever else the machine does";
/// Calls of each kind before anything is counted: tables have grown by then.
const WARM_UP: u32 = 10;
/// It is slow under valgrind: nothing here is measured by time.
const BUDGET_MS: u64 = 20_000;
/// After each call. What follows an answer, such as its records, is written together for what comes within 5 ms: without a
/// pause a call would cost less on a machine that is slower.
const PAUSE: Duration = Duration::from_millis(15);

/// Of one call, in user space, over all threads of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    pub(crate) instructions: f64,
    /// Calls of the allocator that give memory: `malloc`, `calloc`, `realloc` and their like.
    pub(crate) allocations: f64,
}

/// Leaves a word where nothing can be counted, unless it has to be.
pub(crate) async fn counts(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    if let Err(error) = callgrind::is_possible() {
        if effort.guarded {
            return Err(error);
        }
        eprintln!("no instructions and no allocations are counted: {error:#}");
        return Ok(());
    }
    let (target, config) = bed.configure(Maps::All)?;
    let mut daemon = Callgrind::start(bed, &config).await?;
    let mut caller = bed.caller().await?;
    let ways = [
        ("D-Bus method", Way::dbus(&target)),
        ("serial method", Way::serial(&target)),
        ("simulated method", Way::simulator(&target)),
    ];
    for (name, way) in ways {
        let way = way.within(BUDGET_MS);
        greet(&mut caller, &way, WARM_UP).await?;
        let count = count(&mut daemon, &mut caller, &way, effort, findings).await?;
        findings.fact(SECTION, format!("{name}: instructions"), count.instructions / 1_000.0, "thousands");
        findings.fact(SECTION, format!("{name}: allocations"), count.allocations, "");
        findings.counts.insert(name.to_owned(), count);
    }
    Ok(())
}

/// The median of some batches: what is done once in a while, such as growing a table, falls on few of them.
async fn count(
    daemon: &mut Callgrind,
    caller: &mut Caller,
    way: &Way,
    effort: &Effort,
    findings: &mut Findings,
) -> anyhow::Result<Count> {
    let (batches, calls) = effort.counts();
    // What was done until now is none of a call's.
    daemon.counted()?;
    let (mut instructions, mut allocations) = (Vec::new(), Vec::new());
    for _ in 0..batches {
        for _ in 0..calls {
            let measured = drive::alone(caller, way, 1).await?;
            findings.tally.add(&measured.tally);
            // One that fails may be cheap.
            ensure!(measured.times.len() == 1, "a call that is counted was not executed");
            tokio::time::sleep(PAUSE).await;
        }
        let counted = daemon.counted()?;
        instructions.push(float(counted.instructions) / f64::from(calls));
        allocations.push(float(counted.allocations) / f64::from(calls));
    }
    let median = |numbers: &[f64]| crate::measure::median(numbers).unwrap_or_default();
    let count = Count { instructions: median(&instructions), allocations: median(&allocations) };
    // No call does without: the allocator has another name than was looked for.
    ensure!(count.allocations >= 1.0, "callgrind saw no call of the allocator");
    Ok(count)
}
