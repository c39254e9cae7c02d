//! The plugin's process, and a bus of the test's own: started, frozen, killed, started again. Both end with their handles.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use uuid::Uuid;

use super::bench::LOOK_EVERY;
use super::bus::clip;
use super::{Options, Program, Unreachable};
use crate::BootInstant;
use crate::bus::BusAddress;
use crate::service::process::BUS_VARIABLE;

/// How long a bus may take to start.
const BUS_WITHIN: Duration = Duration::from_secs(5);

/// How long the command of `--restart` may take.
const RESTART_WITHIN: Duration = Duration::from_secs(30);

/// How many of the last lines of a program are kept, and how much of each.
const LAST_LINES: usize = 12;
const LINE_LEN: u64 = 300;

/// How many of them go into one sentence.
const LAST_WORDS: usize = 4;

/// How long reading them may take after the end: what the program has started may hold its output open.
const READ_WITHIN: Duration = Duration::from_millis(300);

/// The bus to test on.
pub(super) async fn bus(options: &Options) -> Result<(BusAddress, Option<PrivateBus>), Unreachable> {
    match (&options.bus, &options.program) {
        (Some(bus), _) => Ok((bus.clone(), None)),
        (None, Some(Program::Own(_))) if is_installed("dbus-daemon") => {
            let wrong = |e: std::io::Error| Unreachable::Bus("a bus of the test's own".into(), e.to_string());
            let bus = PrivateBus::start().await.map_err(wrong)?;
            Ok((BusAddress::At(bus.address()), Some(bus)))
        }
        (None, _) => Ok((BusAddress::System, None)),
    }
}

