//! Method maps onto existing D-Bus services: a plugin without code. And, in [`service`], the gateway's client of plugins
//! in processes of their own.
//!
//! [`DbusPlugin::load`] reads maps with a `[dbus]` table and does no I/O; [`Plugin::run`] keeps a connection to each
//! bus that they name; [`Plugin::invoke`] makes one D-Bus call. How JSON and D-Bus types correspond stands in
//! `convert.rs`, what the errors of a service mean in `answer.rs`.
//!
//! ```toml
//! [dbus]
//! bus = "system"                      # or "session", or an address: "unix:path=/run/example/bus"
//! destination = "com.example.Window1"
//! path = "/com/example/window/left"
//! interface = "com.example.Window1"
//! [methods."window.set"]
//! call = "MoveTo"                     # a method has exactly one of `call`, `get` and `set`
//! args = ["$percent", "$call.id"]     # any values; texts may hold parameters
//! signature = "us"                    # optional: else the service is asked when it starts
//! refused = ["com.example.Error.Interlock", "com.example.Error.Safety.*"]   # these errors mean: it did nothing
//! failed = { "com.example.Error.Jammed" = "executed" }    # and this one: it was done ("not_executed", "unknown")
//! done = { signal = "Moved", match = ["$call.id"] }       # optional: the call only starts the work
//! params.percent = { type = "integer", minimum = 0, maximum = 100 }
//! [methods."window.position"]
//! get = "Position"                    # a property
//! [methods."window.speed"]
//! set = "Speed"
//! value = "$speed"
//! params.speed = { type = "integer" }
//! [methods."window.calibrate"]
//! call = "Calibrate"                  # its reply names a job, and a signal tells how that job ended
//! args = [{ mode = { "$type" = "y", value = 3 } }]        # a variant whose type is not the one that JSON would give
//! done = { signal = "JobEnded", match = ["$call.reply"], success = ["$*", "done"] }
//! ```
//!
//! With `done`, the call's response is the signal's body. A signal counts only from the owner of `destination`, from
//! `done.path` (default: `path`), in `done.interface` (default: `interface`), and with the values of `match` at its start:
//! `"$*"` is any value, `"$call.reply"` the call's own response (`"$call.reply[1]"` and `"$call.reply.name"` parts of it), an array
//! one of as many fitting items, a table one that has at least these, and `{ "$any" = [2, 4] }` one of these. What comes before the reply is kept until then. If
//! the signal's values are not those of `done.success`, the call is `failed`, `unknown`, with the code `done_otherwise`.
//!
//! Types come from `signature`, or are asked of the object, at the start and when the owner of the name changes; whatever
//! does not fit the map is then told in the log. Parameters without a declaration get that of their type.
//!
//! What it never does: start a service (every call carries `NO_AUTO_START`), call a name that the bus does not list,
//! send after the deadline, send again what was sent, or keep a call for a bus that is not there.

mod answer;
mod bus;
mod convert;
mod done;
mod errors;
mod explain;
mod expr;
mod fit;
mod forms;
mod introspect;
mod invoke;
mod json;
mod map;
mod message;
pub mod service;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use nowd_plugin::bus::BusAddress;
use nowd_plugin::map::{MapError, MapSource};
use nowd_plugin::{BoxFuture, Call, CallError, CancellationToken, Completion, Health, Method, Plugin, Pulse};
use tokio::task::JoinSet;

use crate::bus::Bus;
use crate::map::Mapped;

/// The methods of all D-Bus maps.
#[derive(Debug)]
pub struct DbusPlugin {
    methods: HashMap<String, (Arc<Mapped>, Arc<Bus>)>,
    buses: Vec<Arc<Bus>>,
}

