//! Level-0 maps onto devices at serial ports: what to send, and which line of the device means what.
//!
//! One task owns each port and does one call at a time. The last check of the deadline stands directly before each
//! write; what was not sent when it passes is thrown away; and a call holds the port until the line is silent
//! again, so that a late answer is not taken for the next call's.
//!
//! It never writes again by itself, never keeps a call for a port that is not there, and never writes a parameter
//! that could end the frame.

mod config;
mod exchange;
mod frame;
mod line;
mod load;
mod map;
mod modbus;
mod port;
mod reader;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::map::MapSource;
use nowd_plugin::{BoxFuture, Call, CallError, CancellationToken, Completion, Method, Plugin};
use tokio::task::JoinSet;

pub use config::{Flow, Format, FormatError, Parity, PortConfig};
pub use frame::LONGEST_FRAME;
pub use load::LoadError;
use load::{Loaded, SerialMethod};
pub use map::MOST_STEPS;
use port::Port;
pub use reader::LONGEST_LINE;

/// How long a port rests whose task ended by mistake.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The serial maps of a gateway and the ports they use.
#[derive(Debug)]
pub struct SerialPlugin {
    ports: BTreeMap<String, Arc<Port>>,
    methods: BTreeMap<String, SerialMethod>,
}

impl SerialPlugin {
    /// Checks ports and maps. Opens nothing: [`Plugin::run`] does.
    ///
    /// A port that no map uses is checked, but never opened.
    pub fn load(ports: &BTreeMap<String, PortConfig>, maps: &[MapSource]) -> Result<Arc<Self>, LoadError> {
        let Loaded { ports, methods, .. } = load::load(ports, maps)?;
        Ok(Arc::new(Self { ports, methods }))
    }

    /// What `method` sends and what answers mean: a few lines for people, with placeholders left in.
    #[must_use]
    pub fn explain(&self, method: &str) -> Vec<String> {
        self.methods.get(method).map(|method| method.action.explain()).unwrap_or_default()
    }

    /// What exactly would be written for `call`, in lines for people. Writes nothing and opens nothing.
    pub fn preview(&self, call: &Call) -> Result<Vec<String>, Completion> {
        let method = self.methods.get(&call.method).ok_or_else(|| unknown_method(call))?;
        method.action.preview(call).map_err(Completion::InvalidRequest)
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
            for port in self.ports.values() {
                tasks.spawn(keep_running(Arc::clone(port), stop.clone()));
            }
            while tasks.join_next().await.is_some() {}
            stop.cancelled().await;
        })
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let Some(method) = self.methods.get(&call.method) else {
                return unknown_method(call);
            };
            match method.action.work(call) {
                Ok(work) => method.port.invoke(call, work).await,
                Err(e) => Completion::InvalidRequest(e),
            }
        })
    }
}

fn unknown_method(call: &Call) -> Completion {
    let message = format!("the serial plugin has no method {:?}", call.method);
    Completion::Unavailable(CallError::new("no_such_method", message))
}

/// Runs a port until `stop`. A bug that ends its task costs the call that ran, and no other.
async fn keep_running(port: Arc<Port>, stop: CancellationToken) {
    loop {
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&port).run(stop.clone()));
        let Some(Err(e)) = task.join_next().await else { return };
        tracing::error!(error = %e, "the task of {port} ended by mistake; it is opened again");
        port.failed();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests;
