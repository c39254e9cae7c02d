//! From declared ports and map files to methods on ports: everything `nowd check` says about them. Opens nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use nowd_plugin::map::{MapError, MapFile, MapMethod, MapOrigin, MapSource, MethodKeys, backend_of};
use nowd_plugin::words::hint;
use nowd_plugin::{Call, CallError, Lane, Method};
use serde::de::DeserializeOwned;

use crate::content::template::FrameError;
use crate::map::exchange::Exchange;
use crate::map::hears::{Heard, Hearing};
use crate::map::method::{Keys, SerialMap, SerialTable};
use crate::modbus::{ModbusMap, ModbusTable};
use crate::port::Port;
use crate::port::config::PortConfig;
use crate::port::line::LONGEST_UNREST;
use crate::port::transaction::{Safety, Work};

/// How many calls of `hears` methods of one port are answered at once.
const HEARING_AT_ONCE: u16 = 16;

/// Ports and maps do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A mistake in a map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A mistake in a port's declaration.
    #[error("[ports.{port}]: {message}")]
    Port {
        /// The port's name.
        port: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Two ports are one device.
    #[error(
        "[ports.{second}]: the device {} is already owned by [ports.{first}]; let the maps share that port",
        .device.display()
    )]
    OwnedTwice {
        /// The port that is first by name.
        first: String,
        /// The other.
        second: String,
        /// The device as the second names it.
        device: PathBuf,
    },
}

/// The table of a backend whose methods run on ports.
pub(crate) trait Backend: DeserializeOwned {
    /// The keys of a method.
    type Keys: MethodKeys;

    /// The port's name.
    fn port(&self) -> &str;

    /// Checks the table itself, which stands at `origin`.
    fn check(&self, port: &PortConfig, origin: &MapOrigin) -> Result<(), MapError>;

    /// Checks a method and makes it ready to run.
    fn action(&self, port: &PortConfig, method: &mut MapMethod<Self::Keys>) -> Result<Action, MapError>;
}

impl Backend for SerialTable {
    type Keys = Keys;

    fn port(&self) -> &str {
        &self.port
    }

    fn check(&self, _: &PortConfig, origin: &MapOrigin) -> Result<(), MapError> {
        self.read_wire(origin)
    }

    fn action(&self, _: &PortConfig, method: &mut MapMethod<Keys>) -> Result<Action, MapError> {
        let wire = self.wire(&method.origin)?;
        if method.keys.hears.is_some() {
            return Ok(Action::Hears(Arc::new(Heard::new(method, wire)?)));
        }
        let map = SerialMap { echo: self.echo, ..SerialMap::new(method, wire)? };
        Ok(Action::Frames(Arc::new(map)))
    }
}

/// What a method does.
#[derive(Debug)]
pub(crate) enum Action {
    /// Writes frames and waits for their replies.
    Frames(Arc<SerialMap>),
    /// Reads and writes registers.
    Modbus(Arc<ModbusMap>),
    /// Tells what the device said by itself.
    Hears(Arc<Heard>),
}

/// What is to be done for a call.
pub(crate) enum Task {
    /// On the line, when the port's task comes to it.
    OnLine(Work),
    /// At once, of what was heard.
    Hears(Arc<Heard>),
}

impl Action {
    /// What is to be done for `call`; an error is an invalid request.
    pub(crate) fn task(&self, call: &Call) -> Result<Task, CallError> {
        match self {
            Self::Frames(map) => {
                let frames = map.frames(call).map_err(|e| invalid(&e))?;
                Ok(Task::OnLine(Work::Frames(Exchange { map: Arc::clone(map), frames })))
            }
            Self::Modbus(map) => map.exchange(call).map(|exchange| Task::OnLine(Work::Modbus(exchange))),
            Self::Hears(heard) => Ok(Task::Hears(Arc::clone(heard))),
        }
    }

    /// How long it waits before its frames, in all.
    fn pauses(&self, port: &PortConfig) -> Duration {
        match self {
            Self::Frames(map) => map.pauses(port.gap.unwrap_or_default()),
            Self::Modbus(map) => map.pauses(),
            Self::Hears(_) => Duration::ZERO,
        }
    }

    /// What is sent and what answers mean, in lines for people.
    pub(crate) fn explain(&self) -> Vec<String> {
        match self {
            Self::Frames(map) => map.explain(),
            Self::Modbus(map) => map.explain(),
            Self::Hears(heard) => heard.explain(),
        }
    }

    /// What exactly would be written for `call`, in lines for people; an error is an invalid request.
    pub(crate) fn preview(&self, call: &Call) -> Result<Vec<String>, CallError> {
        match self {
            Self::Frames(map) => map.preview(call).map_err(|e| invalid(&e)),
            Self::Modbus(map) => map.preview(call),
            Self::Hears(heard) => Ok(heard.explain()),
        }
    }
}

