//! Instructions of one call, which do not depend on how busy the machine is: counted by valgrind's callgrind over two runs
//! that differ in the number of calls.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::SECTION;
use crate::Effort;
use crate::bed::{Bed, Maps};
use crate::calls::{Make, Way};
use crate::drive::{self, greet};
use crate::measure::float;
use crate::part::Part;
use crate::report::Findings;

/// Calls of the shorter run, which has all that is done once.
const FEW: u32 = 20;

/// Leaves a word where there is no valgrind.
pub(super) async fn instructions(
    bed: &mut Bed,
    effort: &Effort,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if std::env::consts::ARCH != "x86_64" || Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("no valgrind, or not on x86-64: no instructions are counted");
        return Ok(());
    }
    let Some(more) = effort.instructions() else { return Ok(()) };
    let ways: [(&str, Make); 2] = [("D-Bus method", Way::dbus), ("serial method", Way::serial)];
    for (name, make) in ways {
        let few = count(bed, make, FEW, findings).await?;
        let many = count(bed, make, FEW + more, findings).await?;
        let each = float(many.saturating_sub(few)) / f64::from(more) / 1_000.0;
        findings.fact(SECTION, format!("instructions of a call, {name}"), each, "thousands");
    }
    Ok(())
}

/// Instructions of a gateway's whole life with so many calls.
async fn count(bed: &mut Bed, make: Make, calls: u32, findings: &mut Findings) -> anyhow::Result<u64> {
    let (target, config) = bed.configure(Maps::DbusAndSerial)?;
    let (nowd, config) = (bed.programs.nowd.display().to_string(), config.display().to_string());
    let arguments = ["--tool=callgrind", "--callgrind-out-file=/dev/null", &nowd, "run", "--config", &config];
    let mut process = Part::start_without_auxv(bed.folder(), "valgrind", Path::new("valgrind"), &arguments)?;
    process.says("the link is up").await?;
    let mut caller = bed.caller().await?;
    // It is slow: nothing here is measured by time.
    let way = make(&target).within(20_000);
    greet(&mut caller, &way, 5).await?;
    let measured = drive::alone(&mut caller, &way, calls).await?;
    findings.tally.add(&measured.tally);
    process.end().await?;
    let output = process.output();
    let line = output
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .context("callgrind counted nothing")?;
    line.1.trim().parse().context("what callgrind counted")
}
