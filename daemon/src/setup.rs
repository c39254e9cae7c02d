//! From configuration to everything a gateway runs with. Opens no connection and no device, so that `nowd check` can
//! do all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nowd_core::{Limits, Offer, Settings};
use nowd_link::{DatePolicy, Tls, TlsError, TlsFiles};
use nowd_plugin::Plugin;
use nowd_plugin::host::{Registry, RegistryError};
use nowd_plugin::map::{MapError, MapSource, backend_of};
use nowd_plugin::words::hint;
use nowd_plugin_dbus::DbusPlugin;
use nowd_plugin_dbus::service::{DropIn, Service};
use nowd_plugin_serial::SerialPlugin;
use nowd_plugin_simulator::SimulatorPlugin;
use nowd_protocol::{Level, RequestTopic};
use uuid::Uuid;

use crate::clock::WallClock;
use crate::config::{Config, ConfigError, ConfigFiles, LinkConfig};
use crate::offer::Set;
use crate::services::{Described, Descriptions, Isolated, Pool, SHIPPED, offered, shipped};

/// What maps can be for.
const BACKENDS: &[&str] = &["dbus", "serial", "modbus", "simulator"];

/// MQTT over TLS.
const MQTTS_PORT: u16 = 8_883;

/// Everything a gateway runs with.
#[derive(Debug)]
pub struct Setup {
    /// What the core is told.
    pub(crate) settings: Settings,
    /// The plugins that maps ask for, and the methods of all.
    pub(crate) plugins: Plugins,
    /// The methods that are known without asking anybody.
    pub(crate) set: Set,
    /// The plugins compiled in.
    pub(crate) extra: Vec<Arc<dyn Plugin>>,
    /// The plugins in processes of their own.
    pub(crate) pool: Arc<Pool>,
    /// How to reach the broker.
    pub(crate) link: nowd_link::Options,
    /// The wall clock.
    pub(crate) clock: WallClock,
    /// The configuration.
    pub(crate) config: Config,
}

/// The plugins of one set of maps.
#[derive(Debug)]
pub(crate) struct Plugins {
    /// Those that the maps ask for.
    pub(crate) of_maps: Vec<Arc<dyn Plugin>>,
    /// The one of them that holds the serial ports.
    pub(crate) serial: Option<Arc<SerialPlugin>>,
    /// The methods of these and of those compiled in.
    pub(crate) registry: Registry,
    /// The plugins that describe themselves, in the order of their drop-ins.
    pub(crate) described: Vec<Described>,
    /// The processes in which shipped plugins run.
    pub(crate) isolated: Vec<Arc<Service>>,
}

impl Plugins {
    /// All plugins in processes of their own.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.described.iter().map(|described| &described.service).chain(&self.isolated)
    }
}

