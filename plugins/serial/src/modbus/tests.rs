//! Modbus maps: what is said of them, and what they do on real pseudo-terminals.

use std::collections::BTreeMap;
use std::time::Duration;

use nowd_plugin::map::MapSource;
use nowd_plugin::{Call, CancellationToken, Completion, Deadline, Outcome, Plugin};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{PortConfig, SerialPlugin};

mod corpus;
mod device;
mod line;
mod maps;
mod pymodbus;
mod safe;

const LONG: Duration = Duration::from_secs(20);

fn load(config: &PortConfig, maps: &[&str]) -> Result<std::sync::Arc<SerialPlugin>, String> {
    let ports = BTreeMap::from([("rs485".to_owned(), config.clone())]);
    let source =
        |(index, text): (usize, &&str)| MapSource { file: format!("{index}.toml"), text: (*text).into() };
    let maps: Vec<MapSource> = maps.iter().enumerate().map(source).collect();
    SerialPlugin::load(&ports, &maps, None).map_err(|e| e.to_string())
}

fn call(method: &str, params: Value, budget: Duration) -> Call {
    Call::new(Uuid::new_v4(), method, params, Deadline::after(budget))
}

/// Maps on one open port.
struct Rig {
    plugin: std::sync::Arc<SerialPlugin>,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Rig {
    /// Waits until the port is open; `method` is any of the maps' that needs no parameters.
    async fn start(config: PortConfig, maps: &[&str], method: &str) -> Self {
        let plugin = load(&config, maps).unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(plugin.clone().run(stop.clone()));
        let rig = Self { plugin, stop, _tasks: tasks };
        let bound = Deadline::after(LONG);
        // A call that is too late is `expired` on an open port and `unavailable` on another.
        while !matches!(rig.call(method, Value::Null, Duration::ZERO).await, Completion::Expired(_)) {
            assert!(bound.check().is_ok(), "the port does not open");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rig
    }

    async fn call(&self, method: &str, params: Value, budget: Duration) -> Completion {
        self.plugin.invoke(&call(method, params, budget)).await
    }
}

/// The code and the message of what is not `ok`.
fn error(completion: &Completion) -> (&str, &str) {
    match completion {
        Completion::Failed { error, .. }
        | Completion::Refused(error)
        | Completion::Timeout(error)
        | Completion::InvalidRequest(error)
        | Completion::Unavailable(error)
        | Completion::Internal(error) => (&error.code, &error.message),
        Completion::Ok(_) | Completion::Sent(_) | Completion::Expired(_) => panic!("{completion:?}"),
    }
}
