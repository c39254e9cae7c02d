//! What is measured, as processes: broker with TLS and client certificates, bus, service, devices, echoes, gateways.
//!
//! Everything listens on loopback or lies in a temporary folder, and ends with the bench.

mod files;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nowd_testkit::{Ca, Identity, is_installed};
use tempfile::TempDir;

use nowd_link::Options;

use crate::calls::Caller;
use crate::part::Part;
use crate::wire::Login;

pub(crate) use files::Maps;

/// How often a port that somebody else took is given up for another.
pub(crate) const ATTEMPTS: usize = 10;
/// The load generator's certificate; it may do everything.
const BENCH: &str = "bench";

/// The programs under test.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) nowd: PathBuf,
    pub(crate) cloud: PathBuf,
}

impl Programs {
    /// Those that lie beside this program, unless another `nowd` is named: built with the same profile.
    pub(crate) fn find(nowd: Option<PathBuf>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("this program does not know where it lies")?;
        let is_named = nowd.is_some();
        let programs = Self {
            nowd: nowd.unwrap_or_else(|| own.with_file_name("nowd")),
            cloud: own.with_file_name("nowd-cloud"),
        };
        ensure!(
            !is_named || programs.nowd.is_file(),
            "--nowd: there is no file {}; name a program",
            programs.nowd.display()
        );
        for program in [&programs.nowd, &programs.cloud] {
            ensure!(program.is_file(), "there is no {}; `.ci/bench` builds it", program.display());
        }
        Ok(programs)
    }
}

/// Everything but the gateways.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) programs: Programs,
    keep: bool,
    /// Before the folder: what still runs writes in there.
    parts: BTreeMap<&'static str, Part>,
    folder: TempDir,
    ca: Ca,
    port: u16,
    bench: Identity,
    clients: u32,
    gateways: u32,
}

/// A gateway that runs.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) target: String,
    pub(crate) process: Part,
    /// The shipped plugin in a process of its own, where there is one.
    _isolated: Option<Part>,
}

impl Bed {
    pub(crate) async fn start(programs: Programs, keep: bool) -> anyhow::Result<Self> {
        for program in ["mosquitto", "dbus-daemon"] {
            ensure!(is_installed(program), "the command {program} is not installed; `.ci/setup` installs it");
        }
        let folder = tempfile::Builder::new().prefix("nowd-bench-").disable_cleanup(keep).tempdir()?;
        if keep {
            eprintln!("configurations and logs stay in {}", folder.path().display());
        }
        let ca = Ca::new();
        let bench = ca.client(BENCH);
        let (port, broker) = broker(folder.path(), &ca).await?;
        let mut bed = Self {
            programs,
            keep,
            folder,
            ca,
            port,
            bench,
            parts: BTreeMap::from([("mosquitto", broker)]),
            clients: 0,
            gateways: 0,
        };
        bed.start_bus().await?;
        let lines = [bed.floor_line(), bed.gateway_line(), bed.folder.path().join("line-echo")];
        let lines = lines.each_ref().map(|line| line.display().to_string());
        let roles: [&[&str]; 2] = [&["service", &bed.bus()], &["device", &lines[0], &lines[1], &lines[2]]];
        for (name, arguments) in ["service", "device"].into_iter().zip(roles) {
            let mut part = Part::role(bed.folder.path(), name, arguments)?;
            part.says("ready").await?;
            bed.parts.insert(name, part);
        }
        let bus = bed.bus();
        let echoes: [(&str, &str, &[&str]); 4] = [
            ("echo-rumqttc", "rumqttc", &[]),
            ("echo-bare", "bare", &[]),
            ("echo-dbus", "bare", &["--dbus", &bus]),
            ("echo-pty", "bare", &["--line", &lines[2]]),
        ];
        for (name, kind, more) in echoes {
            let Login { port, ca, certificate, key } = bed.login(&bed.ca.client(name));
            let [ca, certificate, key] = [ca, certificate, key].map(|path| path.display().to_string());
            let port = port.to_string();
            let arguments = [&["echo", kind, name, &port, &ca, &certificate, &key], more].concat();
            let mut part = Part::role(bed.folder.path(), name, &arguments)?;
            part.says("ready").await?;
            bed.parts.insert(name, part);
        }
        Ok(bed)
    }

    /// Other processes in place of all of these: what one set of them happened to be given, such as processors and memory, the next is
    /// given anew. Whoever has a [`Caller`] or a [`Gateway`] of before has nothing.
    pub(crate) async fn anew(&mut self) -> anyhow::Result<()> {
        self.is_whole()?;
        *self = Self::start(self.programs.clone(), self.keep).await?;
        Ok(())
    }