fn invalid(error: &FrameError) -> CallError {
    CallError::new("invalid_request", error.to_string())
}

/// A method and where it runs.
#[derive(Debug)]
pub(crate) struct SerialMethod {
    pub(crate) described: Method,
    pub(crate) action: Action,
    pub(crate) port: Arc<Port>,
    pub(crate) safety: Arc<Safety>,
}

impl SerialMethod {
    /// As the safe action of `name` it must have been written before its time is up, even on a line that is not silent.
    fn check_time(&self, name: &str) -> Result<(), LoadError> {
        let timeout = self.described.policy.timeout;
        let least = LONGEST_UNREST.saturating_add(self.action.pauses(&self.port.config));
        let Some(place) = self.described.place.as_ref().filter(|_| timeout <= least) else { return Ok(()) };
        let message = format!(
            "`timeout` is {timeout:?}, in which the method could not be written as the safe action of {name:?}: the line may have to \
             become silent first ({LONGEST_UNREST:?}), and its own `wait`s and the port's `gap` count too; give it more than {least:?}"
        );
        Err(place.at("timeout").error(message).into())
    }
}

/// Ports that are used, and methods, by name.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) ports: BTreeMap<String, Arc<Port>>,
    pub(crate) methods: BTreeMap<String, SerialMethod>,
    /// What listens at each port.
    pub(crate) hearing: BTreeMap<String, Vec<Hearing>>,
    /// The lane of each port, and where it was declared first.
    lanes: BTreeMap<String, (String, MapOrigin)>,
}

/// Maps of `[serial]` and `[modbus]`, which may share a port and its lane.
///
/// Of the `previous` ports those are kept whose settings are the same, open as they are. Of those and `earlier` ones
/// any may still hold a device.
pub(crate) fn load(
    ports: &BTreeMap<String, PortConfig>,
    maps: &[MapSource],
    previous: &BTreeMap<String, Arc<Port>>,
    earlier: &[Weak<Port>],
) -> Result<Loaded, LoadError> {
    check_ports(ports)?;
    let (mut loaded, given) = (Loaded::default(), Given { ports, previous, earlier });
    for source in maps {
        match backend_of(source, &["serial", "modbus"])? {
            "modbus" => loaded.add::<ModbusTable>(&given, source)?,
            _ => loaded.add::<SerialTable>(&given, source)?,
        }
    }
    loaded.know_safe_actions()?;
    Ok(loaded)
}

/// What ports there are to be, and were.
struct Given<'a> {
    ports: &'a BTreeMap<String, PortConfig>,
    previous: &'a BTreeMap<String, Arc<Port>>,
    earlier: &'a [Weak<Port>],
}

impl Given<'_> {
    /// The port of before where nothing about it has changed, so that it stays open; else a new one, which waits until the
    /// device is free.
    fn port(&self, name: &str, config: &PortConfig) -> Arc<Port> {
        if let Some(same) = self.previous.get(name).filter(|port| port.config == *config) {
            return Arc::clone(same);
        }
        let port = Port::new(name, config);
        for other in self.earlier.iter().filter_map(Weak::upgrade) {
            if real(&other.config.device) == real(&config.device) {
                port.follow(&other);
            }
        }
        Arc::new(port)
    }
}

impl Loaded {
    fn add<B: Backend>(&mut self, given: &Given<'_>, source: &MapSource) -> Result<(), LoadError> {
        let mut file: MapFile<B, B::Keys> = MapFile::parse(source)?;
        let origin = file.origin();
        let name = file.backend.port();
        let Some(config) = given.ports.get(name) else {
            return Err(origin.at("port").error(unknown_port(name, given.ports, &source.file)).into());
        };
        file.backend.check(config, &origin)?;
        let lane = file.lane(format!("port:{name}"));
        if lane.concurrency.get() != 1 {
            let message = "`lane.concurrency` of a serial map is 1: a line carries one call at a time";
            return Err(origin.error(message).into());
        }
        self.check_lane(name, &lane, &origin)?;
        let hears = hearing_lane(name);
        let port = self.ports.entry(name.to_owned()).or_insert_with(|| given.port(name, config));
        let mut heard = Vec::new();
        for method in &mut file.methods {
            let action = file.backend.action(config, method)?;
            let lane = if let Action::Hears(one) = &action {
                heard.push(Arc::clone(one));
                &hears
            } else {
                &lane
            };
            if let Action::Modbus(map) = &action
                && method.policy.poll.is_some()
                && !map.only_reads()
            {
                let message = "`poll` reads something every so often, and `write` would move it each time; leave out one of them";
                return Err(method.origin.at("poll").error(message).into());
            }
            let mut described = method.describe(lane.clone());
            // Reading twice is as good as once, and needs no journal.
            described.policy.idempotent |= match &action {
                Action::Hears(_) => true,
                Action::Modbus(map) => map.only_reads(),
                Action::Frames(_) => false,
            };
            if let Some(other) = self.methods.get(&method.name) {
                let (name, first) = (&method.name, &other.described.origin);
                let message =
                    format!("the method {name:?} is already declared in {first}; choose another name");
                return Err(method.origin.error(message).into());
            }
            let port = Arc::clone(port);
            self.methods.insert(
                method.name.clone(),
                SerialMethod { described, action, port, safety: Arc::default() },
            );
        }
        if let Some(wire) = heard.first().map(|heard| Arc::clone(&heard.wire)) {
            self.hearing.entry(name.to_owned()).or_default().push(Hearing { wire, methods: heard });
        }
        Ok(())
    }

