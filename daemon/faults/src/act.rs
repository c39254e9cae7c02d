//! What an actuator did, as it wrote it down itself: one line for each actuation, in one write, so that a kill loses
//! nothing that happened.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// One actuation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Act {
    /// When: `CLOCK_BOOTTIME` in microseconds, read directly before it acted.
    pub(crate) at: u64,
    /// The call's number in the suite, unique whatever its id.
    pub(crate) number: u64,
    /// The call's id, as the daemon gave it.
    pub(crate) id: String,
    /// The deadline, as the daemon gave it.
    pub(crate) not_after: u64,
    /// By which way it was asked.
    pub(crate) way: String,
}

/// The actuator's end of the file.
#[derive(Debug)]
pub(crate) struct Book(File);

impl Book {
    pub(crate) fn open(file: &Path) -> anyhow::Result<Self> {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        Ok(Self(opened.with_context(|| format!("cannot open {}", file.display()))?))
    }

    /// Acts.
    pub(crate) fn write(&self, act: &Act) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(act)?;
        line.push(b'\n');
        (&self.0).write_all(&line).context("an actuation could not be written down")
    }
}

/// All actuations so far.
pub(crate) fn read(file: &PathBuf) -> anyhow::Result<Vec<Act>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.lines().map(|line| serde_json::from_str(line).context("an actuation cannot be read")).collect()
}