    /// Fails if a part has ended: what was measured since is worth nothing.
    pub(crate) fn is_whole(&mut self) -> anyhow::Result<()> {
        self.parts.values_mut().try_for_each(Part::is_there)
    }

    /// A load generator with a connection of its own.
    pub(crate) async fn caller(&mut self) -> anyhow::Result<Caller> {
        Caller::open(&self.options()?).await
    }

    /// What a load generator connects with: a client of its own, whose TLS knows of no other.
    pub(crate) fn options(&mut self) -> anyhow::Result<Options> {
        self.clients += 1;
        self.login(&self.bench).options(&format!("{BENCH}-{}", self.clients))
    }

    /// How somebody who may do everything gets into the broker.
    pub(crate) fn bench_login(&self) -> Login {
        self.login(&self.bench)
    }

    /// A loopback port that is free now.
    pub(crate) fn free_port() -> anyhow::Result<u16> {
        files::free_port()
    }

    /// The process id of one of the parts.
    pub(crate) fn part(&self, name: &str) -> Option<u32> {
        self.parts.get(name).map(Part::id)
    }

    /// Whether the folder stays.
    pub(crate) const fn keeps(&self) -> bool {
        self.keep
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The bus's address.
    pub(crate) fn bus(&self) -> String {
        files::bus_address(self.folder.path())
    }

    /// The serial port of the bare echo.
    pub(crate) fn floor_line(&self) -> PathBuf {
        self.folder.path().join("line-floor")
    }

    fn gateway_line(&self) -> PathBuf {
        self.folder.path().join("line-gateway")
    }

    /// Writes a gateway's configuration, and gives its name and file.
    pub(crate) fn configure(&mut self, maps: Maps) -> anyhow::Result<(String, PathBuf)> {
        self.gateways += 1;
        let target = format!("gw-{}", self.gateways);
        let folder = self.folder.path().join(&target);
        fs::create_dir(&folder)?;
        let place = files::Place {
            target: &target,
            port: self.port,
            identity: &self.ca.client(&target),
            bus: &self.bus(),
            line: &self.gateway_line(),
        };
        let config = files::write_gateway(&folder, &place, maps)?;
        Ok((target, config))
    }

    /// A gateway of its own name, connected.
    pub(crate) async fn gateway(&mut self, maps: Maps) -> anyhow::Result<Gateway> {
        let (target, config) = self.configure(maps)?;
        let mut isolated = None;
        let file = config.display().to_string();
        if maps == Maps::Isolated {
            let arguments = ["plugin", "serve", "simulator", "--config", &file, "--bus", &self.bus()];
            let name = format!("{target}-plugin");
            let mut part = Part::start(self.folder.path(), &name, &self.programs.nowd, &arguments)?;
            part.says("ready on").await?;
            isolated = Some(part);
        }
        let arguments = ["run", "--config", &file];
        let mut process = Part::start(self.folder.path(), &target, &self.programs.nowd, &arguments)?;
        process.says("the link is up").await?;
        Ok(Gateway { target, process, _isolated: isolated })
    }

    async fn start_bus(&mut self) -> anyhow::Result<()> {
        let file = files::write_bus(self.folder.path())?;
        let file = format!("--config-file={}", file.display());
        let arguments = ["--nofork", "--nopidfile", "--print-address", &file];
        let mut bus = Part::start(self.folder.path(), "dbus-daemon", Path::new("dbus-daemon"), &arguments)?;
        bus.says("unix:").await?;
        self.parts.insert("dbus-daemon", bus);
        Ok(())
    }

    fn login(&self, identity: &Identity) -> Login {
        Login::new(self.port, identity.clone())
    }
}

async fn broker(folder: &Path, ca: &Ca) -> anyhow::Result<(u16, Part)> {
    let installed = Path::new("/usr/sbin/mosquitto");
    let program = if installed.is_file() { installed } else { Path::new("mosquitto") };
    let mut failed = None;
    for _ in 0..ATTEMPTS {
        let port = files::free_port()?;
        let file = files::write_broker(folder, port, &ca.server())?.display().to_string();
        let mut broker = Part::start(folder, "mosquitto", program, &["-c", &file])?;
        match broker.says(" running").await {
            Ok(_) => return Ok((port, broker)),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.context("no attempt was made")?)
}
