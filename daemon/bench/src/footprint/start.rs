//! From the start of the process until it tells its service manager that it is ready. The link need not be up for that.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use tokio::net::UnixDatagram;

use super::SECTION;
use crate::Effort;
use crate::bed::{Bed, Maps};
use crate::measure::{Times, now};
use crate::part::Part;
use crate::report::{Findings, Target};

/// Says nothing about speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some starts, one after the other.
pub(super) async fn start(bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
    let (_, config) = bed.configure(Maps::DbusAndSerial)?;
    let mut times = Times::new()?;
    for _ in 0..effort.starts() {
        times.record(ready(bed, &config).await?);
    }
    findings.row(SECTION, "start of the process to READY", &times);
    let milliseconds = times.median() / 1_000.0;
    findings.targets.push(Target::at_most("start to READY, ms", milliseconds, 30.0));
    Ok(())
}

/// Nanoseconds from the start until READY; the process is ended.
pub(crate) async fn ready(bed: &Bed, config: &Path) -> anyhow::Result<u64> {
    let socket = bed.folder().join("notify");
    drop(std::fs::remove_file(&socket));
    let manager = UnixDatagram::bind(&socket)?;
    let mut command = Command::new(&bed.programs.nowd);
    command.args(["run", "--config"]).arg(config).env("NOTIFY_SOCKET", &socket);
    let begun = now();
    let mut process = Part::run(bed.folder(), "started", command)?;
    let told = async {
        let mut message = [0; 4096];
        loop {
            let len = manager.recv(&mut message).await?;
            let text = String::from_utf8_lossy(message.get(..len).unwrap_or_default()).into_owned();
            if text.lines().any(|line| line == "READY=1") {
                return anyhow::Ok(now().saturating_sub(begun));
            }
        }
    };
    let took = tokio::select! {
        took = told => took?,
        ended = process.ended() => {
            ended?;
            bail!("nowd ended:\n{}", process.last_words());
        }
        () = tokio::time::sleep(PATIENCE) => bail!("nowd does not become ready:\n{}", process.last_words()),
    };
    process.end().await?;
    Ok(took)
}
