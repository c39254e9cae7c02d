//! Drop-ins, `plugins.d/*.toml`: which plugin, and what is left of what it describes. Pure: no bus is needed.

use std::collections::BTreeMap;
use std::str::FromStr;

use nowd_plugin::map::{DropInFile, LaneTable, MapError, MapOrigin, MapSource, Narrowing, withheld};
use nowd_plugin::service::Description;
use nowd_plugin::{Lane, Method};
use serde::Deserialize;
use zbus::ObjectPath;
use zbus::names::WellKnownName;

use super::ServiceTarget;
use crate::map::not_a;
use nowd_plugin::bus::BusAddress;

/// A drop-in, checked.
#[derive(Debug, Clone)]
pub struct DropIn {
    target: ServiceTarget,
    lane: LaneTable,
    methods: BTreeMap<String, Narrowing>,
    origin: MapOrigin,
}

/// `[plugin]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    path: String,
    bus: Option<String>,
}

impl DropIn {
    /// Reads and checks one file. Plugins that name no bus are on `default_bus`.
    ///
    /// # Errors
    /// The first mistake, with its file, line and column.
    pub fn load(source: &MapSource, default_bus: &BusAddress) -> Result<Self, MapError> {
        let file: DropInFile<Table> = DropInFile::parse(source)?;
        let origin = file.origin();
        let Table { name, path, bus } = &file.plugin;
        WellKnownName::try_from(name.as_str())
            .map_err(|_| not_a(&origin, "name", name, "a bus name", "com.example.Gate"))?;
        ObjectPath::try_from(path.as_str())
            .map_err(|_| not_a(&origin, "path", path, "an object path", "/com/example/Gate"))?;
        let bus = match bus {
            None => default_bus.clone(),
            Some(text) => {
                let bus =
                    BusAddress::from_str(text).map_err(|e| origin.at("bus").error(format!("`bus`: {e}")))?;
                if !bus.is_unix() {
                    return Err(origin.at("bus").error(
                        "plugins are reached only over a Unix socket; write \"system\", \"session\" or \"unix:path=...\"",
                    ));
                }
                bus
            }
        };
        let target = ServiceTarget { bus, name: name.clone(), path: path.clone() };
        let methods = file.methods.into_iter().map(|method| (method.name.clone(), method)).collect();
        Ok(Self { target, lane: file.lane, methods, origin })
    }

    /// The plugin's name on the bus.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// Where the plugin is.
    #[must_use]
    pub const fn target(&self) -> &ServiceTarget {
        &self.target
    }

    /// The place of `[plugin]`.
    #[must_use]
    pub const fn origin(&self) -> &MapOrigin {
        &self.origin
    }

    /// The methods on offer, by name: what the plugin has described, narrowed; and what the drop-in names and was never
    /// described. Then sentences, each with its place, about what in the drop-in does not go with the description.
    ///
    /// Compiles schemas that the plugin has made, where the drop-in says something of the same parameters: not to be called
    /// where calls wait for it.
    #[must_use]
    pub fn methods(&self, described: Option<&Description>) -> (Vec<Method>, Vec<String>) {
        let described: BTreeMap<&str, &Method> = described
            .iter()
            .flat_map(|described| &described.methods)
            .map(|method| (method.name.as_str(), method))
            .collect();
        let mut notes = Vec::new();
        let mut methods: Vec<Method> = Vec::new();
        for (name, method) in &described {
            if *name == "*" && !self.methods.contains_key("*") {
                let text = format!(
                    "{} describes a method \"*\", which would take the calls of all names that nobody has; it is left out unless [methods.\"*\"] stands here",
                    self.target.name
                );
                notes.push(self.origin.error(text).to_string());
                continue;
            }
            let mut method = match self.methods.get(*name) {
                None => (*method).clone(),
                Some(narrowing) => {
                    let (method, more) = narrowing.narrow(method);
                    notes.extend(more);
                    method
                }
            };
            method.lane = self.lane(method.lane);
            methods.push(method);
        }
        let own = Lane::exclusive(format!("plugin:{}", self.target.name));
        let own = described
            .values()
            .map(|method| &method.lane)
            .find(|lane| lane.name == own.name)
            .cloned()
            .unwrap_or(own);
        for (name, narrowing) in &self.methods {
            if described.contains_key(name.as_str()) {
                continue;
            }
            if !described.is_empty() {
                let names = |name: &str| self.methods.contains_key(name);
                let (note, open) = narrowing.undescribed(&self.target.name, described.keys().copied(), names);
                notes.push(note);
                // What was meant to be narrowed is not left open.
                if let Some(method) = methods.iter_mut().find(|method| Some(method.name.as_str()) == open) {
                    *method = withheld(method);
                }
            }
            methods.push(narrowing.placeholder(self.lane(own.clone())));
        }
        methods.sort_by(|a, b| a.name.cmp(&b.name));
        (methods, notes)
    }

    /// A lane that the drop-in names has the shape that it says: others may stand in it, and what the plugin says of its own
    /// lanes is nothing to them.
    fn lane(&self, described: Lane) -> Lane {
        let LaneTable { name, concurrency, depth } = &self.lane;
        let described = match name {
            Some(name) => Lane::exclusive(name.clone()),
            None => described,
        };
        Lane {
            name: described.name,
            concurrency: concurrency.unwrap_or(described.concurrency),
            depth: depth.unwrap_or(described.depth),
        }
    }
}
