//! The processes of the system under test. Each is this very program under another name, dies with the suite, and can be
//! frozen or killed by itself.

mod actuator;
mod cloud;
mod daemon;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Which process to be. `parent` is the suite's process id.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// The daemon, through its library, with a wall clock that is read from a file
    Daemon { parent: i32, config: PathBuf, clock: PathBuf },
    /// The cloud side behind a loopback HTTP port
    Cloud(cloud::Cloud),
    /// The actuators: a D-Bus service and a serial device
    Actuator(actuator::Actuator),
    /// Another program, made to die with the suite too
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
            Self::Daemon { parent, config, clock } => {
                die_with(parent)?;
                daemon::run(config, clock)
            }
            Self::Cloud(cloud) => {
                die_with(cloud.parent)?;
                cloud::run(cloud)
            }
            Self::Actuator(actuator) => {
                die_with(actuator.parent)?;
                actuator::run(actuator)
            }
            Self::Exec { parent, program, args } => {
                die_with(parent)?;
                let failed = Command::new(&program).args(args).exec();
                Err(failed).with_context(|| format!("cannot start {}", program.display()))
            }
        }
    }
}

/// Asks the kernel to kill this process, frozen or not, when the suite ends, however it ends.
fn die_with(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("no death signal can be set")?;
    let found = getppid().map(rustix::process::Pid::as_raw_nonzero);
    ensure!(found.is_some_and(|found| found.get() == parent), "the suite has ended already");
    Ok(())
}
