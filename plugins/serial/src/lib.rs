//! Level-0 maps onto devices at serial ports: what to send, and which line of the device means what.
//!
//! One task owns each port and does one call at a time. The last check of the deadline stands directly before each
//! write; what was not sent when it passes is thrown away; and a call holds the port until the line is silent
//! again, so that a late answer is not taken for the next call's. Only a safe action is written before that, and what
//! comes is then shown to both.
//!
//! A call goes from its map (`map`, or `modbus`) to the owner of the port (`port`), and from there to the line. `content` is what
//! stands inside a frame, `framing` what makes a frame of it; `load` puts all of it together, and `keys` reads the values
//! of a map.
//!
//! It never writes again by itself, never keeps a call for a port that is not there, and never writes a parameter
//! that could end the frame.

mod content;
mod framing;
mod keys;
mod load;
mod map;
mod modbus;
mod port;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nowd_plugin::map::MapSource;
use nowd_plugin::{BoxFuture, Call, CallError, CancellationToken, Completion, Health, Method, Plugin, Pulse};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use framing::kinds::LONGEST_FRAME;
pub use framing::reader::LONGEST_LINE;
pub use load::LoadError;
use load::{Loaded, SerialMethod, Task};
use map::hears::Hearing;
pub use map::method::MOST_STEPS;
pub use port::config::{Flow, Format, FormatError, Parity, PortConfig, Rs485};
use port::{Port, Runner};

/// How long a port rests whose task ended by mistake.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The serial maps of a gateway and the ports they use.
#[derive(Debug)]
pub struct SerialPlugin {
    /// All that were declared; those that no map uses are checked, and never opened.
    declared: BTreeMap<String, PortConfig>,
    ports: BTreeMap<String, Arc<Port>>,
    /// Ports of plugins before this one, which may still hold their devices.
    earlier: Vec<Weak<Port>>,
    hearing: BTreeMap<String, Vec<Hearing>>,
    methods: BTreeMap<String, SerialMethod>,
    /// Whether `run` has begun.
    joined: watch::Sender<bool>,
}

impl SerialPlugin {
    /// Checks ports and maps, of `[serial]` and of `[modbus]`. Opens nothing: [`Plugin::run`] does.
    ///
    /// Of the `previous` maps those ports are kept whose settings have not changed. They stay open while the new plugin's
    /// `run` is started before the old one's is stopped; calls of both are done one after the other, and none is cut.
    pub fn load(
        ports: &BTreeMap<String, PortConfig>,
        maps: &[MapSource],
        previous: Option<&Self>,
    ) -> Result<Arc<Self>, LoadError> {
        let none = BTreeMap::new();
        let same = previous.map_or(&none, |previous| &previous.ports);
        let mut earlier: Vec<_> =
            previous.into_iter().flat_map(|previous| previous.earlier.clone()).collect();
        earlier.extend(same.values().map(Arc::downgrade));
        earlier.retain(|port| port.strong_count() > 0);
        let Loaded { ports: used, hearing, methods, .. } = load::load(ports, maps, same, &earlier)?;
        Ok(Arc::new(Self {
            declared: ports.clone(),
            ports: used,
            earlier,
            hearing,
            methods,
            joined: watch::Sender::new(false),
        }))
    }

    /// What is no mistake in the declared ports, and worth telling all the same: one sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        port::notes::notes(&self.declared, &|name| self.ports.contains_key(name))
    }
}

impl Plugin for SerialPlugin {
    fn name(&self) -> &'static str {
        "serial"
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.values().map(|method| method.described.clone()).collect()
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut tasks = JoinSet::new();
            for (name, port) in &self.ports {
                let hearing = self.hearing.get(name).cloned().unwrap_or_default();
                // Before anybody is told that it is ready: so the one before leaves the port open.
                let runner = port.join(hearing.clone());
                tasks.spawn(keep_running(Arc::clone(port), runner, hearing, stop.clone()));
            }
            self.joined.send_replace(true);
            while tasks.join_next().await.is_some() {}
            stop.cancelled().await;
        })
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let Some(method) = self.methods.get(&call.method) else {
                return unknown_method(call);
            };
            match method.action.task(call) {
                Ok(Task::OnLine(work)) => method.port.invoke(call, work, &method.safety).await,
                Ok(Task::Hears(heard)) => heard.answer(call, &method.port),
                Err(e) => Completion::InvalidRequest(e),
            }
        })
    }

    fn explain(&self, method: &str) -> Vec<String> {
        self.methods.get(method).map(|method| method.action.explain()).unwrap_or_default()
    }

    fn identity(&self, method: &str) -> String {
        let port = self.methods.get(method).map(|method| &method.port);
        port.map(|port| format!("{port} {:?}", port.config)).unwrap_or_default()
    }

    fn preview(&self, call: &Call) -> Result<Vec<String>, Completion> {
        let method = self.methods.get(&call.method).ok_or_else(|| unknown_method(call))?;
        method.action.preview(call).map_err(Completion::InvalidRequest)
    }

    fn health(&self) -> Health {
        let why: Vec<String> = self
            .ports
            .values()
            .filter_map(|port| Some(format!("{port} cannot be used: {}", port.why_gone()?)))
            .collect();
        match why.len() {
            0 => Health::Ok,
            n if n < self.ports.len() => Health::Degraded(why.join("; ")),
            _ => Health::Failed(why.join("; ")),
        }
    }

    fn pulses(&self) -> Vec<Arc<Pulse>> {
        self.ports.values().map(|port| Arc::clone(port.pulse())).collect()
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The sender is `self`'s own.
            self.joined.subscribe().wait_for(|joined| *joined).await.ok();
            for port in self.ports.values() {
                port.ready().await;
            }
        })
    }
}

fn unknown_method(call: &Call) -> Completion {
    let message = format!("the serial plugin has no method {:?}", call.method);
    Completion::Unavailable(CallError::new("no_such_method", message))
}

/// Runs a port until `stop`. A bug that ends its task costs the call that ran, and no other.
async fn keep_running(port: Arc<Port>, mut runner: Runner, hearing: Vec<Hearing>, stop: CancellationToken) {
    loop {
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&port).run(runner, stop.clone()));
        let Some(Err(e)) = task.join_next().await else { return };
        tracing::error!(see = "bug", error = %e, "the task of {port} ended by mistake; it is opened again");
        port.failed();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
        runner = port.join(hearing.clone());
    }
}

#[cfg(test)]
mod tests;