impl DbusPlugin {
    /// Reads and checks `maps`, all of which have a `[dbus]` table. Pure: no bus is needed.
    ///
    /// # Errors
    /// The first mistake, with its file and line: a key that is not known, a name, path, address or signature that is
    /// none, a parameter that is not declared, or a method that another of the maps has already.
    pub fn load(maps: &[MapSource]) -> Result<Arc<Self>, MapError> {
        let mut all: BTreeMap<String, Arc<Mapped>> = BTreeMap::new();
        for source in maps {
            for mapped in map::load(source)? {
                let name = mapped.method.name.clone();
                if let Some(other) = all.get(&name) {
                    let first = &other.origin;
                    return Err(mapped.origin.error(format!(
                        "the method {name:?} is already declared in {first}; choose another name"
                    )));
                }
                all.insert(name, Arc::new(mapped));
            }
        }
        let mut by_bus: BTreeMap<BusAddress, Vec<Arc<Mapped>>> = BTreeMap::new();
        for mapped in all.values() {
            by_bus.entry(mapped.target.bus.clone()).or_default().push(Arc::clone(mapped));
        }
        let buses: BTreeMap<BusAddress, Arc<Bus>> = by_bus
            .into_iter()
            .map(|(address, users)| (address.clone(), Arc::new(Bus::new(address, &users))))
            .collect();
        let methods = all
            .into_iter()
            .filter_map(|(name, mapped)| {
                let bus = Arc::clone(buses.get(&mapped.target.bus)?);
                Some((name, (mapped, bus)))
            })
            .collect();
        Ok(Arc::new(Self { methods, buses: buses.into_values().collect() }))
    }
}

impl Plugin for DbusPlugin {
    fn name(&self) -> &'static str {
        "dbus"
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.values().map(|(mapped, _)| mapped.method.clone()).collect()
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut tasks = JoinSet::new();
            let mut running = HashMap::new();
            for bus in &self.buses {
                let task = tasks.spawn(Arc::clone(bus).run(stop.clone()));
                running.insert(task.id(), bus);
            }
            while let Some(ended) = tasks.join_next_with_id().await {
                let Err(e) = ended else { continue };
                // A bug; a connection that nobody reads would hold every call for ever.
                tracing::error!(see = "bug", error = %e, "the task of a bus failed; connecting anew");
                if let Some(bus) = running.remove(&e.id()) {
                    bus.disconnect();
                    let task = tasks.spawn(Arc::clone(bus).run(stop.clone()));
                    running.insert(task.id(), bus);
                }
            }
            stop.cancelled().await;
        })
    }

    fn explain(&self, method: &str) -> Vec<String> {
        self.methods.get(method).map(|(mapped, _)| explain::explain(mapped)).unwrap_or_default()
    }

    fn preview(&self, call: &Call) -> Result<Vec<String>, Completion> {
        let (mapped, bus) = self.methods.get(&call.method).ok_or_else(|| unknown(&call.method))?;
        let learned = || fit::types(mapped, bus.description(&mapped.object())?.as_ref()).ok();
        let types = mapped.signature.clone().or_else(learned);
        if let Some(types) = &types {
            // What cannot be sent is told.
            message::message(mapped, call, types)?;
        }
        let mut lines = vec![message::words(mapped, call, types.as_deref())];
        lines.extend(explain::unknown_types(mapped).filter(|_| types.is_none()));
        Ok(lines)
    }

    fn health(&self) -> Health {
        let down = self.buses.iter().filter(|bus| !bus.is_up());
        let why: Vec<String> =
            down.map(|bus| format!("{} is not there: {}", bus.address().called(), bus.why_down())).collect();
        match why.len() {
            0 => Health::Ok,
            n if n < self.buses.len() => Health::Degraded(why.join("; ")),
            _ => Health::Failed(why.join("; ")),
        }
    }

    fn pulses(&self) -> Vec<Arc<Pulse>> {
        self.buses.iter().map(|bus| Arc::clone(bus.pulse())).collect()
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for bus in &self.buses {
                bus.ready().await;
            }
        })
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            match self.methods.get(&call.method) {
                Some((mapped, bus)) => invoke::invoke(mapped, bus, call).await,
                None => unknown(&call.method),
            }
        })
    }
}

fn unknown(method: &str) -> Completion {
    let message = format!("no D-Bus map declares the method {method:?}");
    Completion::Unavailable(CallError::new("unknown_method", message))
}

#[cfg(test)]
mod tests;
