//! One system under test: broker, bus, actuators, daemon and cloud side as processes, with a proxy on each side of the
//! broker. Knows how to start, break and mend its parts, and nothing of what is judged.

mod config;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nowd_link::{DatePolicy, Options, Tls, TlsFiles};
use nowd_testkit::{Ca, Identity, Process, Proxy, require, wait_for};
use tempfile::TempDir;

use crate::clock::WallFile;

/// The gateway's name.
pub(crate) const TARGET: &str = "gw-1";
/// The name under which this program is `nowd` itself, with its command line.
pub(crate) const NOWD: &str = "nowd";
/// How long a part may take to start. Says nothing about speed.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long a broker or bus is away.
const DOWN: Duration = Duration::from_millis(200);
/// How often a port that somebody else took is given up for another.
const ATTEMPTS: usize = 10;

/// The system under test. Everything in it ends with it, or with the suite.
#[derive(Debug)]
pub(crate) struct Bed {
    folder: TempDir,
    ca: Ca,
    ports: config::Ports,
    pub(crate) broker: Process,
    pub(crate) bus: Process,
    pub(crate) actuator: Process,
    pub(crate) daemon: Process,
    pub(crate) cloud: Process,
    /// Between daemon and broker.
    pub(crate) daemon_link: Proxy,
    /// Between cloud side and broker.
    pub(crate) cloud_link: Proxy,
    /// Between another publisher and the broker, without TLS.
    pub(crate) other_link: Proxy,
    pub(crate) http_port: u16,
    pub(crate) clock: WallFile,
    /// What daemons that have ended said about calls.
    earlier: Vec<String>,
}

impl Bed {
    /// Everything, connected. `clock` is the daemon's trust in its clock, `more` the end of its configuration.
    pub(crate) async fn start(clock: &str, more: &str) -> anyhow::Result<Self> {
        require("mosquitto");
        require("dbus-daemon");
        let folder = tempfile::Builder::new().prefix("nowd-faults-").tempdir()?;
        let ca = Ca::new();
        let (ports, broker) = first_broker(folder.path(), &ca).await?;
        let daemon_link = Proxy::start(ports.tls).await;
        let cloud_link = Proxy::start(ports.tls).await;
        let other_link = Proxy::start(ports.plain).await;
        let bus = start_bus(folder.path()).await?;
        let actuator = start_actuator(folder.path()).await?;
        let wall = WallFile(folder.path().join("clock"));
        wall.set(0, Duration::from_millis(10))?;
        config::write_daemon(folder.path(), (clock, more), daemon_link.port(), &ca.client(TARGET))?;
        let daemon = start_daemon(folder.path(), &wall).await?;
        let (cloud, http_port) = start_cloud(&ca, &cloud_link).await?;
        let clock = wall;
        Ok(Self {
            folder,
            ca,
            ports,
            broker,
            bus,
            actuator,
            daemon,
            cloud,
            daemon_link,
            cloud_link,
            other_link,
            http_port,
            clock,
            earlier: Vec::new(),
        })
    }

    /// Where the actuators write down what they do.
    pub(crate) fn book(&self) -> PathBuf {
        self.folder.path().join("book")
    }

    /// How a client with the cloud side's rights reaches the broker: directly.
    pub(crate) fn client(&self, id: &str) -> anyhow::Result<Options> {
        let Identity { ca, certificate, key } = self.ca.client("cloud");
        let mut options = Options::new(id, "localhost", self.ports.tls);
        let files = TlsFiles { ca: Some(ca), certificate, key };
        options.tls = Some(Arc::new(Tls::load(&files, DatePolicy::Judge)?));
        Ok(options)
    }

    /// Starts the daemon again after it was killed.
    pub(crate) async fn restart_daemon(&mut self) -> anyhow::Result<()> {
        self.daemon.kill();
        self.earlier.extend(self.daemon.lines());
        self.daemon = start_daemon(self.folder.path(), &self.clock).await?;
        Ok(())
    }

    /// Starts another daemon of the same name beside the one that runs, which is given back.
    pub(crate) async fn second_daemon(&mut self) -> anyhow::Result<Process> {
        let second = start_daemon(self.folder.path(), &self.clock).await?;
        Ok(std::mem::replace(&mut self.daemon, second))
    }

    /// Starts another cloud side beside the one that runs, for as long as the process given back; and says its port.
    pub(crate) async fn second_cloud(&self) -> anyhow::Result<(Process, u16)> {
        start_cloud(&self.ca, &self.cloud_link).await
    }

    /// Runs `nowd` with these arguments and the daemon's configuration, as somebody on site does; gives back its exit code.
    pub(crate) async fn nowd(&self, arguments: &[&str]) -> anyhow::Result<Option<i32>> {
        let program = std::env::current_exe().context("this program does not know where it lies")?;
        let mut command = Command::new(program);
        command.arg0(NOWD).args(arguments).arg("--config").arg(config::daemon_file(self.folder.path()));
        Ok(Process::start(command).exit(STARTS_WITHIN).await.code())
    }

    /// Starts the actuators again after they died.
    pub(crate) async fn restart_actuator(&mut self) -> anyhow::Result<()> {
        self.actuator.kill();
        self.actuator = start_actuator(self.folder.path()).await?;
        Ok(())
    }

