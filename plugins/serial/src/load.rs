//! From declared ports and map files to methods on ports: everything `nowd check` says about them. Opens nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use nowd_plugin::Method;
use nowd_plugin::map::{MapError, MapFile, MapOrigin, MapSource};

use crate::config::PortConfig;
use crate::map::{Backend, Keys, SerialMap};
use crate::port::Port;

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

/// A method and where it runs.
#[derive(Debug)]
pub(crate) struct SerialMethod {
    pub(crate) described: Method,
    pub(crate) map: Arc<SerialMap>,
    pub(crate) port: Arc<Port>,
}

type Loaded = (BTreeMap<String, Arc<Port>>, BTreeMap<String, SerialMethod>);

pub(crate) fn load(ports: &BTreeMap<String, PortConfig>, maps: &[MapSource]) -> Result<Loaded, LoadError> {
    check_ports(ports)?;
    let mut used: BTreeMap<String, Arc<Port>> = BTreeMap::new();
    let mut lanes: BTreeMap<String, (String, MapOrigin)> = BTreeMap::new();
    let mut methods: BTreeMap<String, SerialMethod> = BTreeMap::new();
    for source in maps {
        let file: MapFile<Backend, Keys> = MapFile::parse(source)?;
        let origin = file.origin();
        let name = &file.backend.port;
        let Some(config) = ports.get(name) else {
            return Err(origin.error(unknown_port(name, ports)).into());
        };
        if let Some(mistake) = file.backend.framing.mistake() {
            return Err(origin.error(mistake).into());
        }
        let lane = file.lane(format!("port:{name}"));
        if lane.concurrency.get() != 1 {
            let message = "`lane.concurrency` of a serial map is 1: a line carries one call at a time";
            return Err(origin.error(message).into());
        }
        match lanes.entry(name.clone()) {
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
        let port = used.entry(name.clone()).or_insert_with(|| Arc::new(Port::new(name, config)));
        for method in &file.methods {
            let map = Arc::new(SerialMap::new(method, &file.backend.framing)?);
            let described = method.describe(lane.clone());
            if let Some(other) = methods.get(&method.name) {
                let (name, first) = (method.name.clone(), other.described.origin.clone());
                return Err(LoadError::NameTaken { name, first, second: described.origin });
            }
            methods.insert(method.name.clone(), SerialMethod { described, map, port: Arc::clone(port) });
        }
    }
    Ok((used, methods))
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
