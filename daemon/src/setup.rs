//! From configuration to everything a gateway runs with. Opens no connection and no device, so that `nowd check` can
//! do all of it.

mod link;

use std::collections::BTreeMap;
use std::sync::Arc;

use nowd_core::{Limits, Offer, Settings};
use nowd_link::TlsError;
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
use crate::config::{ClockTrust, Config, ConfigError, ConfigFiles, Via};
use crate::identity::{Blame, Certificates, Found, IdentityError};
use crate::journal::JournalError;
use crate::offer::{Set, page_bytes};
use crate::services::{Described, Descriptions, Isolated, Pool, SHIPPED, offered, shipped};
use crate::uplink::{RelayOptions, Way};

use link::link;
pub(crate) use link::{dates, split_endpoint};

/// What maps can be for.
const BACKENDS: &[&str] = &["dbus", "serial", "modbus", "simulator"];

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
    pub(crate) link: Way,
    /// Certificate and key, for TLS.
    pub(crate) certificates: Option<Certificates>,
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
    /// The identity that `nowd provision` made.
    #[error(transparent)]
    Identity(#[from] Arc<IdentityError>),
    /// The journal that it asks for.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<Blame> for SetupError {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Tls(e) => Self::Tls(e),
            Blame::Identity(e) => Self::Identity(Arc::new(e)),
        }
    }
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
        if let Found::Unusable(e) = &files.identity {
            return Err(Arc::clone(e).into());
        }
        let target = target(config)?;
        let (link, certificates) = link(files, &target, &clock)?;
        check_compat(config)?;
        config.metrics.check()?;
        let set = Set::new(0, config, plugins.registry.clone());
        let settings = settings(config, target, Arc::clone(&set.offer));
        if !config.state_dir.is_absolute() {
            let message = "must be an absolute path, such as /var/lib/nowd".into();
            return Err(ConfigError::Value { key: "state_dir", message }.into());
        }
        let pool = Arc::clone(pool);
        Ok(Self { settings, plugins, set, extra, pool, link, certificates, clock, config: config.clone() })
    }

    /// Checks all that does not depend on the machine that it will be deployed to, with stand-ins for name and broker where those
    /// come from there. Gives the methods, and says what comes from there.
    pub(crate) fn check_deployment(
        mut files: ConfigFiles,
        extra: &[Arc<dyn Plugin>],
    ) -> Result<(Registry, Vec<&'static str>), SetupError> {
        let Plugins { registry, described, .. } = load(&files, extra, &Pool::default(), None)?;
        let (registry, _) = offered(&registry, &described, &Descriptions::new());
        let mut from_there = Vec::new();
        if files.config.target.is_none() {
            from_there.push("target");
            files.config.target = Level::new("core").ok();
        }
        let is_direct = files.config.link.via == Via::Direct;
        if is_direct && files.config.link.endpoint.is_none() {
            from_there.push("link.endpoint");
            files.config.link.endpoint = Some("nucleus.invalid".into());
        }
        if is_direct && files.config.link.tls {
            from_there.push("certificate and key");
        }
        link::way(&files, &target(&files.config)?)?;
        check_compat(&files.config)?;
        files.config.metrics.check()?;
        Ok((registry, from_there))
    }

    /// The gateway's name.
    #[must_use]
    pub fn target(&self) -> &Level {
        &self.settings.target
    }

    /// What there is to say of certificate and key, and of the identity they come from.
    pub(crate) fn of_identity(&self, files: &ConfigFiles) -> Vec<String> {
        let mut notes = Vec::new();
        if let Found::Used(used) = &files.identity {
            notes.push(used.words(&files.config.state_dir));
        }
        if matches!(&self.link, Way::Relay(RelayOptions { nucleus: None, .. })) {
            notes.push(
                "`link.via` is \"greengrass\": the link comes up only in a process that a nucleus has started, and no nucleus has \
                 started this one"
                    .into(),
            );
        }
        notes.extend(self.certificates.as_ref().map(Certificates::notes).unwrap_or_default());
        notes
    }

    /// Where the broker is, for people.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.link.endpoint()
    }
}

fn target(config: &Config) -> Result<Level, ConfigError> {
    let hint = "set `target = \"<thing name>\"` in nowd.toml, or NOWD__TARGET; or run `nowd provision`";
    let target = config.target.clone().ok_or(ConfigError::Missing { key: "target", hint })?;
    check_target(&target)?;
    Ok(target)
}

/// Whether a gateway may have this name.
pub(crate) fn check_target(target: &Level) -> Result<(), ConfigError> {
    // The longest topic that this gateway will ever build from its own name must fit.
    let shortest =
        || Level::new("m").map_err(|e| ConfigError::Value { key: "target", message: e.to_string() });
    let topic =
        RequestTopic { target: target.clone(), method: shortest()?, client: shortest()?, id: Uuid::nil() };
    topic.check_len().map_err(|e| ConfigError::Value { key: "target", message: e.to_string() })
}

fn check_compat(config: &Config) -> Result<(), ConfigError> {
    if config.compat.clients.iter().any(String::is_empty) {
        let message = "holds an empty text, which would take deadlines away from every caller".into();
        return Err(ConfigError::Value { key: "compat.clients", message });
    }
    if config.link.via == Via::Greengrass
        && !config.compat.clients.is_empty()
        && config.clock != ClockTrust::Trusted
    {
        let message = "these callers send no deadline, and a nucleus may deliver late what was kept for it; leave it empty, set \
                       `clock = \"trusted\"` where the wall clock is seen to, or set `link.via = \"direct\"`";
        return Err(ConfigError::Value { key: "compat.clients", message: message.into() });
    }
    if config.compat.budget.is_zero() {
        return Err(ConfigError::Value { key: "compat.budget", message: "must be longer than 0".into() });
    }
    Ok(())
}

fn settings(config: &Config, target: Level, offer: Arc<Offer>) -> Settings {
    Settings {
        target,
        incarnation: Uuid::new_v4(),
        offer,
        limits: Limits { page_bytes: page_bytes(config), ..Limits::default() },
        journal: config.journal.enabled,
        new_id: Uuid::new_v4,
    }
}