fn is_installed(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

/// A dbus-daemon that only this user reaches.
#[derive(Debug)]
pub(super) struct PrivateBus {
    folder: PathBuf,
    child: Option<Child>,
}

impl PrivateBus {
    async fn start() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("nowd-plugin-test-{}", Uuid::new_v4().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let mut bus = Self { folder, child: None };
        // No folder of services: it starts none.
        let config = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><type>session</type><listen>{}</listen><auth>EXTERNAL</auth>\n\
             <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>\n",
            bus.address()
        );
        std::fs::write(bus.config(), config)?;
        bus.launch().await?;
        Ok(bus)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("bus.conf")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("bus")
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    async fn launch(&mut self) -> std::io::Result<()> {
        let child = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile"])
            .arg(format!("--config-file={}", self.config().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        let socket = self.socket();
        if until(BUS_WITHIN, || UnixStream::connect(&socket).is_ok()).await {
            Ok(())
        } else {
            Err(std::io::Error::other("dbus-daemon does not start"))
        }
    }

    /// Kills the bus and starts it again at the same address.
    pub(super) async fn restart(&mut self) -> std::io::Result<()> {
        self.stop();
        drop(std::fs::remove_file(self.socket()));
        self.launch().await
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.stop();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The last lines of what a program says.
#[derive(Debug, Default)]
struct Said {
    lines: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Said {
    /// Reads what the program says, so that it is never held up by it.
    fn follow(&mut self, output: Option<impl Read + Send + 'static>) {
        let Some(output) = output else { return };
        let lines = Arc::clone(&self.lines);
        self.readers.push(std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // A line that is longer comes in pieces.
            while (&mut output).take(LINE_LEN).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() >= LAST_LINES {
                    lines.pop_front();
                }
                lines.push_back(clip(String::from_utf8_lossy(&line).trim_end(), 300));
                line.clear();
            }
        }));
    }

    /// The last lines, so many at most. A process that has ended may have said something that is still being read.
    async fn lines(&self, most: usize) -> Vec<String> {
        if !self.readers.is_empty() {
            until(READ_WITHIN, || self.readers.iter().all(JoinHandle::is_finished)).await;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(most)).cloned().collect()
    }
}

/// The process that is tested.
#[derive(Debug)]
pub(super) struct Subject {
    program: Program,
    environment: Vec<(&'static str, String)>,
    child: Option<Child>,
    said: Said,
    /// What has been frozen and must not stay so.
    frozen: Option<u32>,
}

impl Subject {
    pub(super) fn new(options: &Options, bus: &BusAddress) -> Option<Self> {
        let program = options.program.clone()?;
        // Whichever of them the program uses; and whatever this test was started with, it moves nothing on another bus.
        let environment = match bus {
            BusAddress::At(address) => [BUS_VARIABLE, "DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS"]
                .map(|key| (key, address.clone()))
                .into(),
            BusAddress::System => vec![(BUS_VARIABLE, "system".into())],
            BusAddress::Session => vec![(BUS_VARIABLE, "session".into())],
        };
        Some(Self { program, environment, child: None, said: Said::default(), frozen: None })
    }

    /// Starts the program, if that is the test's to do.
    pub(super) fn begin(&mut self) -> Result<(), Unreachable> {
        let Program::Own(command) = &self.program else { return Ok(()) };
        let name = command.first().cloned().unwrap_or_default();
        self.spawn().map_err(|e| Unreachable::Program(name, e.to_string()))
    }

    fn spawn(&mut self) -> std::io::Result<()> {
        let Program::Own(command) = &self.program else { return Ok(()) };
        let Some((program, args)) = command.split_first() else {
            return Err(std::io::Error::other("no program was named"));
        };
        let mut child = Command::new(program)
            .args(args)
            .envs(self.environment.iter().map(|(key, value)| (*key, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // With all that it starts, so that all of it can be frozen and killed.
            .process_group(0)
            .spawn()?;
        // What an earlier process said is not this one's.
        self.said = Said::default();
        self.said.follow(child.stdout.take());
        self.said.follow(child.stderr.take());
        self.child = Some(child);
        Ok(())
    }

    /// Why the plugin does not come, as far as its program says.
    pub(super) async fn epitaph(&mut self, within: Duration) -> String {
        let status = match self.exit_status() {
            Some(status) => format!("; its program has ended ({status})"),
            None => format!(" within {} s", within.as_secs()),
        };
        let lines = self.said.lines(LAST_LINES).await;
        if lines.is_empty() { status } else { format!("{status}; it said:\n  {}", lines.join("\n  ")) }
    }

    /// How the program ended, and what it said last, where it is the test's own and has ended within this time.
    pub(super) async fn end_within(&mut self, limit: Duration) -> Option<String> {
        self.child.as_ref()?;
        until(limit, || self.exit_status().is_some()).await;
        let status = self.exit_status()?;
        let lines = self.said.lines(LAST_WORDS).await;
        let said = if lines.is_empty() {
            "it said nothing".into()
        } else {
            format!("it said: {}", lines.join(" / "))
        };
        Some(format!("the program ended ({status}); {said}"))
    }

    /// How it ended, where it is the test's own, and has.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    pub(super) fn is_own(&self) -> bool {
        matches!(self.program, Program::Own(_))
    }

    /// Sends a signal: to the program and all that it has started, or to the process that the bus names.
    pub(super) fn signal(&mut self, process_id: Option<u32>, signal: Signal) -> Result<(), String> {
        let failed =
            |e: rustix::io::Errno| format!("its process takes no signal: {e}; try as root or as its user");
        let (id, whole) = match (&self.child, process_id) {
            (Some(child), _) => (child.id(), true),
            (None, Some(id)) => (id, false),
            (None, None) => return Err("the bus does not say which process it is".into()),
        };
        if id <= 1 || id == std::process::id() {
            return Err("it is in the test's own process, or the machine's first".into());
        }
        let raw = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or("its process has no id")?;
        let sent = if whole { kill_process_group(raw, signal) } else { kill_process(raw, signal) };
        if signal == Signal::STOP {
            self.frozen = Some(id);
        } else if signal == Signal::CONT || signal == Signal::KILL {
            self.frozen = None;
        }
        sent.map_err(failed)
    }

    /// Ends what SIGSTOP began.
    pub(super) fn thaw(&mut self) {
        if let Some(id) = self.frozen {
            drop(self.signal(Some(id), Signal::CONT));
        }
    }

    /// Starts it again; what is left of it before is killed.
    pub(super) async fn start_again(&mut self) -> Result<(), String> {
        match self.program.clone() {
            Program::Own(_) => {
                self.kill();
                self.spawn().map_err(|e| e.to_string())
            }
            Program::Restart(command) => {
                let mut child = Command::new("/bin/sh")
                    .arg("-c")
                    .arg(&command)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .process_group(0)
                    .spawn()
                    .map_err(|e| e.to_string())?;
                let mut status = None;
                until(RESTART_WITHIN, || {
                    status = child.try_wait().ok().flatten();
                    status.is_some()
                })
                .await;
                match status {
                    Some(status) if status.success() => Ok(()),
                    Some(status) => Err(format!("{} ended with {status}", command.display())),
                    None => {
                        drop(child.kill());
                        drop(child.wait());
                        Err(format!(
                            "{} did not end within {} s",
                            command.display(),
                            RESTART_WITHIN.as_secs()
                        ))
                    }
                }
            }
        }
    }

    /// Ends the test's own: with some time to do so in order.
    pub(super) async fn end(&mut self) {
        if self.child.is_some() && self.exit_status().is_none() && self.signal(None, Signal::TERM).is_ok() {
            until(Duration::from_secs(1), || self.exit_status().is_some()).await;
        }
        self.kill();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Also what it has left behind.
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL).unwrap_or_default();
            }
            drop(child.kill());
            drop(child.wait());
        }
        self.frozen = None;
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Somebody else's is never left frozen.
        self.thaw();
        self.kill();
    }
}

/// Whether the kernel says that all of this process stands still.
pub(super) fn stands_still(process_id: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(Path::new("/proc").join(process_id.to_string()).join("stat"))
    else {
        return false;
    };
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Looks until `condition` holds; whether it came to hold.
pub(super) async fn until(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = BootInstant::now();
    loop {
        if condition() {
            return true;
        }
        if BootInstant::now().saturating_since(begun) >= within {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
