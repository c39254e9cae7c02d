//! A process under test: its output by lines, signals, its end. Killed when dropped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{wait_blocking, wait_for};

/// Panics, saying what installs it, unless the command is in the search path.
pub fn require(command: &str) {
    assert!(
        is_installed(command),
        "the command {command:?} is not installed; `.ci/setup` installs all that the tests need"
    );
}

/// Whether the command is in the search path, or where daemons are.
#[must_use]
pub fn is_installed(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps daemons where an ordinary user's search path does not reach.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(Path::new).map(Path::to_owned);
    std::env::split_paths(&path).chain(more).any(|folder| folder.join(command).is_file())
}

/// The lines of a program's outputs, which grow.
pub(crate) type Lines = Arc<Mutex<Vec<String>>>;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `program` with its input closed and both of its outputs captured.
    #[must_use]
    pub fn spawn<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[A], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().copied());
        Self::start(command)
    }

    /// Starts a command that the caller has prepared: working directory, cleared environment.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let lines = Arc::default();
        let out = child.stdout.take().map(|out| -> Box<dyn Read + Send> { Box::new(out) });
        let err = child.stderr.take().map(|err| -> Box<dyn Read + Send> { Box::new(err) });
        let read = |output| {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || collect(output, &lines))
        };
        let readers = out.into_iter().chain(err).map(read).collect();
        Self { name, child, lines, readers }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All lines of both outputs so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines themselves, for whoever reads on in them.
    pub(crate) fn growing_lines(&self) -> Lines {
        Arc::clone(&self.lines)
    }

    /// Waits for a line that contains `text` and returns the first such line.
    pub async fn wait_for_line(&self, bound: Duration, text: &str) -> String {
        let found = || self.lines().into_iter().find(|line| line.contains(text));
        let what = format!("{text:?} in the output of {}", self.name);
        wait_for(bound, &what, || found().is_some()).await;
        found().unwrap_or_default()
    }

    pub(crate) fn wait_for_line_blocking(&mut self, bound: Duration, text: &str) -> bool {
        let mut ended = false;
        wait_blocking(bound, || {
            let found = self.lines().iter().any(|line| line.contains(text));
            if !found && ended {
                return true;
            }
            ended = self.try_exit().is_some();
            found
        }) && self.lines().iter().any(|line| line.contains(text))
    }

    /// SIGTERM: please end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP: read your files again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: frozen, until [`Self::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits for the end. Frozen processes end too.
    pub fn kill(&mut self) {
        if self.try_exit().is_none() {
            self.child.kill().unwrap_or_else(|error| panic!("{} cannot be killed: {error}", self.name));
            self.child.wait().unwrap_or_else(|error| panic!("{} cannot be awaited: {error}", self.name));
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("{} cannot be awaited: {error}", self.name))
    }

    /// Waits for its end, and for the last of its output.
    pub async fn exit(&mut self, bound: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let mut status = None;
        wait_for(bound, &what, || {
            status = self.try_exit();
            status.is_some() && self.readers.iter().all(JoinHandle::is_finished)
        })
        .await;
        status.unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("{} takes no signal: {error}", self.name));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not `kill`: a panic while dropping would hide the test's own.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- output of {}:\n{}\n---", self.name, self.lines().join("\n"));
        }
    }
}

fn collect(output: impl Read, lines: &Mutex<Vec<String>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        line.clear();
    }
}
