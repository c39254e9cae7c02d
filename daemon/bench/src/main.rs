//! Measures the whole of nowd against the bare parts that it is made of, in one run on one machine: real mosquitto with TLS,
//! real dbus-daemon, ptys, real processes.
//!
//! Every answer is checked while it is measured. It judges speed, never safety: that is what `daemon/faults` is for.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report on standard output is what this program is for"
)]

mod awake;
mod bed;
mod calls;
mod cloud;
mod counts;
mod drive;
mod floor;
mod footprint;
mod gateway;
mod guard;
mod measure;
mod part;
mod report;
mod roles;
mod scale;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::bed::{Bed, Programs};
use crate::guard::{Guard, Verdict};
use crate::measure::{SECOND, float};
use crate::report::{Findings, Place, Target};
use crate::roles::Role;

/// Measures nowd against the bare parts that it is made of
#[derive(Debug, Parser)]
#[command(
    name = "nowd-bench",
    after_help = "Exit codes: 0 measured, and no call was lost, misrouted, or answered twice or wrongly; 1 otherwise; 2 wrong arguments or files, or nothing could be measured. Whether the targets were met is in the report.\n\
                  With --guard: 0 measured, no count grew by more than its share, and no call was misrouted, or answered twice or wrongly; 1 otherwise; 2 as above; 77 the baseline is of another architecture. No time is judged, and no call that was lost under load."
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
    /// How long each of the longer measurements takes, 1 to 600; not with --quick
    #[arg(long, value_name = "N", default_value_t = 30, conflicts_with = "quick", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Writes the findings there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws pictures of the findings there, as SVG
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Leaves the folders with the configurations and logs of all parts, and callgrind's profiles, and says where they are
    #[arg(long)]
    keep: bool,
    /// The `nowd` to measure [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    nowd: Option<PathBuf>,
    /// Fails if a call needs more instructions or allocations than the counts in there, and their shares, allow
    #[arg(long, value_name = "FILE")]
    guard: Option<PathBuf>,
    /// Writes the counts there, for `--guard`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["guard", "quick"])]
    write_baseline: Option<PathBuf>,
}

impl Bench {
    /// Whether it is all for nothing without counts.
    const fn guarded(&self) -> bool {
        self.guard.is_some() || self.write_baseline.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Instructions and allocations of a call, counted under valgrind
    Counts,
    /// The bare parts, and one call at a time through a gateway, in turns
    Alone,
    /// 50 calls a second, with idle gaps
    Paced,
    /// 1, 10, 50, 200 calls under way
    Flight,
    /// Fixed rates, up to and beyond what can be done
    Open,
    /// Size, memory, processor time, wake-ups, start
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
    /// The counts have to be had.
    guarded: bool,
    seconds: u64,
}

impl Effort {
    /// One call at a time, everything in turns; nanoseconds.
    const fn alone(self) -> u64 {
        if self.quick { 2 * SECOND } else { self.seconds * SECOND }
    }

    /// Each kind at a steady pace, all its turns together: the minute of which the tail is promised; nanoseconds.
    const fn paced(self) -> u64 {
        if self.quick { SECOND } else { 60 * SECOND }
    }

    /// How many such minutes, each with processes of its own.
    const fn minutes(self) -> u32 {
        if self.quick { 1 } else { 9 }
    }

    /// One kind of load; nanoseconds.
    const fn load(self) -> u64 {
        if self.quick { SECOND / 8 } else { self.seconds * SECOND / 10 }
    }

    /// One kind with so many calls under way, of all sets of processes together; nanoseconds.
    const fn flight(self) -> u64 {
        2 * self.load()
    }

    /// How long a gateway that has just started is left alone, and how long it is watched while nothing happens.
    const fn idle(self) -> (Duration, Duration) {
        // Longer than threads of the start live, and than the time between two pings, and two probes of the link.
        let (settles, idles) = if self.quick { (1, 3) } else { (15, 120) };
        (Duration::from_secs(settles), Duration::from_secs(idles))
    }

    /// Starts of a gateway.
    const fn starts(self) -> u32 {
        if self.quick { 5 } else { 30 }
    }

    /// Calls of each kind, for the memory of a gateway that has worked.
    const fn calls(self) -> u64 {
        if self.quick { 1_000 } else { 10_000 }
    }

    /// Batches of each kind whose instructions and allocations are counted, and the calls of one.
    const fn counts(self) -> (u32, u32) {
        if self.quick { (5, 16) } else { (9, 50) }
    }

