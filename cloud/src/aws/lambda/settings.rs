//! The function's settings: environment variables, each judged, with one sentence for each mistake.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nowd_link::{DatePolicy, Options, SYSTEM_CA, Tls, TlsError};
use nowd_protocol::{Level, LevelError};
use tracing::level_filters::LevelFilter;

use super::times::GATEWAY_LIMIT;
use crate::aws::direct::DirectError;
use crate::http::{Access, Policy, PolicyError};

/// Where systems keep the authorities they trust; the first is Amazon Linux's, on which the function runs.
const SYSTEM_CAS: [&str; 3] =
    ["/etc/pki/tls/certs/ca-bundle.crt", SYSTEM_CA, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"];
/// A connection that says nothing is kept this long, the longest that AWS IoT Core allows: a function that stands still
/// between two calls says nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(1_200);
/// The shortest that the link takes; AWS IoT Core takes no less than 30 s.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Somebody waits while a connection is opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The port of `https:`.
const HTTPS_PORT: u16 = 443;

/// All settings.
const KNOWN: [&str; 14] = [
    "NOWD_ALLOW_ANONYMOUS",
    "NOWD_BASE_PATH",
    "NOWD_CA",
    "NOWD_CLIENT",
    "NOWD_COMPAT",
    "NOWD_DEFAULT_TIMEOUT",
    "NOWD_DELIVERY",
    "NOWD_ENDPOINT",
    "NOWD_KEEP_ALIVE",
    "NOWD_LOG",
    "NOWD_MAX_TIMEOUT",
    "NOWD_POLICY",
    "NOWD_TARGETS",
    "NOWD_UNANNOUNCED",
];

/// What the environment says.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) endpoint: (String, u16),
    pub(super) ca: Option<PathBuf>,
    pub(super) client: Level,
    pub(super) delivery: DeliveryBy,
    pub(super) keep_alive: Duration,
    pub(super) default_timeout: Duration,
    pub(super) max_timeout: Duration,
    pub(super) compat: bool,
    pub(super) targets: Option<String>,
    pub(super) unannounced: Option<String>,
    pub(super) policy: Option<PathBuf>,
    pub(super) base_path: String,
    pub(super) allow_anonymous: bool,
    pub(super) log: LevelFilter,
}

/// `NOWD_DELIVERY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryBy {
    Mqtt,
    Direct,
}

/// A setting is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// It has to be there.
    #[error("{name} is not set; it must be {wanted}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// There is no such setting; one that is misspelt must not be as if it were not set.
    #[error("there is no setting {name}; there are {known}", known = KNOWN.join(", "))]
    Unknown {
        /// Its name.
        name: String,
    },
    /// It says what it cannot say.
    #[error("{name} is {value:?}; it must be {wanted}")]
    Wrong {
        /// Its name.
        name: &'static str,
        /// What it says, as far as that is worth showing.
        value: String,
        /// What it must be.
        wanted: String,
    },
    /// It cannot begin a return address.
    #[error("NOWD_CLIENT cannot begin a return address")]
    Client {
        /// Why.
        source: LevelError,
    },
    /// A file of authorities cannot be used.
    #[error("NOWD_CA cannot be used")]
    Ca {
        /// Why.
        source: TlsError,
    },
    /// The system's authorities were not found.
    #[error("no file of trusted authorities was found on this system; name one in NOWD_CA")]
    NoSystemCa,
    /// Direct Messaging cannot be set up.
    #[error("NOWD_DELIVERY cannot be direct")]
    Direct {
        /// Why.
        source: DirectError,
    },
    /// The policy file cannot be used.
    #[error("NOWD_POLICY cannot be used")]
    Policy {
        /// Why.
        source: PolicyError,
    },
}