    /// Kills the bus with all its connections, and starts it and the actuators again.
    pub(crate) async fn restart_bus(&mut self) -> anyhow::Result<()> {
        self.bus.kill();
        std::fs::remove_file(config::bus_socket(self.folder.path())).context("the old socket stays")?;
        tokio::time::sleep(DOWN).await;
        self.bus = start_bus(self.folder.path()).await?;
        self.restart_actuator().await
    }

    /// Ends the broker, and soon starts it again on the same ports with what it has saved.
    pub(crate) async fn restart_broker(&mut self, gently: bool) -> anyhow::Result<()> {
        if gently {
            self.broker.terminate();
            self.broker.exit(STARTS_WITHIN).await;
        } else {
            self.broker.kill();
        }
        tokio::time::sleep(DOWN).await;
        for _ in 0..ATTEMPTS {
            if let Some(broker) = start_broker(self.folder.path()).await? {
                self.broker = broker;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("mosquitto does not start again");
    }

    /// What the daemons wrote down about this call: when, of which attempt, what became of it.
    pub(crate) fn said_of(&self, id: &str) -> Vec<String> {
        let brief = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let word = |key: &str| line.get(key).map(ToString::to_string).unwrap_or_default();
            let (when, attempt, status) = (word("timestamp"), word("attempt"), word("status"));
            (word("id").trim_matches('"') == id)
                .then(|| format!("  the daemon, at {when}: {}, attempt {attempt}: {status}", word("message")))
        };
        self.earlier.iter().chain(&self.daemon.lines()).filter_map(brief).collect()
    }
}

async fn first_broker(folder: &Path, ca: &Ca) -> anyhow::Result<(config::Ports, Process)> {
    for _ in 0..ATTEMPTS {
        let ports = config::Ports::free()?;
        config::write_broker(folder, &ports, &ca.server())?;
        if let Some(broker) = start_broker(folder).await? {
            return Ok((ports, broker));
        }
    }
    anyhow::bail!("mosquitto does not start")
}

/// Nothing if it ended at once: a port is taken.
async fn start_broker(folder: &Path) -> anyhow::Result<Option<Process>> {
    let program =
        if Path::new("/usr/sbin/mosquitto").is_file() { "/usr/sbin/mosquitto" } else { "mosquitto" };
    let file = config::broker_file(folder).display().to_string();
    let mut broker = role(&["exec", &parent(), program, "-c", &file])?;
    let ended = until(&mut broker, " running").await;
    Ok((!ended).then_some(broker))
}

async fn start_bus(folder: &Path) -> anyhow::Result<Process> {
    let file = config::write_bus(folder)?;
    let argument = format!("--config-file={}", file.display());
    let bus =
        role(&["exec", &parent(), "dbus-daemon", "--nofork", "--nopidfile", "--print-address", &argument])?;
    bus.wait_for_line(STARTS_WITHIN, "unix:").await;
    Ok(bus)
}

async fn start_actuator(folder: &Path) -> anyhow::Result<Process> {
    let (port, book) = (config::port_file(folder), folder.join("book"));
    let (port, book) = (port.display().to_string(), book.display().to_string());
    for _ in 0..ATTEMPTS {
        let mut actuator = role(&["actuator", &parent(), &config::bus_address(folder), &port, &book])?;
        // A call that was waiting for it may be one that it dies of.
        let ended = until(&mut actuator, "ready").await;
        if !ended {
            return Ok(actuator);
        }
    }
    anyhow::bail!("the actuators do not start")
}

async fn start_daemon(folder: &Path, clock: &WallFile) -> anyhow::Result<Process> {
    let config = config::daemon_file(folder).display().to_string();
    let daemon = role(&["daemon", &parent(), &config, &clock.0.display().to_string()])?;
    daemon.wait_for_line(STARTS_WITHIN, "the link is up").await;
    Ok(daemon)
}

async fn start_cloud(ca: &Ca, link: &Proxy) -> anyhow::Result<(Process, u16)> {
    let Identity { ca, certificate, key } = ca.client("cloud");
    let files = [ca, certificate, key].map(|file| file.display().to_string());
    let [ca, certificate, key] = &files;
    let cloud = role(&["cloud", &parent(), &link.port().to_string(), ca, certificate, key])?;
    let line = cloud.wait_for_line(STARTS_WITHIN, "listening on ").await;
    let port = line.trim_start_matches("listening on ").parse().context("the cloud side's port")?;
    Ok((cloud, port))
}

/// Waits until a process says this, or ends; says whether it has ended.
async fn until(process: &mut Process, text: &str) -> bool {
    let mut ended = false;
    wait_for(STARTS_WITHIN, &format!("{text:?}, or the end of the process"), || {
        ended = process.try_exit().is_some();
        ended || process.lines().iter().any(|line| line.contains(text))
    })
    .await;
    ended
}

fn parent() -> String {
    std::process::id().to_string()
}

/// This program in another role.
fn role(arguments: &[&str]) -> anyhow::Result<Process> {
    let program = std::env::current_exe().context("this program does not know where it lies")?;
    let arguments: Vec<_> = std::iter::once(&"role").chain(arguments).collect();
    Ok(Process::spawn(program, &arguments, &[]))
}
