//! The helpers that are measured or measure: each is this very program under another name, a process of its own, and dies
//! with the bench.

mod device;
mod echo;
mod service;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Which process to be. `parent` is the bench's process id.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Sends back whatever it is sent over MQTT
    Echo(echo::Echo),
    /// A service on D-Bus that gives back a number
    Service { parent: i32, bus: String },
    /// Devices at serial lines, which answer `SET 5` with `OK 5`; each line is a link to be made
    Device { parent: i32, links: Vec<PathBuf> },
    /// Another program, made to die with the bench too
    Exec {
        parent: i32,
        program: PathBuf,
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        args: Vec<String>,
    },
}

impl Role {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Echo(echo) => {
                die_with(echo.parent)?;
                alone(echo::run(echo))
            }
            Self::Service { parent, bus } => {
                die_with(parent)?;
                alone(service::run(bus))
            }
            Self::Device { parent, links } => {
                die_with(parent)?;
                alone(device::run(links))
            }
            Self::Exec { parent, program, args } => {
                die_with(parent)?;
                let failed = Command::new(&program).args(args).exec();
                Err(failed).with_context(|| format!("cannot start {}", program.display()))
            }
        }
    }
}

/// On one thread, as the daemon itself.
fn alone(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Asks the kernel to kill this process when the bench ends, however it ends.
fn die_with(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("no death signal can be set")?;
    let found = getppid().map(rustix::process::Pid::as_raw_nonzero);
    ensure!(found.is_some_and(|found| found.get() == parent), "the bench has ended already");
    Ok(())
}