    /// How many gateways there are at one broker.
    const fn gateways(self) -> &'static [usize] {
        if self.quick { &[1, 10] } else { &[1, 10, 50, 100, 200] }
    }

    /// Every so many of the rates of the open loop.
    const fn rates(self) -> usize {
        if self.quick { 2 } else { 1 }
    }

    /// Sets of processes, one after the other, of which each measures the same: the ratios are of all calls of all of them.
    const fn sets(self) -> u32 {
        if self.quick { 1 } else { 9 }
    }
}

/// What could not be compared has not failed, and is not well: as `.ci/machine` has it.
const NOT_COMPARED: u8 = 77;
/// As clap has it for wrong arguments.
const NOT_BEGUN: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.role {
        Some(Helper::Role(role)) => role.run().map(|()| ExitCode::SUCCESS),
        None => bench(&cli.bench),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("nowd-bench: {error:#}");
        ExitCode::from(NOT_BEGUN)
    })
}

/// What is to be written in the end can be: it takes minutes until then.
fn look_at_places(bench: &Bench) -> anyhow::Result<()> {
    for (option, file) in [("--json", &bench.json), ("--write-baseline", &bench.write_baseline)] {
        let Some(file) = file else { continue };
        let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let is_there = folder.is_dir() && !file.is_dir();
        anyhow::ensure!(
            is_there,
            "{option}: {} cannot be written; name a file in a folder that is there",
            file.display()
        );
    }
    if let Some(folder) = &bench.plots {
        let made = fs::create_dir_all(folder);
        made.with_context(|| format!("--plots: {} is no folder, and cannot be made one", folder.display()))?;
    }
    Ok(())
}

fn bench(bench: &Bench) -> anyhow::Result<ExitCode> {
    let programs = Programs::find(bench.nowd.clone())?;
    let nowd = programs.nowd.clone();
    let guard = bench.guard.as_ref().map(|file| Guard::open(file, &nowd)).transpose()?;
    if let Some((verdict, why)) = guard.as_ref().and_then(Guard::apart) {
        println!("{why}");
        return Ok(if verdict == Verdict::NotCompared {
            ExitCode::from(NOT_COMPARED)
        } else {
            ExitCode::FAILURE
        });
    }
    let counts = bench.only.is_empty() || bench.only.contains(&Section::Counts);
    anyhow::ensure!(
        counts || !bench.guarded(),
        "--guard and --write-baseline need the section `counts`: leave --only out, or add `--only counts`"
    );
    look_at_places(bench)?;
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
    if let Some(file) = &bench.write_baseline {
        anyhow::ensure!(
            findings.failed.is_empty() && findings.tally.untrue() == 0,
            "the baseline is not written: not all was measured"
        );
        guard::write(file, &nowd, &findings)?;
    }
    let kept = guard.is_none_or(|guard| guard.judge(&findings) == Verdict::Kept);
    let lost = if bench.guard.is_some() { 0 } else { findings.tally.lost };
    let whole = findings.tally.untrue() + lost == 0 && findings.failed.is_empty();
    Ok(if kept && whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(bench: &Bench, programs: Programs) -> anyhow::Result<Findings> {
    let effort = Effort { quick: bench.quick, guarded: bench.guarded(), seconds: bench.seconds };
    let mut bed = Bed::start(programs, bench.keep).await?;
    let mut findings = Findings::default();
    for section in Section::value_variants() {
        if bench.only.is_empty() || bench.only.contains(section) {
            eprintln!("{section:?} ...");
            // What was found out before, and is after, counts all the same.
            let judged = findings.targets.len();
            let measured = section.measure(&mut bed, &effort, &mut findings).await;
            if let Err(error) = measured.and_then(|()| bed.is_whole()) {
                eprintln!("nowd-bench: {section:?}: {error:#}");
                findings.failed.push(*section);
                // Half of it may have been measured.
                findings.targets.truncate(judged);
            }
        }
    }
    // What a section has lost that failed may be counted nowhere.
    if findings.tally.sent > 0 && findings.failed.is_empty() {
        let says = "calls lost, misrouted, answered twice or wrongly, at any load";
        let broken = float(findings.tally.broken());
        findings.targets.push(Target::at_most(says, broken, 0.0));
    }
    Ok(findings)
}

impl Section {
    async fn measure(self, bed: &mut Bed, effort: &Effort, findings: &mut Findings) -> anyhow::Result<()> {
        match self {
            Self::Counts => counts::counts(bed, effort, findings).await,
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
