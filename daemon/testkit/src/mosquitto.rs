//! A real mosquitto on free loopback ports.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::Identity;
use crate::process::{Lines, Process, require};
use crate::wait::wait_blocking;

const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// A free port may be taken by somebody else before mosquitto binds it.
const ATTEMPTS: usize = 10;

/// One listener, on a loopback port of its own.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    /// The broker's certificate, for TLS; clients must show one of the same authority, and their common name is their
    /// user name. Without it: plain TCP, anonymous.
    pub tls: Option<Identity>,
    /// Who may do what.
    pub access: Access,
}

/// Who may do what on a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody everything.
    #[default]
    Everything,
    /// As the shipped IoT policies: a gateway, known by its client id, reads under its own name and its presence, and
    /// publishes only to `+/+/{own}/+/ack`, its presence, and itself: `{own}/nowd.probe/{own}/+`.
    GatewaysByClientId,
    /// The same for gateways known by their certificate's common name; those named here may do everything.
    GatewaysByCertificate {
        /// Common names of the cloud side.
        cloud: Vec<String>,
    },
}

/// A running mosquitto. Ends when dropped.
#[derive(Debug)]
pub struct Mosquitto {
    folder: TempDir,
    ports: Vec<u16>,
    process: Option<Process>,
    /// The log since the last start, for those who look at it while this is somebody else's.
    log: SharedLog,
}

/// The log of whichever process runs.
pub(crate) type SharedLog = Arc<Mutex<Lines>>;

impl Mosquitto {
    /// One plain listener on which everybody may do everything.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[Listener::default()])
    }

    /// A broker with these listeners, ready for clients.
    #[must_use]
    pub fn with(listeners: &[Listener]) -> Self {
        require("mosquitto");
        let mut folder = tempfile::tempdir().expect("a temporary directory can be made");
        let mut log = Vec::new();
        for _ in 0..ATTEMPTS {
            let ports: Vec<_> = listeners.iter().map(|_| free_port()).collect();
            let config = configuration(&folder, listeners, &ports);
            fs::write(folder.path().join("mosquitto.conf"), config).expect("a temporary file can be written");
            let mut broker = Self { folder, ports, process: None, log: Arc::default() };
            match broker.launch() {
                Ok(()) => return broker,
                Err(lines) => log = lines,
            }
            folder = broker.folder;
        }
        panic!("mosquitto does not start; its log:\n{}", log.join("\n"));
    }

    /// The port of the first listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port_of(0)
    }

    /// The port of a listener.
    #[must_use]
    pub fn port_of(&self, listener: usize) -> u16 {
        self.ports.get(listener).copied().unwrap_or_else(|| panic!("there is no listener {listener}"))
    }

    /// The log since the last start.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.as_ref().map(Process::lines).unwrap_or_default()
    }

    pub(crate) fn shared_log(&self) -> SharedLog {
        Arc::clone(&self.log)
    }

    /// Kills it. Nothing of it is kept.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Asks it to end, as a service manager does, and waits until it has. It publishes the wills of those who are connected.
    pub fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.terminate();
        assert!(wait_blocking(STARTS_WITHIN, || process.try_exit().is_some()), "mosquitto does not end");
    }

    /// Kills it if it runs, and starts it on the same ports.
    pub fn restart(&mut self) {
        self.stop();
        for _ in 0..ATTEMPTS {
            match self.launch() {
                Ok(()) => return,
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        panic!("mosquitto does not start again on the ports {:?}", self.ports);
    }

    /// Takes the rules that hold this text out of the access rules of a listener, or gives all back where `text` is empty: from
    /// now on, also for those who are connected.
    pub fn forbid(&self, listener: usize, text: &str) {
        let file = self.folder.path().join(format!("{}.acl", self.port_of(listener)));
        let rules = fs::read_to_string(&file).expect("the listener has access rules");
        let rules = rules.lines().map(|rule| {
            let rule = rule.trim_start_matches('#');
            let mark = if !text.is_empty() && rule.contains(text) { "#" } else { "" };
            format!("{mark}{rule}\n")
        });
        fs::write(&file, rules.collect::<String>()).expect("a temporary file can be written");
        let reloads = || self.log().iter().filter(|line| line.contains("Reloading config")).count();
        let before = reloads();
        self.running().hang_up();
        // It does nothing else between saying so and having done so.
        assert!(
            wait_blocking(STARTS_WITHIN, || reloads() > before),
            "mosquitto does not read its rules again"
        );
    }

    /// Freezes it: connections stay, nothing is answered.
    pub fn pause(&self) {
        self.running().pause();
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        self.running().resume();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("mosquitto does not run"))
    }

    fn launch(&mut self) -> Result<(), Vec<String>> {
        let config = self.folder.path().join("mosquitto.conf");
        let program =
            if PathBuf::from("/usr/sbin/mosquitto").is_file() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let mut process = Process::spawn(program, &["-c".as_ref(), config.as_os_str()], &[]);
        // Said when all listeners are open.
        if process.wait_for_line_blocking(STARTS_WITHIN, " running") {
            *self.log.lock().unwrap_or_else(PoisonError::into_inner) = process.growing_lines();
            self.process = Some(process);
            Ok(())
        } else {
            Err(process.lines())
        }
    }
}

/// Below the ports that the kernel gives to outgoing connections, so that none of those takes it during a restart.
fn free_port() -> u16 {
    std::iter::repeat_with(|| fastrand::u16(10_000..32_000))
        .take(1_000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a loopback port is free")
}

fn configuration(folder: &TempDir, listeners: &[Listener], ports: &[u16]) -> String {
    let mut text = String::from(
        "per_listener_settings true\n\
         user root\n\
         persistence false\n\
         log_dest stderr\n\
         log_type all\n\
         set_tcp_nodelay true\n",
    );
    for (listener, port) in listeners.iter().zip(ports) {
        let mut line = |key: &str, value: &str| {
            writeln!(text, "{key} {value}").expect("text can be written to a string");
        };
        line("listener", &format!("{port} 127.0.0.1"));
        if let Some(Identity { ca, certificate, key }) = &listener.tls {
            line("cafile", &ca.display().to_string());
            line("certfile", &certificate.display().to_string());
            line("keyfile", &key.display().to_string());
            line("require_certificate", "true");
            line("use_identity_as_username", "true");
            line("allow_anonymous", "false");
        } else {
            line("allow_anonymous", "true");
        }
        if let Some(rules) = rules(&listener.access) {
            let file = folder.path().join(format!("{port}.acl"));
            fs::write(&file, rules).expect("a temporary file can be written");
            line("acl_file", &file.display().to_string());
        }
    }
    text
}

fn rules(access: &Access) -> Option<String> {
    let gateway = |own: &str| {
        format!(
            "pattern write +/+/{own}/+/ack\n\
             pattern write {own}/nowd.probe/{own}/+\n\
             pattern readwrite nowd/presence/{own}\n\
             pattern read {own}/#\n"
        )
    };
    match access {
        Access::Everything => None,
        Access::GatewaysByClientId => Some(gateway("%c")),
        Access::GatewaysByCertificate { cloud } => {
            let all = cloud.iter().map(|name| format!("user {name}\ntopic readwrite #\n"));
            Some(all.chain([gateway("%u")]).collect())
        }
    }
}
