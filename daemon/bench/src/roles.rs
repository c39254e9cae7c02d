//! The helpers that are measured or measure: each is this very program under another name, a process of its own, and dies
//! with the bench.

mod device;
mod echo;
mod service;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Of `prctl(2)`: "AUXV".
const PR_GET_AUXV: u64 = 0x4155_5856;
/// Of x86-64.
const SYS_PRCTL: i64 = 157;
const EINVAL: u32 = 22;

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
        /// Refuse it `PR_GET_AUXV`
        #[arg(long)]
        no_auxv: bool,
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
            Self::Exec { parent, no_auxv, program, args } => {
                die_with(parent)?;
                if no_auxv {
                    refuse_auxv()?;
                }
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

/// Makes the kernel answer `PR_GET_AUXV` as one before 6.4 does. Valgrind shows a program other auxiliary values than the
/// kernel's own, but lets this question through; who looks for the vDSO where the kernel says then looks into nothing.
fn refuse_auxv() -> anyhow::Result<()> {
    let asks = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, PR_GET_AUXV)?;
    let rules = BTreeMap::from([(SYS_PRCTL, vec![SeccompRule::new(vec![asks])?])]);
    let invalid = SeccompAction::Errno(EINVAL);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, invalid, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program).context("the kernel takes no filter")
}
