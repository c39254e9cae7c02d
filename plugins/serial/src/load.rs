//! From declared ports and map files to methods on ports: everything `nowd check` says about them. Opens nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use nowd_plugin::map::{MapError, MapFile, MapMethod, MapOrigin, MapSource, MethodKeys, backend_of};
use nowd_plugin::{Call, CallError, Method};
use serde::de::DeserializeOwned;

use crate::config::PortConfig;
use crate::exchange::Exchange;
use crate::map::{Keys, SerialMap, SerialTable};
use crate::modbus::{ModbusMap, ModbusTable};
use crate::port::Port;
use crate::transaction::Work;

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
    /// Two maps declare one method.
    #[error("{second}: the method {name:?} is already declared in {first}; choose another name")]
    NameTaken {
        /// The method's name.
        name: String,
        /// Where it was declared first.
        first: String,
        /// Where it was declared again.
        second: String,
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
        self.framing.mistake().map_or(Ok(()), |mistake| Err(origin.error(mistake)))
    }

    fn action(&self, _: &PortConfig, method: &mut MapMethod<Keys>) -> Result<Action, MapError> {
        Ok(Action::Frames(Arc::new(SerialMap::new(method, &self.framing)?)))
    }
}

/// What a method does.
#[derive(Debug)]
pub(crate) enum Action {
    /// Writes frames and waits for their replies.
    Frames(Arc<SerialMap>),
    /// Reads and writes registers.
    Modbus(Arc<ModbusMap>),
}

impl Action {
    /// What is to be done for `call`; an error is an invalid request.
    pub(crate) fn work(&self, call: &Call) -> Result<Work, CallError> {
        match self {
            Self::Frames(map) => match map.frames(call) {
                Ok(frames) => Ok(Work::Frames(Exchange { map: Arc::clone(map), frames })),
                Err(e) => Err(CallError::new("invalid_request", e.to_string())),
            },
            Self::Modbus(map) => map.exchange(call).map(Work::Modbus),
        }
    }

    /// What is sent and what answers mean, in lines for people.
    pub(crate) fn explain(&self) -> Vec<String> {
        match self {
            Self::Frames(_) => Vec::new(),
            Self::Modbus(map) => map.explain(),
        }
    }

    /// What exactly would be written for `call`, in lines for people; an error is an invalid request.
    pub(crate) fn preview(&self, call: &Call) -> Result<Vec<String>, CallError> {
        match self {
            Self::Frames(_) => Ok(Vec::new()),
            Self::Modbus(map) => map.preview(call),
        }
    }
}

/// A method and where it runs.
#[derive(Debug)]
pub(crate) struct SerialMethod {
    pub(crate) described: Method,
    pub(crate) action: Action,
    pub(crate) port: Arc<Port>,
}

/// Ports that are used, and methods, by name.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) ports: BTreeMap<String, Arc<Port>>,
    pub(crate) methods: BTreeMap<String, SerialMethod>,
    /// The lane of each port, and where it was declared first.
    lanes: BTreeMap<String, (String, MapOrigin)>,
}

/// Maps of `[serial]` and `[modbus]`, which may share a port and its lane.
pub(crate) fn load(ports: &BTreeMap<String, PortConfig>, maps: &[MapSource]) -> Result<Loaded, LoadError> {
    check_ports(ports)?;
    let mut loaded = Loaded::default();
    for source in maps {
        match backend_of(source, &["serial", "modbus"])? {
            "modbus" => loaded.add::<ModbusTable>(ports, source)?,
            _ => loaded.add::<SerialTable>(ports, source)?,
        }
    }
    Ok(loaded)
}

impl Loaded {
    fn add<B: Backend>(
        &mut self,
        ports: &BTreeMap<String, PortConfig>,
        source: &MapSource,
    ) -> Result<(), LoadError> {
        let mut file: MapFile<B, B::Keys> = MapFile::parse(source)?;
        let origin = file.origin();
        let name = file.backend.port();
        let Some(config) = ports.get(name) else {
            return Err(origin.error(unknown_port(name, ports)).into());
        };
        file.backend.check(config, &origin)?;
        let lane = file.lane(format!("port:{name}"));
        if lane.concurrency.get() != 1 {
            let message = "`lane.concurrency` of a serial map is 1: a line carries one call at a time";
            return Err(origin.error(message).into());
        }
        match self.lanes.entry(name.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert((lane.name.clone(), origin.clone()));
            }
            Entry::Occupied(entry) => {
                let (first, at) = entry.get();
                if *first != lane.name {
                    let message = format!(
                        "the lane {:?} is another than {first:?} in {at}, and both stand before the port {name:?}",
                        lane.name
                    );
                    return Err(origin.error(message).into());
                }
            }
        }
        let port = self.ports.entry(name.to_owned()).or_insert_with(|| Arc::new(Port::new(name, config)));
        for method in &mut file.methods {
            let action = file.backend.action(config, method)?;
            let described = method.describe(lane.clone());
            if let Some(other) = self.methods.get(&method.name) {
                let (name, first) = (method.name.clone(), other.described.origin.clone());
                return Err(LoadError::NameTaken { name, first, second: described.origin });
            }
            let port = Arc::clone(port);
            self.methods.insert(method.name.clone(), SerialMethod { described, action, port });
        }
        Ok(())
    }
}

fn check_ports(ports: &BTreeMap<String, PortConfig>) -> Result<(), LoadError> {
    let mut owners: BTreeMap<PathBuf, &String> = BTreeMap::new();
    for (name, config) in ports {
        if let Some(mistake) = config.mistake() {
            return Err(LoadError::Port { port: name.clone(), message: mistake.into() });
        }
        // Two links may lead to one device; one that is not there now is compared by its name.
        let real = config.device.canonicalize().unwrap_or_else(|_| config.device.clone());
        if let Some(first) = owners.insert(real, name) {
            let (first, second, device) = (first.clone(), name.clone(), config.device.clone());
            return Err(LoadError::OwnedTwice { first, second, device });
        }
    }
    Ok(())
}

fn unknown_port(name: &str, ports: &BTreeMap<String, PortConfig>) -> String {
    if ports.is_empty() {
        return format!("the port {name:?} is not declared; add [ports.{name}] to nowd.toml");
    }
    let known: Vec<&str> = ports.keys().map(String::as_str).collect();
    format!("the port {name:?} is not declared; nowd.toml has {}", known.join(", "))
}

#[cfg(test)]
mod tests;
