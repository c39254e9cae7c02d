//! Many of something: gateways at one broker, ids that are remembered, methods that are mapped.
//!
//! The gateways are processes, each with its connection, its certificate and a simulated device. One load generator calls them
//! in turns. What a gateway remembers or has mapped is compared with an empty one beside it, in turns too.

use crate::Effort;
use crate::bed::{Bed, Gateway, Maps};
use crate::calls::{Caller, Way};
use crate::drive::{self, greet};
use crate::footprint::{Usage, ready};
use crate::measure::{SECOND, Times, float, now, number};
use crate::report::{Findings, Load};

pub(crate) const GATEWAYS: &str = "gateways at one broker, called in turns, one call at a time";
const BUSY: &str = "gateways at one broker, called in turns, 50 calls under way";
const MEMORY: &str = "10,000 ids are remembered, 10,000 methods are mapped: one call at a time";
const MANY: u32 = 10_000;
/// So many of each kind before the next kind's turn.
const BATCH: u32 = 50;
const MEBI: f64 = 1024.0 * 1024.0;

/// Everything that grows.
pub(crate) async fn scale(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    gateways(bed, effort, findings).await?;
    remembered(bed, effort, findings).await?;
    mapped(bed, effort, findings).await
}

async fn gateways(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let mut caller = bed.caller().await?;
    let (mut running, mut ways): (Vec<Gateway>, Vec<Way>) = (Vec::new(), Vec::new());
    for &count in effort.gateways() {
        while running.len() < count {
            let gateway = bed.gateway(Maps::Simulator).await?;
            let way = Way::simulator(&gateway.target);
            greet(&mut caller, &way, 5).await?;
            running.push(gateway);
            ways.push(way);
        }
        for (section, width) in [(GATEWAYS, 1), (BUSY, 50)] {
            let measured = drive::flight(&mut caller, &ways, width, effort.load(), u64::MAX).await?;
            let load = Load { load: number(count), rate: measured.rate() };
            findings.loaded(section, format!("gateways: {count}"), &measured, load);
        }
    }
    let mut own = 0;
    for gateway in &running {
        let usage = Usage::of(gateway.process.id())?;
        own += usage.resident.saturating_sub(usage.of_files);
    }
    let says = format!("own memory of each of {} gateways", running.len());
    findings.fact(GATEWAYS, says, float(own) / number(running.len()) / MEBI, "MiB");
    Ok(())
}

async fn remembered(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let mut caller = bed.caller().await?;
    let (empty, full) = (bed.gateway(Maps::Simulator).await?, bed.gateway(Maps::Simulator).await?);
    let before = Usage::of(full.process.id())?.resident;
    let way = Way::simulator(&full.target);
    greet(&mut caller, &way, 20).await?;
    let filled = drive::flight(&mut caller, std::slice::from_ref(&way), 10, 60 * SECOND, MANY.into()).await?;
    findings.tally.add(&filled.tally);
    let after = Usage::of(full.process.id())?.resident;
    findings.fact(MEMORY, "memory of 10,000 calls", float(after.saturating_sub(before)) / MEBI, "MiB");
    let pair = [("no id is remembered", Way::simulator(&empty.target)), ("10,000 ids are remembered", way)];
    compare(&mut caller, &pair, effort, findings).await
}

async fn mapped(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let (_, config) = bed.configure(Maps::Many(MANY))?;
    let took = ready(bed, &config).await?;
    findings.fact(MEMORY, "start to READY with 10,000 methods", float(took) / 1_000_000.0, "ms");
    let mut caller = bed.caller().await?;
    let (few, many) = (bed.gateway(Maps::Many(1)).await?, bed.gateway(Maps::Many(MANY)).await?);
    let resident = Usage::of(many.process.id())?.resident;
    findings.fact(MEMORY, "resident memory with 10,000 methods", float(resident) / MEBI, "MiB");
    let pair = [
        ("1 method is mapped", Way::simulator(&few.target)),
        ("10,000 methods are mapped", Way::simulator(&many.target)),
    ];
    for (_, way) in &pair {
        greet(&mut caller, way, 20).await?;
    }
    compare(&mut caller, &pair, effort, findings).await
}

async fn compare(
    caller: &mut Caller,
    pair: &[(&'static str, Way); 2],
    effort: &Effort,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    greet(caller, &pair[0].1, BATCH).await?;
    let mut times = [Times::new()?, Times::new()?];
    let end = now() + effort.load();
    // What is empty must not fill up meanwhile.
    for _ in 0..MANY / BATCH / 5 {
        for ((_, way), times) in pair.iter().zip(&mut times) {
            let measured = drive::alone(caller, way, BATCH).await?;
            findings.tally.add(&measured.tally);
            times.add(&measured.times)?;
        }
        if now() > end {
            break;
        }
    }
    for ((name, _), times) in pair.iter().zip(&times) {
        findings.row(MEMORY, *name, times);
    }
    let [few, many] = &times;
    let says = format!("{} / {}", pair[1].0, pair[0].0);
    findings.fact("ratios beside the promised ones", says, many.median() / few.median(), "");
    Ok(())
}
