//! Measures the whole of nowd against the bare parts that it is made of, in one run on one machine: real mosquitto with TLS,
//! real dbus-daemon, ptys, real processes.
//!
//! Every answer is checked while it is measured. It judges speed, never safety: that is what `daemon/faults` is for.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report on standard output is what this program is for"
)]

mod bed;
mod calls;
mod cloud;
mod drive;
mod floor;
mod footprint;
mod gateway;
mod measure;
mod part;
mod report;
mod roles;
mod scale;
mod wire;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::bed::{Bed, Programs};
use crate::measure::{SECOND, float};
use crate::report::{Findings, Place, Target};
use crate::roles::Role;

/// Measures nowd against the bare parts that it is made of
#[derive(Debug, Parser)]
#[command(
    name = "nowd-bench",
    after_help = "Exit codes: 0 measured, and no call was lost, misrouted, or answered twice or wrongly; 1 otherwise; 2 wrong arguments. Whether the targets were met is in the report."
)]
struct Cli {
    #[command(subcommand)]
    role: Option<Helper>,
    #[command(flatten)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Helper {
    /// A part of what is measured; the bench starts these by itself
    #[command(subcommand, hide = true)]
    Role(Role),
}

#[derive(Debug, Args)]
struct Bench {
    /// A look at everything in less than a minute: too short for numbers to be quoted
    #[arg(long)]
    quick: bool,
    /// Only this; may be given several times
    #[arg(long, value_enum, value_name = "SECTION")]
    only: Vec<Section>,
    /// How long each of the longer measurements takes
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Writes the findings there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws pictures of the findings there, as SVG
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Leaves the folder with the configurations and logs of all parts, and says where it is
    #[arg(long)]
    keep: bool,
    /// The `nowd` to measure [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    nowd: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The bare parts, and one call at a time through a gateway, in turns
    Alone,
    /// 50 calls a second, with idle gaps
    Paced,
    /// 1, 10, 50, 200 calls under way
    Flight,
    /// Fixed rates, up to and beyond what can be done
    Open,
    /// Size, memory, processor time, wake-ups, start, instructions of a call
    Footprint,
    /// HTTP to gateway and back, against MQTT alone and against a connection for each call
    Cloud,
    /// Many gateways, 10,000 remembered ids, 10,000 methods
    Scale,
}

/// Nothing takes so long, with whatever arguments.
const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);

/// How long things are measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    quick: bool,
    seconds: u64,
}

impl Effort {
    /// One call at a time, everything in turns; nanoseconds.
    const fn alone(self) -> u64 {
        if self.quick { 3 * SECOND } else { self.seconds * SECOND }
    }

    /// Each kind at a steady pace, all its turns together; nanoseconds.
    const fn paced(self) -> u64 {
        if self.quick { 2 * SECOND } else { 2 * self.seconds * SECOND }
    }

    /// One kind of load, all its rounds together; nanoseconds.
    const fn load(self) -> u64 {
        if self.quick { SECOND / 4 } else { self.seconds * SECOND / 10 }
    }

    /// How long a gateway is watched while nothing happens.
    const fn idle(self) -> Duration {
        Duration::from_secs(if self.quick { 4 } else { 2 * self.seconds })
    }

    /// Starts of a gateway.
    const fn starts(self) -> u32 {
        if self.quick { 5 } else { 30 }
    }

    /// Calls of each kind, for the memory of a gateway that has worked.
    const fn calls(self) -> u64 {
        if self.quick { 1_000 } else { 10_000 }
    }

    /// Calls whose instructions are counted. It takes half a minute whatever their number.
    const fn instructions(self) -> Option<u32> {
        if self.quick { None } else { Some(500) }
    }

    /// How many gateways there are at one broker.
    const fn gateways(self) -> &'static [usize] {
        if self.quick { &[1, 10] } else { &[1, 10, 50, 100, 200] }
    }

    /// Every so many of the rates of the open loop.
    const fn rates(self) -> usize {
        if self.quick { 2 } else { 1 }
    }

    /// Of load, in turns with the floor.
    const fn rounds(self) -> u32 {
        if self.quick { 1 } else { 5 }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.role {
        Some(Helper::Role(role)) => role.run().map(|()| true),
        None => bench(&cli.bench),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nowd-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(bench: &Bench) -> anyhow::Result<bool> {
    let programs = Programs::find(bench.nowd.clone())?;
    let place = Place::here(bench.quick)?;
    // One thread, as the daemon itself: nothing has to be woken here but what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        tokio::select! {
            findings = measure(bench, programs) => findings,
            () = tokio::time::sleep(LONGEST) => anyhow::bail!("it took more than {LONGEST:?}"),
            _ = terminate.recv() => anyhow::bail!("it was told to end"),
            _ = interrupt.recv() => anyhow::bail!("it was told to end"),
        }
    })?;
    print!("{}", report::table(&place, &findings));
    if let Some(file) = &bench.json {
        let text = serde_json::to_string_pretty(&report::json(&place, &findings))?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(folder) = &bench.plots {
        report::plots(folder, &place, &findings)?;
    }
    Ok(findings.tally.broken() == 0 && findings.failed.is_empty())
}

async fn measure(bench: &Bench, programs: Programs) -> anyhow::Result<Findings> {
    let effort = Effort { quick: bench.quick, seconds: bench.seconds };
    let mut bed = Bed::start(programs, bench.keep).await?;
    let mut findings = Findings::default();
    for section in Section::value_variants() {
        if bench.only.is_empty() || bench.only.contains(section) {
            eprintln!("{section:?} ...");
            // What was found out before, and is after, counts all the same.
            let measured = section.measure(&mut bed, &effort, &mut findings).await;
            if let Err(error) = measured.and_then(|()| bed.is_whole()) {
                eprintln!("nowd-bench: {section:?}: {error:#}");
                findings.failed.push(*section);
            }
        }
    }
    let says = "calls lost, misrouted, answered twice or wrongly, at any load";
    let broken = float(findings.tally.broken());
    findings.targets.push(Target::at_most(says, broken, 0.0));
    Ok(findings)
}

impl Section {
    async fn measure(self, bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
        match self {
            Self::Alone => gateway::alone(bed, effort, findings).await,
            Self::Paced => gateway::paced(bed, effort, findings).await,
            Self::Flight => gateway::flight(bed, effort, findings).await,
            Self::Open => gateway::open(bed, effort, findings).await,
            Self::Footprint => footprint::footprint(bed, effort, findings).await,
            Self::Cloud => cloud::cloud(bed, effort, findings).await,
            Self::Scale => scale::scale(bed, effort, findings).await,
        }
    }
}