impl Settings {
    /// Reads the settings through `environment`. An empty value is none.
    pub(super) fn read(environment: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let value = |name: &str| environment(name).filter(|value| !value.is_empty());
        let name = "NOWD_ENDPOINT";
        let wanted = "the data endpoint of AWS IoT Core, such as a1b2c3-ats.iot.eu-central-1.amazonaws.com";
        let text = value(name).ok_or(SettingError::Missing { name, wanted })?;
        let endpoint = endpoint(&text).ok_or_else(|| wrong(name, &text, wanted))?;
        let client = value("NOWD_CLIENT").unwrap_or_else(|| "nowd-cloud".to_owned());
        let client = Level::new(client).map_err(|source| SettingError::Client { source })?;
        let name = "NOWD_DELIVERY";
        let delivery = match value(name).as_deref() {
            None | Some("mqtt") => DeliveryBy::Mqtt,
            Some("direct") => DeliveryBy::Direct,
            Some(other) => return Err(wrong(name, other, "mqtt or direct")),
        };
        let name = "NOWD_KEEP_ALIVE";
        let bounds = (SHORTEST_KEEP_ALIVE, "5s", KEEP_ALIVE, "20min");
        let keep_alive = duration(name, value(name), KEEP_ALIVE, bounds)?;
        let least = (Duration::from_millis(1), "1ms");
        let max = "NOWD_MAX_TIMEOUT";
        let bounds = (least.0, least.1, GATEWAY_LIMIT, "29s");
        let max_timeout = duration(max, value(max), GATEWAY_LIMIT, bounds)?;
        let name = "NOWD_DEFAULT_TIMEOUT";
        let usual = Duration::from_secs(2).min(max_timeout);
        let default_timeout = duration(name, value(name), usual, (least.0, least.1, max_timeout, max))?;
        let pattern = |name| match value(name) {
            Some(pattern) if Level::new(pattern.replace('*', "x")).is_err() => {
                Err(wrong(name, &pattern, "a name of a gateway in which `*` stands for any characters"))
            }
            pattern => Ok(pattern),
        };
        let (targets, unannounced) = (pattern("NOWD_TARGETS")?, pattern("NOWD_UNANNOUNCED")?);
        let name = "NOWD_BASE_PATH";
        let base_path = value(name).unwrap_or_default();
        if !base_path.is_empty() && (!base_path.starts_with('/') || base_path.ends_with('/')) {
            return Err(wrong(name, &base_path, "a path such as /gateways, with no slash at its end"));
        }
        let name = "NOWD_LOG";
        let log = value(name).map(|text| {
            text.parse().map_err(|_| wrong(name, &text, "off, error, warn, info, debug or trace"))
        });
        Ok(Self {
            endpoint,
            ca: value("NOWD_CA").map(PathBuf::from),
            client,
            delivery,
            keep_alive,
            default_timeout,
            max_timeout,
            compat: flag("NOWD_COMPAT", value("NOWD_COMPAT").as_deref())?,
            targets,
            unannounced,
            policy: value("NOWD_POLICY").map(PathBuf::from),
            base_path,
            allow_anonymous: flag("NOWD_ALLOW_ANONYMOUS", value("NOWD_ALLOW_ANONYMOUS").as_deref())?,
            log: log.transpose()?.unwrap_or(LevelFilter::INFO),
        })
    }

    /// Refuses what begins like a setting and is none.
    pub(super) fn know(names: impl Iterator<Item = String>) -> Result<(), SettingError> {
        let mut unknown = names.filter(|name| name.starts_with("NOWD_") && !KNOWN.contains(&name.as_str()));
        unknown.next().map_or(Ok(()), |name| Err(SettingError::Unknown { name }))
    }

    /// The endpoint as a URL names it.
    pub(super) fn authority(&self) -> String {
        match &self.endpoint {
            (host, HTTPS_PORT) => host.clone(),
            (host, port) => format!("{host}:{port}"),
        }
    }

    /// How the broker is reached. Reads the authorities.
    pub(super) fn link(&self) -> Result<Options, SettingError> {
        let system = || SYSTEM_CAS.iter().map(Path::new).find(|file| file.is_file());
        let ca = self.ca.as_deref().or_else(system).ok_or(SettingError::NoSystemCa)?;
        let tls =
            Tls::anonymous(Some(ca), DatePolicy::Judge).map_err(|source| SettingError::Ca { source })?;
        let (host, port) = &self.endpoint;
        // The client id is the invoker's to choose.
        let mut link = Options::new(self.client.as_str(), host, *port);
        link.tls = Some(Arc::new(tls));
        link.keep_alive = self.keep_alive;
        link.connect_timeout = CONNECT_TIMEOUT;
        Ok(link)
    }

    /// Who may ask what, beside what IAM allows. Reads the policy file.
    pub(super) fn access(&self) -> Result<Access, SettingError> {
        let Some(file) = &self.policy else { return Ok(Access::Everybody) };
        Policy::load(file).map(Access::Policy).map_err(|source| SettingError::Policy { source })
    }
}

fn wrong(name: &'static str, value: &str, wanted: impl fmt::Display) -> SettingError {
    SettingError::Wrong { name, value: value.chars().take(80).collect(), wanted: wanted.to_string() }
}

fn endpoint(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (text, HTTPS_PORT),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!host.is_empty() && host.bytes().all(plain)).then(|| (host.to_owned(), port))
}

fn flag(name: &'static str, value: Option<&str>) -> Result<bool, SettingError> {
    match value {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(wrong(name, other, "true or false")),
    }
}

fn duration(
    name: &'static str,
    value: Option<String>,
    usual: Duration,
    (least, least_is, most, most_is): (Duration, &str, Duration, &str),
) -> Result<Duration, SettingError> {
    let Some(text) = value else { return Ok(usual) };
    let found = humantime::parse_duration(&text).ok();
    let found = found.filter(|found| (least..=most).contains(found));
    found.ok_or_else(|| {
        wrong(name, &text, format_args!("a duration from {least_is} to {most_is}, such as 800ms or 90s"))
    })
}

#[cfg(test)]
mod tests;