    /// Finds what makes safe what, and whether it has the time for it.
    fn know_safe_actions(&mut self) -> Result<(), LoadError> {
        let mut found: BTreeMap<String, Safety> = BTreeMap::new();
        for (name, method) in &self.methods {
            let policy = &method.described.policy;
            for target in [&policy.on_timeout, &policy.on_stop].into_iter().flatten() {
                // One of another plugin has nothing to do with a line.
                let Some(action) = self.methods.get(target) else { continue };
                action.check_time(name)?;
                found.entry(target.clone()).or_default().makes_safe = true;
                if Arc::ptr_eq(&action.port, &method.port) {
                    let safety = found.entry(name.clone()).or_default();
                    if !safety.by.contains(target) {
                        safety.by.push(target.clone());
                        safety.within = safety.within.saturating_add(action.described.policy.timeout);
                    }
                }
            }
        }
        for (name, safety) in found {
            if let Some(method) = self.methods.get_mut(&name) {
                method.safety = Arc::new(safety);
            }
        }
        Ok(())
    }

    /// All maps of a port stand in one lane.
    fn check_lane(&mut self, port: &str, lane: &Lane, origin: &MapOrigin) -> Result<(), LoadError> {
        match self.lanes.entry(port.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert((lane.name.clone(), origin.clone()));
            }
            Entry::Occupied(entry) => {
                let (first, at) = entry.get();
                if *first != lane.name {
                    let message = format!(
                        "the lane {:?} is another than {first:?} in {at}, and both stand before the port {port:?}",
                        lane.name
                    );
                    return Err(origin.error(message).into());
                }
            }
        }
        Ok(())
    }
}

/// What was heard is told at once, beside the calls on the line.
fn hearing_lane(port: &str) -> Lane {
    let concurrency = NonZeroU16::new(HEARING_AT_ONCE).unwrap_or(NonZeroU16::MIN);
    Lane { concurrency, ..Lane::exclusive(format!("port:{port}:hears")) }
}

fn check_ports(ports: &BTreeMap<String, PortConfig>) -> Result<(), LoadError> {
    let mut owners: BTreeMap<PathBuf, &String> = BTreeMap::new();
    for (name, config) in ports {
        if let Some(mistake) = config.mistake() {
            return Err(LoadError::Port { port: name.clone(), message: mistake.into() });
        }
        if let Some(first) = owners.insert(real(&config.device), name) {
            let (first, second, device) = (first.clone(), name.clone(), config.device.clone());
            return Err(LoadError::OwnedTwice { first, second, device });
        }
    }
    Ok(())
}

/// Two links may lead to one device; one that is not there now is compared by its name.
fn real(device: &Path) -> PathBuf {
    device.canonicalize().unwrap_or_else(|_| device.to_owned())
}

/// A map that lies in no file is named with whose configuration it is in, and ports are declared there as well.
fn unknown_port(name: &str, ports: &BTreeMap<String, PortConfig>, file: &str) -> String {
    let is_deployed = file.contains("configuration") && file.contains(", methods.d/");
    if is_deployed && ports.is_empty() {
        return format!(
            "the port {name:?} is not declared; add {{\"nowd\": {{\"ports\": {{{name:?}: ..}}}}}} to the component configuration"
        );
    }
    if ports.is_empty() {
        return format!("the port {name:?} is not declared; add [ports.{name}] to nowd.toml");
    }
    let hint = hint(name, ports.keys().map(String::as_str));
    let hint = hint.replace("there are", if is_deployed { "the configuration has" } else { "nowd.toml has" });
    format!("the port {name:?} is not declared{hint}")
}

#[cfg(test)]
mod tests;