/// Why a gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Ports, or maps of serial devices.
    #[error(transparent)]
    Serial(#[from] nowd_plugin_serial::LoadError),
    /// Methods of several plugins.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The plugins that maps ask for, and `extra` ones compiled in, with the methods of all.
pub(crate) fn plugins(
    files: &ConfigFiles,
    extra: Vec<Arc<dyn Plugin>>,
) -> Result<(Vec<Arc<dyn Plugin>>, Registry), SetupError> {
    let Plugins { of_maps, registry, described, .. } = load(files, &extra, &Pool::default(), None)?;
    let (registry, _) = offered(&registry, &described, &Descriptions::new());
    Ok(([extra, of_maps].concat(), registry))
}

/// The same for a gateway, which starts and stops the two kinds at different times, and hands ports on from the `previous`
/// set.
fn load(
    files: &ConfigFiles,
    extra: &[Arc<dyn Plugin>],
    pool: &Pool,
    previous: Option<&SerialPlugin>,
) -> Result<Plugins, SetupError> {
    let config = &files.config;
    if let Some(other) = config.isolate.iter().find(|name| !SHIPPED.contains(&name.as_str())) {
        let message = format!("{other:?} is no shipped plugin{}", hint(other, SHIPPED.iter().copied()));
        return Err(ConfigError::Value { key: "isolate", message }.into());
    }
    let is_isolated = |name: &str| config.isolate.iter().any(|isolated| isolated == name);
    let mut maps: BTreeMap<&str, Vec<MapSource>> = BTreeMap::new();
    for map in &files.maps {
        // Modbus is spoken on the ports of the serial plugin.
        let plugin = match backend_of(map, BACKENDS)? {
            "modbus" => "serial",
            backend => backend,
        };
        maps.entry(plugin).or_default().push(map.clone());
    }
    let mut of_maps: Vec<Arc<dyn Plugin>> = Vec::new();
    let of = |backend| maps.get(backend).map(Vec::as_slice).unwrap_or_default();
    // Ports are checked even if no map uses one: a mistake in them is a mistake.
    let serial = SerialPlugin::load(&config.ports, of("serial"), previous)?;
    let serial = (!of("serial").is_empty()).then_some(serial);
    if let Some(serial) = &serial {
        of_maps.push(Arc::<SerialPlugin>::clone(serial));
    }
    if !of("dbus").is_empty() {
        of_maps.push(DbusPlugin::load(of("dbus"))?);
    }
    if !of("simulator").is_empty() {
        of_maps.push(SimulatorPlugin::load(of("simulator"))?);
    }
    let mut isolated = Vec::new();
    for plugin in of_maps.iter_mut().filter(|plugin| is_isolated(plugin.name())) {
        let service = pool.service(&shipped(plugin.name(), config.bus.address.clone()));
        *plugin = Arc::new(Isolated::new(Arc::clone(plugin), Arc::clone(&service)));
        isolated.push(service);
    }
    let registry = Registry::new(&[extra, of_maps.as_slice()].concat())?;
    let described = described(files, pool)?;
    // It holds no port here.
    let serial = serial.filter(|_| !is_isolated("serial"));
    Ok(Plugins { of_maps, serial, registry, described, isolated })
}

/// The drop-ins, and the services that they name.
fn described(files: &ConfigFiles, pool: &Pool) -> Result<Vec<Described>, SetupError> {
    let mut all: Vec<Described> = Vec::new();
    for source in &files.drop_ins {
        let drop_in = DropIn::load(source, &files.config.bus.address)?;
        if let Some(other) = all.iter().find(|other| other.drop_in.name() == drop_in.name()) {
            let (name, first) = (drop_in.name(), other.drop_in.origin());
            let message = format!("the plugin {name:?} has a drop-in already, {first}; put both into one");
            return Err(drop_in.origin().at("name").error(message).into());
        }
        let service = pool.service(drop_in.target());
        all.push(Described { drop_in, service });
    }
    Ok(all)
}

impl Setup {
    /// Checks everything and puts it together. Reads certificate and key.
    pub fn new(
        files: &ConfigFiles,
        extra: Vec<Arc<dyn Plugin>>,
        clock: WallClock,
    ) -> Result<Self, SetupError> {
        Self::again(files, extra, clock, &Arc::default(), None)
    }

    /// The same beside a gateway that runs: services that it knows are found in its `pool`, and ports whose settings have not
    /// changed are handed on from its `previous` plugin.
    pub(crate) fn again(
        files: &ConfigFiles,
        extra: Vec<Arc<dyn Plugin>>,
        clock: WallClock,
        pool: &Arc<Pool>,
        previous: Option<&SerialPlugin>,
    ) -> Result<Self, SetupError> {
        let config = &files.config;
        let plugins = load(files, &extra, pool, previous)?;
        let target = target(config)?;
        let link = link(&config.link, &target, &clock)?;
        check_compat(config)?;
        config.metrics.check()?;
        let set = Set::new(0, config, plugins.registry.clone());
        let settings = settings(config, target, Arc::clone(&set.offer));
        if !config.state_dir.is_absolute() {
            let message = "must be an absolute path, such as /var/lib/nowd".into();
            return Err(ConfigError::Value { key: "state_dir", message }.into());
        }
        let pool = Arc::clone(pool);
        Ok(Self { settings, plugins, set, extra, pool, link, clock, config: config.clone() })
    }

    /// The gateway's name.
    #[must_use]
    pub fn target(&self) -> &Level {
        &self.settings.target
    }

    /// Where the broker is, for people.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.link.host, self.link.port)
    }
}

fn target(config: &Config) -> Result<Level, ConfigError> {
    let hint = "set `target = \"<thing name>\"` in nowd.toml, or NOWD__TARGET";
    let target = config.target.clone().ok_or(ConfigError::Missing { key: "target", hint })?;
    // The longest topic that this gateway will ever build from its own name must fit.
    let shortest =
        || Level::new("m").map_err(|e| ConfigError::Value { key: "target", message: e.to_string() });
    let topic =
        RequestTopic { target: target.clone(), method: shortest()?, client: shortest()?, id: Uuid::nil() };
    topic.check_len().map_err(|e| ConfigError::Value { key: "target", message: e.to_string() })?;
    Ok(target)
}

fn check_compat(config: &Config) -> Result<(), ConfigError> {
    if config.compat.clients.iter().any(String::is_empty) {
        let message = "holds an empty text, which would take deadlines away from every caller".into();
        return Err(ConfigError::Value { key: "compat.clients", message });
    }
    if config.compat.budget.is_zero() {
        return Err(ConfigError::Value { key: "compat.budget", message: "must be longer than 0".into() });
    }
    Ok(())
}

