//! The daemon under valgrind's callgrind, which counts what it does between two questions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::profile::{self, Counted};
use crate::bed::Bed;
use crate::part::Part;

/// A running daemon. Killed when dropped.
pub(super) struct Callgrind {
    process: Part,
    /// Where it is asked, as an argument.
    pipes: String,
    /// Where it writes profiles: with `.1`, `.2` and so on behind.
    profiles: PathBuf,
    written: u32,
    /// The profiles are left there.
    keep: bool,
}

/// Fails where nothing can be counted, and says why.
pub(super) fn is_possible() -> anyhow::Result<()> {
    ensure!(std::env::consts::ARCH == "x86_64", "it is done on x86-64 only");
    for program in ["valgrind", "vgdb"] {
        let there = Command::new(program).arg("--help").output();
        there.with_context(|| format!("{program} is not there; `.ci/setup` installs it"))?;
    }
    Ok(())
}

/// Killed, it leaves them behind: they go with the folder.
fn pipes(folder: &Path) -> String {
    format!("--vgdb-prefix={}", folder.join("vgdb").display())
}

impl Callgrind {
    /// Starts the daemon, and waits for its link.
    pub(super) async fn start(bed: &Bed, config: &Path) -> anyhow::Result<Self> {
        let profiles = bed.folder().join("callgrind");
        let out = format!("--callgrind-out-file={}", profiles.display());
        let (nowd, config) = (bed.programs.nowd.display().to_string(), config.display().to_string());
        // Names written out are easily read, and the place of each instruction is asked for by nobody.
        let pipes = pipes(bed.folder());
        let arguments =
            ["--tool=callgrind", "--compress-strings=no", &pipes, &out, &nowd, "run", "--config", &config];
        let mut process =
            Part::start_without_auxv(bed.folder(), "valgrind", Path::new("valgrind"), &arguments)?;
        process.says("the link is up").await?;
        Ok(Self { process, pipes, profiles, written: 0, keep: bed.keeps() })
    }

    /// What was counted since the last time.
    pub(super) fn counted(&mut self) -> anyhow::Result<Counted> {
        // Blocks, for a minute at most: nothing goes on meanwhile.
        let process = format!("--pid={}", self.process.id());
        let asked = Command::new("timeout").args(["60", "vgdb", &self.pipes, &process, "dump"]).output();
        let asked = asked.context("vgdb cannot be started")?;
        let said = String::from_utf8_lossy(&asked.stderr);
        ensure!(asked.status.success(), "callgrind cannot be asked: {said}");
        self.written += 1;
        let file = PathBuf::from(format!("{}.{}", self.profiles.display(), self.written));
        let text =
            fs::read_to_string(&file).with_context(|| format!("callgrind wrote no profile: {said}"))?;
        self.process.is_there()?;
        if !self.keep {
            fs::remove_file(&file)?;
        }
        profile::read(&text)
    }
}
