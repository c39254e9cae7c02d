//! A part of the system that is measured: a process of its own, whose output goes to a file, and which ends with the bench.
//!
//! Its output is not read while something is measured: that would cost the machine what belongs to the parts.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a part may take to start or to end. Says nothing about speed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at its output.
const PAUSE: Duration = Duration::from_millis(2);

/// So many lines of its output are shown when it has failed.
const LAST_LINES: usize = 40;

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Part {
    /// Starts `program` so that the kernel ends it with this process, whatever becomes of it.
    pub(crate) fn start<A: AsRef<OsStr>>(
        folder: &Path,
        name: &str,
        program: &Path,
        arguments: &[A],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(own_program()?);
        command.args(["role", "exec", &std::process::id().to_string()]).arg(program).args(arguments);
        Self::run(folder, name, command)
    }

    /// The same for valgrind.
    pub(crate) fn start_without_auxv(
        folder: &Path,
        name: &str,
        program: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(own_program()?);
        command
            .args(["role", "exec", "--no-auxv", &std::process::id().to_string()])
            .arg(program)
            .args(arguments);
        Self::run(folder, name, command)
    }

    /// Starts this very program in another role.
    pub(crate) fn role(folder: &Path, name: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(own_program()?);
        let [role, rest @ ..] = arguments else { bail!("a role has a name") };
        command.args(["role", role, &std::process::id().to_string()]).args(rest);
        Self::run(folder, name, command)
    }

    /// Starts a command as it is.
    pub(crate) fn run(folder: &Path, name: &str, mut command: Command) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its output holds `text`, and gives the first line that does.
    pub(crate) async fn says(&mut self, text: &str) -> anyhow::Result<String> {
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            let output = self.output();
            if let Some(line) = output.lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            if let Some(ended) = self.child.try_wait()? {
                bail!("{} ended ({ended}) before it said {text:?}:\n{}", self.name, self.last_words());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("{} does not say {text:?}:\n{}", self.name, self.last_words());
    }

    /// Fails, with its output, if it has ended by itself.
    pub(crate) fn is_there(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(ended) => bail!("{} ended ({ended}):\n{}", self.name, self.last_words()),
            None => Ok(()),
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        while self.child.try_wait()?.is_none() {
            tokio::time::sleep(10 * PAUSE).await;
        }
        Ok(())
    }

    /// All that it has written.
    pub(crate) fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of that, for people.
    pub(crate) fn last_words(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("{} does not end", self.name);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program does not know where it lies")
}
