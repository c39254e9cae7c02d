//! The fault suite: runs the real daemon and the real cloud side as processes, breaks things, and counts what really
//! happened at an actuator that keeps its own time.
//!
//! `nowd-faults` prints one table and fails unless three of its columns are all zero: actuations that were *late*, calls
//! that were actuated *twice* (double), and answers that *contradict* what the actuator did. It judges safety, never speed.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table on standard output is what this program is for"
)]

mod act;
mod bed;
mod clock;
mod faults;
mod http;
mod judge;
mod load;
mod metronome;
mod raw;
mod report;
mod roles;
mod run;
mod stage;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::roles::Role;

/// Breaks nowd in every way we know and counts what its actuators did.
#[derive(Debug, Parser)]
#[command(
    name = "nowd-faults",
    after_help = "Columns: calls made; those under way while things were broken (struck); actuations, and those before the \
                  caller's deadline; answers executed, not executed, unknown; how close to its deadline the last \
                  actuation came; and the three that must be 0.\n\n\
                  Exit codes: 0 all is well, 1 a promise was broken or a fault was not exercised, 2 wrong arguments."
)]
struct Cli {
    #[command(subcommand)]
    role: Option<Part>,
    #[command(flatten)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A part of the system under test; the suite starts these by itself
    #[command(subcommand, hide = true)]
    Role(Role),
}

#[derive(Debug, Clone, Args)]
struct Suite {
    /// Calls over HTTP in each fault
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    calls: u32,
    /// Only faults whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How many faults to run at the same time, each with a system of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// List the faults and what they do
    #[arg(long)]
    list: bool,
    /// One JSON object for each fault instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    // Under the other name this is the command that people on site use.
    if std::env::args_os().next().is_some_and(|name| name == bed::NOWD) {
        return nowd::run(Vec::new());
    }
    let cli = Cli::parse();
    let ended = match cli.role {
        Some(Part::Role(role)) => role.run().map(|()| true),
        None => run::suite(&cli.suite),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nowd-faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}