fn link(config: &LinkConfig, target: &Level, clock: &WallClock) -> Result<nowd_link::Options, SetupError> {
    let hint = "set `endpoint = \"host:8883\"` under [link] in nowd.toml, or NOWD__LINK__ENDPOINT";
    let endpoint = config.endpoint.as_deref().ok_or(ConfigError::Missing { key: "link.endpoint", hint })?;
    let (host, port) = split_endpoint(endpoint)?;
    if !config.tls && !config.allow_plain && !is_here(&host) {
        let message = format!(
            "is false, and {host} is not this machine: everybody on the way could move things; leave TLS on, or set \
             `allow_plain = true` knowing that"
        );
        return Err(ConfigError::Value { key: "link.tls", message }.into());
    }
    let client_id = config.client_id.clone().unwrap_or_else(|| target.as_str().to_owned());
    if let Err(e) = Level::new(client_id.as_str()) {
        return Err(ConfigError::Value { key: "link.client_id", message: e.to_string() }.into());
    }
    let mut options = nowd_link::Options::new(client_id, host, port);
    options.tls = tls(config, clock)?.map(Arc::new);
    options.allow_plain = config.allow_plain;
    options.keep_alive = config.keep_alive;
    options.user_timeout = config.silence;
    let between = |key: &'static str, found: Duration, least: u64, most: u64| {
        if (least..=most).contains(&found.as_secs()) {
            Ok(())
        } else {
            Err(ConfigError::Value { key, message: format!("must lie between {least}s and {most}s") })
        }
    };
    between("link.keep_alive", config.keep_alive, 5, 1_200)?;
    between("link.silence", config.silence, 1, 60)?;
    between("link.probe", config.probe, 1, 1_200)?;
    Ok(options)
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn split_endpoint(endpoint: &str) -> Result<(String, u16), ConfigError> {
    let error = |message: &str| ConfigError::Value { key: "link.endpoint", message: message.into() };
    let (host, port) = match endpoint.rsplit_once(':') {
        // An IPv6 address without brackets has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (host, port.ok_or_else(|| error("the part after the colon must be a port from 1 to 65535"))?)
        }
        Some(_) | None => (endpoint, MQTTS_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(error("must be a host, or host:port, without a scheme such as mqtts://"));
    }
    Ok((host.to_owned(), port))
}

fn tls(config: &LinkConfig, clock: &WallClock) -> Result<Option<Tls>, SetupError> {
    if !config.tls {
        let given =
            [("link.certificate", &config.certificate), ("link.key", &config.key), ("link.ca", &config.ca)];
        if let Some((key, _)) = given.into_iter().find(|(_, file)| file.is_some()) {
            return Err(ConfigError::Value {
                key,
                message: "is given, but `tls = false`; leave out one of them".into(),
            }
            .into());
        }
        return Ok(None);
    }
    let clock = clock.clone();
    let dates = DatePolicy::WhileClockIsSet(Arc::new(move || clock.is_set()));
    let files = |certificate, key| TlsFiles { ca: config.ca.clone(), certificate, key };
    match (config.certificate.clone(), config.key.clone()) {
        (Some(certificate), Some(key)) => Ok(Some(Tls::load(&files(certificate, key), dates)?)),
        (Some(_), None) => Err(missing("link.key", "set the file of the certificate's private key").into()),
        (None, Some(_)) => Err(missing("link.certificate", "set the file of the key's certificate").into()),
        (None, None) => Err(missing(
            "link.certificate",
            "set `certificate` and `key` under [link]; a broker on this machine may do with `tls = false`",
        )
        .into()),
    }
}

const fn missing(key: &'static str, hint: &'static str) -> ConfigError {
    ConfigError::Missing { key, hint }
}

fn settings(config: &Config, target: Level, offer: Arc<Offer>) -> Settings {
    Settings {
        target,
        incarnation: Uuid::new_v4(),
        offer,
        limits: Limits::default(),
        journal: config.journal.enabled,
        new_id: Uuid::new_v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (endpoint, expected) in [
            ("broker", Some(("broker", 8_883))),
            ("broker:1883", Some(("broker", 1_883))),
            ("::1", Some(("::1", 8_883))),
            ("[::1]:443", Some(("::1", 443))),
            ("mqtts://broker", None),
            ("broker:", None),
            ("broker:0", None),
            (":8883", None),
        ] {
            let found = split_endpoint(endpoint).ok();
            assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{endpoint}");
        }
    }
}
