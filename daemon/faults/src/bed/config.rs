//! The files that the parts of a system under test are started with.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nowd_testkit::Identity;
use uuid::Uuid;

use super::TARGET;

/// The broker's ports.
#[derive(Debug)]
pub(super) struct Ports {
    /// With client certificates, and the rules of the shipped policies.
    pub(super) tls: u16,
    /// Without TLS, for publishers that our own link cannot play. Everybody may do everything.
    pub(super) plain: u16,
}

impl Ports {
    pub(super) fn free() -> anyhow::Result<Self> {
        Ok(Self { tls: free_port()?, plain: free_port()? })
    }
}

/// Below the ports that the kernel gives to outgoing connections, so that none of those takes it during a restart.
fn free_port() -> anyhow::Result<u16> {
    std::iter::repeat_with(|| Uuid::new_v4().as_u64_pair().0 % 22_000 + 10_000)
        .take(1_000)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .context("no loopback port is free")
}

pub(super) fn broker_file(folder: &Path) -> PathBuf {
    folder.join("mosquitto.conf")
}

pub(super) fn write_broker(folder: &Path, ports: &Ports, server: &Identity) -> anyhow::Result<()> {
    let rules = format!(
        "user cloud\ntopic readwrite #\n\
         pattern write +/+/{TARGET}/+/ack\npattern readwrite nowd/presence/{TARGET}\npattern read {TARGET}/#\n"
    );
    std::fs::write(folder.join("rules"), rules)?;
    let Identity { ca, certificate, key } = server;
    let text = format!(
        "per_listener_settings true\nuser root\n\
         persistence true\npersistence_location {}/\nautosave_interval 1\n\
         log_dest stderr\nlog_type information\nlog_type notice\nlog_type warning\nlog_type error\n\
         set_tcp_nodelay true\n\
         listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\nallow_anonymous false\nacl_file {}\n\
         listener {} 127.0.0.1\nallow_anonymous true\n",
        folder.display(),
        ports.tls,
        ca.display(),
        certificate.display(),
        key.display(),
        folder.join("rules").display(),
        ports.plain,
    );
    std::fs::write(broker_file(folder), text).context("the broker's configuration cannot be written")
}

pub(super) fn bus_socket(folder: &Path) -> PathBuf {
    folder.join("bus")
}

pub(super) fn bus_address(folder: &Path) -> String {
    format!("unix:path={}", bus_socket(folder).display())
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
    std::fs::write(&file, text).context("the bus's configuration cannot be written")?;
    Ok(file)
}

/// A link to the serial device of the actuators that run now.
pub(super) fn port_file(folder: &Path) -> PathBuf {
    folder.join("line")
}

pub(super) fn daemon_file(folder: &Path) -> PathBuf {
    folder.join("nowd.toml")
}

const PARAMS: &str = r#"
params.number = { type = "integer", minimum = 0 }
params.how = { type = "string" }
"#;

pub(super) fn write_daemon(
    folder: &Path,
    (clock, more): (&str, &str),
    broker: u16,
    identity: &Identity,
) -> anyhow::Result<()> {
    let Identity { ca, certificate, key } = identity;
    let text = format!(
        "target = \"{TARGET}\"\nclock = \"{clock}\"\nstate_dir = \"{}\"\n\
         [link]\nendpoint = \"localhost:{broker}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [access]\ndefault = [\"cloud-*\", \"raw-*\"]\n[bus]\nserve = false\n\
         [ports.line]\ndevice = \"{}\"\nbaud = 115200\n{more}",
        folder.join("state").display(),
        ca.display(),
        certificate.display(),
        key.display(),
        port_file(folder).display(),
    );
    std::fs::write(daemon_file(folder), text)?;
    let maps = folder.join("methods.d");
    std::fs::create_dir(&maps)?;
    // A service that stands many calls at once, one that stands a few, and a line that takes them in turn.
    let service = |method: &str, member: &str, lane: &str| {
        format!(
            "[dbus]\nbus = \"{}\"\ndestination = \"com.example.Arm\"\npath = \"/com/example/arm\"\n\
             interface = \"com.example.Arm1\"\n[lane]\n{lane}\n\
             [methods.\"{method}\"]\ncall = \"{member}\"\nsignature = \"tsts\"\n\
             args = [\"$number\", \"$call.id\", \"$call.not_after\", \"$how\"]\n\
             refused = [\"com.example.Error.TooLate\"]\nstuck_after = \"1s\"\n{PARAMS}",
            bus_address(folder)
        )
    };
    let checked = service("checked", "Checked", "name = \"checked\"\nconcurrency = 32\ndepth = 64");
    std::fs::write(maps.join("checked.toml"), checked)?;
    std::fs::write(maps.join("plain.toml"), service("plain", "Plain", "name = \"plain\"\nconcurrency = 8"))?;
    let serial = format!(
        "[serial]\nport = \"line\"\nframing = {{ line = \"\\r\\n\" }}\n[methods.\"serial\"]\n\
         send = \"ACT $number $call.id $call.not_after $how\"\nreply = '^OK (?<number>\\d+)$'\n{PARAMS}"
    );
    std::fs::write(maps.join("serial.toml"), serial)?;
    std::fs::write(maps.join("closed.toml"), "[simulator]\n[methods.\"closed\"]\nallow = [\"nobody\"]\n")
        .context("a map cannot be written")
}
