//! The files that the parts are started with.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nowd_testkit::Identity;
use uuid::Uuid;

/// What a gateway is told of its hardware. The programs are configured as they come: audit record on, no journal, log at
/// `info`, the gateway on its bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maps {
    /// A D-Bus method, a serial method, a simulated device and a slow one.
    All,
    /// A D-Bus method and a serial method: what a small gateway has.
    DbusAndSerial,
    /// A simulated device, and no bus.
    Simulator,
    /// The same, in a process of its own.
    Isolated,
    /// So many simulated methods, and no bus.
    Many(u32),
}

/// What belongs to one gateway.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) target: &'a str,
    pub(super) port: u16,
    pub(super) identity: &'a Identity,
    pub(super) bus: &'a str,
    pub(super) line: &'a Path,
}

/// A bus lets one connection wait for 128 answers.
const DBUS: &str = r#"[dbus]
bus = "@BUS@"
destination = "com.example.Bench"
path = "/com/example/bench"
interface = "com.example.Bench1"
[lane]
concurrency = 100
depth = 256
[methods."dbus.set"]
call = "Set"
args = ["$n"]
signature = "u"
params.n = { type = "integer", minimum = 0 }
"#;

const SERIAL: &str = r#"[serial]
port = "line"
framing = { line = "\r\n" }
[lane]
depth = 256
[methods."serial.set"]
send = "SET $n"
reply = '^OK (?<n>\d+)$'
params.n = { type = "integer", minimum = 0 }
"#;

const SIMULATOR: &str = r#"[simulator]
[lane]
concurrency = 100
depth = 256
[methods."sim.set"]
params.n = { type = "integer", minimum = 0 }
"#;

/// A device that takes 5 ms for each call: 200 calls a second, and no more.
const SLOW: &str = r#"[simulator]
[methods."slow.set"]
delay = "5ms"
params.n = { type = "integer", minimum = 0 }
"#;

/// A file of maps has a bound.
const METHODS_OF_A_FILE: usize = 500;

/// Below the ports that the kernel gives to outgoing connections.
pub(super) fn free_port() -> anyhow::Result<u16> {
    std::iter::repeat_with(|| Uuid::new_v4().as_u64_pair().0 % 22_000 + 10_000)
        .take(1_000)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .context("no loopback port is free")
}

/// With the rules of the shipped policies for gateways, without persistence, and with no bound of its own on what waits: a
/// broker that drops messages would be counted as if nowd had lost them.
pub(super) fn write_broker(folder: &Path, port: u16, server: &Identity) -> anyhow::Result<PathBuf> {
    let rules = "user bench\ntopic readwrite #\n\
                 pattern write +/+/%u/+/ack\npattern write %u/nowd.probe/%u/+\n\
                 pattern readwrite nowd/presence/%u\npattern read %u/#\n";
    let rules_file = folder.join("rules");
    fs::write(&rules_file, rules)?;
    let Identity { ca, certificate, key } = server;
    let text = format!(
        "per_listener_settings true\nuser root\npersistence false\n\
         log_dest stderr\nlog_type information\nlog_type notice\nlog_type warning\nlog_type error\n\
         set_tcp_nodelay true\nmax_inflight_messages 0\nmax_queued_messages 0\n\
         listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\nallow_anonymous false\nacl_file {}\n",
        ca.display(),
        certificate.display(),
        key.display(),
        rules_file.display(),
    );
    let file = folder.join("mosquitto.conf");
    fs::write(&file, text).context("the broker's configuration cannot be written")?;
    Ok(file)
}

pub(super) fn bus_address(folder: &Path) -> String {
    format!("unix:path={}", folder.join("bus").display())
}

pub(super) fn write_bus(folder: &Path) -> anyhow::Result<PathBuf> {
    let text = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><type>session</type><listen>{}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
         <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>\n",
        bus_address(folder)
    );
    let file = folder.join("bus.conf");
    fs::write(&file, text).context("the bus's configuration cannot be written")?;
    Ok(file)
}

pub(super) fn write_gateway(folder: &Path, place: &Place<'_>, maps: Maps) -> anyhow::Result<PathBuf> {
    let Place { target, port, identity: Identity { ca, certificate, key }, bus, line } = place;
    let methods = folder.join("methods.d");
    fs::create_dir(&methods)?;
    let dbus = DBUS.replace("@BUS@", bus);
    let mut files: Vec<(String, String)> = Vec::new();
    let mut more = format!("[bus]\naddress = \"{bus}\"\n");
    let mut head = "";
    match maps {
        Maps::All => {
            files = vec![
                ("dbus".into(), dbus),
                ("serial".into(), SERIAL.into()),
                ("simulator".into(), SIMULATOR.into()),
                ("slow".into(), SLOW.into()),
            ];
        }
        Maps::DbusAndSerial => files = vec![("dbus".into(), dbus), ("serial".into(), SERIAL.into())],
        Maps::Simulator => {
            files.push(("simulator".to_owned(), SIMULATOR.to_owned()));
            more = "[bus]\nserve = false\n".into();
        }
        Maps::Isolated => {
            files.push(("simulator".to_owned(), SIMULATOR.to_owned()));
            head = "isolate = [\"simulator\"]\n";
            // It may run beside another one, and only one can have the name there.
            more.push_str("serve = false\n");
        }
        Maps::Many(count) => {
            files.push(("simulator".to_owned(), SIMULATOR.to_owned()));
            for (number, first) in (1..count).step_by(METHODS_OF_A_FILE).enumerate() {
                let mut text = String::from("[simulator]\n");
                for method in (first..count).take(METHODS_OF_A_FILE) {
                    write!(text, "[methods.\"sim.set-{method}\"]\nparams.n = {{ type = \"integer\" }}\n")?;
                }
                files.push((format!("more-{number}"), text));
            }
            more = "[bus]\nserve = false\n".into();
        }
    }
    if files.iter().any(|(name, _)| name == "serial") {
        write!(more, "[ports.line]\ndevice = \"{}\"\nbaud = 115200\n", line.display())?;
    }
    for (name, text) in files {
        fs::write(methods.join(format!("{name}.toml")), text).context("a map cannot be written")?;
    }
    let text = format!(
        "target = \"{target}\"\nclock = \"untrusted\"\nstate_dir = \"{}\"\n{head}\
         [link]\nendpoint = \"localhost:{port}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [access]\ndefault = [\"bench-*\"]\n{more}",
        folder.join("state").display(),
        ca.display(),
        certificate.display(),
        key.display(),
    );
    let file = folder.join("nowd.toml");
    fs::write(&file, text).context("a configuration cannot be written")?;
    Ok(file)
}
