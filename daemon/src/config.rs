//! The configuration, in layers: built-in defaults < `nowd.toml` < `nowd.toml.d/*.toml` < environment < command line.
//!
//! Each file is checked by itself first, so that a mistake is told with its line; then the layers are merged and the
//! whole is checked. Nothing here opens a connection or a device.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nowd_plugin::map::MapError;
use nowd_plugin::{duration, texts};
use nowd_plugin_serial::PortConfig;
use nowd_protocol::Level;
use serde::{Deserialize, Deserializer};

mod audit;
mod bus;
mod layers;
mod metrics;
mod provisioning;

pub use audit::{AuditConfig, Size};
pub use bus::BusConfig;
pub use layers::{ConfigFiles, ConfigSource, Deployment};
pub(crate) use layers::{Signature, read_map};
pub use metrics::MetricsConfig;
pub use provisioning::{Parameter, ParameterFile, ParameterVariable, ProvisioningConfig};

/// Everything in `nowd.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The gateway's name: first level of every topic, and the MQTT client id.
    pub target: Option<Level>,
    /// Whether the wall clock may judge deadlines.
    pub clock: ClockTrust,
    /// The folder for what must survive a restart: the lockout, the journal and the audit record.
    pub state_dir: PathBuf,
    /// The journal of calls that were started.
    pub journal: JournalConfig,
    /// The record of calls that shows gaps and edits.
    pub audit: AuditConfig,
    /// The connection to the broker.
    pub link: LinkConfig,
    /// Shipped plugins that run in processes of their own: `dbus`, `serial`, `simulator`.
    #[serde(deserialize_with = "one_or_many")]
    pub isolate: Vec<String>,
    /// Who may call.
    pub access: AccessConfig,
    /// Callers that speak only the public sample's form.
    pub compat: CompatConfig,
    /// The gateway on the bus of its own machine.
    pub bus: BusConfig,
    /// Serial ports, by the names that maps use.
    pub ports: BTreeMap<String, PortConfig>,
    /// How `nowd provision` gets this gateway an identity.
    pub provisioning: ProvisioningConfig,
    /// Logs.
    pub log: LogConfig,
    /// Metrics in a file.
    pub metrics: MetricsConfig,
}

/// `[journal]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    /// Writes calls of methods that are not idempotent to the disk before they start, so that no id is started again
    /// after a restart, whoever sends it.
    pub enabled: bool,
}

/// `[link]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Which way the broker is reached.
    pub via: Via,
    /// The broker: `host` or `host:port`. The port is 8883 unless given.
    pub endpoint: Option<String>,
    /// The MQTT client id, where it is not the target's name.
    pub client_id: Option<String>,
    /// PEM file of the certificate authorities that sign the broker's certificate; the system's unless given.
    pub ca: Option<PathBuf>,
    /// PEM file of this gateway's certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key, readable by the daemon only.
    pub key: Option<PathBuf>,
    /// TLS. Without it the broker must be on this machine, unless `allow_plain`.
    pub tls: bool,
    /// Allows plain TCP to another machine: everybody on the way can read and move things.
    pub allow_plain: bool,
    /// Longest silence before a ping, 5 s to 20 min.
    #[serde(deserialize_with = "duration::deserialize")]
    pub keep_alive: Duration,
    /// How long the broker may leave something unanswered before the connection counts as dead.
    #[serde(deserialize_with = "duration::deserialize")]
    pub silence: Duration,
    /// How long no message may come through the request subscription before it is probed, 1 s to 20 min.
    #[serde(deserialize_with = "duration::deserialize")]
    pub probe: Duration,
}

/// Which way the broker is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// By a connection of the gateway's own.
    #[default]
    Direct,
    /// Through the connection of the Greengrass nucleus.
    Greengrass,
}

/// `[access]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Who may call a method without `allow`: patterns with `*` over client and caller. Empty: nobody.
    #[serde(deserialize_with = "one_or_many")]
    pub default: Vec<String>,
}

/// `[compat]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompatConfig {
    /// What the return addresses of compatibility callers start with.
    #[serde(deserialize_with = "one_or_many")]
    pub clients: Vec<String>,
    /// What each of their calls gets, from receipt.
    #[serde(deserialize_with = "duration::deserialize")]
    pub budget: Duration,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Where to and how.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, or per part: `info,nowd_link=debug`.
    pub level: String,
}

/// Where logs go, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// To journald when started by systemd, else text.
    #[default]
    Auto,
    /// Lines for people, to standard error.
    Text,
    /// One JSON object a line, to standard error.
    Json,
}

/// Whether the wall clock may judge deadlines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockTrust {
    /// While the kernel says that it is synchronised to 100 ms or better.
    #[default]
    Auto,
    /// Always: somebody else has seen to it.
    Trusted,
    /// Never.
    Untrusted,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: None,
            clock: ClockTrust::default(),
            state_dir: "/var/lib/nowd".into(),
            journal: JournalConfig::default(),
            audit: AuditConfig::default(),
            link: LinkConfig::default(),
            isolate: Vec::new(),
            access: AccessConfig::default(),
            compat: CompatConfig::default(),
            bus: BusConfig::default(),
            ports: BTreeMap::new(),
            provisioning: ProvisioningConfig::default(),
            log: LogConfig::default(),
            metrics: MetricsConfig::default(),
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            via: Via::default(),
            endpoint: None,
            client_id: None,
            ca: None,
            certificate: None,
            key: None,
            tls: true,
            allow_plain: false,
            keep_alive: Duration::from_secs(30),
            silence: Duration::from_secs(10),
            probe: Duration::from_secs(60),
        }
    }
}

impl Default for CompatConfig {
    fn default() -> Self {
        Self { clients: Vec::new(), budget: Duration::from_secs(1) }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".into() }
    }
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named is not there or cannot be read.
    #[error("{}: cannot be read: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A mistake in a file.
    #[error(transparent)]
    File(#[from] MapError),
    /// A mistake in the environment or on the command line.
    #[error("{origin}: {message}")]
    Layer {
        /// The variable or option.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A component of maps is named, and nothing is known of it.
    #[error(
        "component configuration: `maps` names {component}, which is not deployed here, or has no configuration; deploy it with this one, or \
         take it out of `maps`"
    )]
    NotDeployed {
        /// Its name.
        component: String,
    },
    /// A key that must be there is not.
    #[error("`{key}` is not set; {hint}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A value does not do.
    #[error("`{key}`: {message}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong, and what to do.
        message: String,
    },
}

/// A list, or one item without brackets, as environments and Greengrass give it; an empty one is none.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut items = texts::deserialize(deserializer)?;
    if matches!(items.as_slice(), [item] if item.is_empty()) {
        items.clear();
    }
    match items.iter().find(|item| item.is_empty() || item.contains(['[', ']', '"', ','])) {
        Some(item) => Err(serde::de::Error::custom(format!(
            "{item:?} is no name; environment and command line take one, without brackets, and files take a list"
        ))),
        None => Ok(items),
    }
}

#[cfg(test)]
mod tests;
