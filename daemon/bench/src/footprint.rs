//! What a gateway takes while nothing happens, while much happens, and to start.

mod others;
mod start;
mod usage;

use crate::Effort;
use crate::bed::{Bed, Maps, Programs};
use crate::calls::Way;
use crate::drive::{self, greet};
use crate::measure::{SECOND, float};
use crate::report::{Findings, Target};

pub(crate) use others::Others;
pub(crate) use start::ready;
pub(crate) use usage::{Shares, Usage};

const SECTION: &str = "footprint of a gateway with D-Bus and serial plugins";
const SHARES: &str = "what each process takes of one call to a D-Bus method, one at a time";
const MEBI: f64 = 1024.0 * 1024.0;

/// Everything about one gateway.
pub(crate) async fn footprint(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let Programs { nowd, .. } = &bed.programs;
    let size = float(std::fs::metadata(nowd)?.len()) / MEBI;
    findings.targets.push(Target::at_most("the program, MiB", size, 6.0));
    shares(bed, effort, findings).await?;
    start::start(bed, effort, findings).await?;
    idle_and_loaded(bed, effort, findings).await
}

/// Which process takes what of one call to a D-Bus method, one call at a time.
async fn shares(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let mut caller = bed.caller().await?;
    let gateway = bed.gateway(Maps::DbusAndSerial).await?;
    let way = Way::dbus(&gateway.target);
    greet(&mut caller, &way, 100).await?;
    let mut parts = vec![("nowd", gateway.process.id()), ("the load generator", std::process::id())];
    for name in ["mosquitto", "dbus-daemon", "service"] {
        parts.extend(bed.part(name).map(|process| (name, process)));
    }
    let mut shares = Shares::new(parts);
    let before = shares.look()?;
    let measured = drive::alone(&mut caller, &way, u32::try_from(effort.calls())?).await?;
    findings.tally.add(&measured.tally);
    shares.add(&before, effort.calls())?;
    shares.tell(SHARES, findings);
    Ok(())
}

async fn idle_and_loaded(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let mut caller = bed.caller().await?;
    let gateway = bed.gateway(Maps::DbusAndSerial).await?;
    let ways = [Way::dbus(&gateway.target), Way::serial(&gateway.target)];
    let process = gateway.process.id();
    let (settles, idles) = effort.idle();
    tokio::time::sleep(settles).await;
    let before = Usage::of(process)?;
    tokio::time::sleep(idles).await;
    let idle = Usage::of(process)?;
    let seconds = idles.as_secs_f64();
    let switches = float(idle.switches.saturating_sub(before.switches)) / seconds;
    let busy = float(idle.processor.saturating_sub(before.processor)) / 1_000.0 / seconds;
    findings.targets.push(Target::at_most("resident memory, idle, MiB", float(idle.resident) / MEBI, 8.0));
    findings.targets.push(Target::at_most("context switches a second, idle, connected", switches, 2.0));
    findings.fact(
        SECTION,
        "idle: pages of files in memory (the program, libraries)",
        float(idle.of_files) / MEBI,
        "MiB",
    );
    findings.fact(SECTION, "idle: its own memory", float(idle.resident - idle.of_files) / MEBI, "MiB");
    findings.fact(SECTION, "idle: threads", float(idle.threads), "");
    // The counts are those of the threads that there are in the end.
    let apart = idle.threads.abs_diff(before.threads);
    findings.fact(SECTION, "idle: threads fewer or more than before", float(apart), "");
    findings.fact(SECTION, "idle: processor time", busy, "us a second");
    for way in &ways {
        greet(&mut caller, way, 20).await?;
    }
    let before = Usage::of(process)?;
    for way in &ways {
        let measured =
            drive::flight(&mut caller, std::slice::from_ref(way), 10, 600 * SECOND, effort.calls()).await?;
        findings.tally.add(&measured.tally);
    }
    let loaded = Usage::of(process)?;
    let calls = float(effort.calls()) * 2.0;
    let of_a_call = |count: u64, before: u64| float(count.saturating_sub(before)) / calls;
    let mebi = |bytes: u64| float(bytes) / MEBI;
    findings.fact(SECTION, format!("resident memory after {calls} calls"), mebi(loaded.resident), "MiB");
    let processor = of_a_call(loaded.processor, before.processor) / 1_000.0;
    findings.fact(SECTION, "processor time of a call, 10 under way", processor, "us");
    let switches = of_a_call(loaded.switches, before.switches);
    findings.fact(SECTION, "context switches of a call, 10 under way", switches, "");
    Ok(())
}
