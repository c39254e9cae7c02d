//! When the gate acted, for whoever wants to check that it was never late. Not needed by a plugin.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use nowd_plugin::Call;
use rustix::time::{ClockId, clock_gettime};

/// A file to which lines are appended, if there is one.
#[derive(Debug)]
pub(crate) struct Record {
    file: Option<PathBuf>,
}

impl Record {
    /// The file that the environment variable `GATE_RECORD` names.
    pub(crate) fn of_environment() -> Self {
        Self::to(std::env::var_os("GATE_RECORD").filter(|file| !file.is_empty()).map(PathBuf::from))
    }

    pub(crate) const fn to(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// To be said directly after acting.
    pub(crate) fn acted(&self, call: &Call, what: &str) {
        let now = clock_gettime(ClockId::Boottime);
        let Some(file) = &self.file else { return };
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        let line = format!("{micros} {} {} {what}\n", call.id, call.deadline.boottime_micros());
        // In one piece, so that lines of several gates do not mix.
        let append = || OpenOptions::new().create(true).append(true).open(file)?.write_all(line.as_bytes());
        if let Err(e) = append() {
            drop(writeln!(io::stderr(), "cannot write to {}: {e}", file.display()));
        }
    }
}
