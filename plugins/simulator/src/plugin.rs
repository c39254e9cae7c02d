//! The simulator plugin: methods that answer with their own request, or as their map says. Owns no hardware.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nowd_plugin::map::{MapError, MapFile, MapSource, MethodKeys};
use nowd_plugin::{BootInstant, BoxFuture, Call, CallError, Completion, Method, Outcome, Plugin, duration};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

/// How many actuations are remembered; the oldest are forgotten first.
pub const MOST_ACTUATIONS: usize = 4096;

/// Simulated devices, as maps with a `[simulator]` table declare them.
///
/// A method named `*` stands for all names that are not declared.
#[derive(Debug)]
pub struct SimulatorPlugin {
    methods: Vec<Method>,
    devices: HashMap<String, Keys>,
    actuations: Mutex<VecDeque<(Uuid, BootInstant)>>,
}

/// `[simulator]`, which has no keys yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {}

/// What a simulated device does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// How long it takes before it acts.
    #[serde(default, deserialize_with = "duration::deserialize")]
    delay: Duration,
    /// What it answers instead of the request it was given.
    answer: Option<Value>,
    #[serde(default)]
    status: Status,
}

impl MethodKeys for Keys {
    const KEYS: &'static [&'static str] = &["delay", "answer", "status"];
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Acts and confirms.
    #[default]
    Ok,
    /// Acts and never confirms.
    Sent,
    /// Does nothing and says so.
    Refused,
    /// Acts, and answers with an error.
    Failed,
    /// Acts, and says nothing until the call is cancelled.
    Hang,
}

impl Keys {
    fn words(&self) -> String {
        let does = match self.status {
            Status::Ok => "acts and confirms",
            Status::Sent => "acts and never confirms",
            Status::Refused => "does nothing and says so",
            Status::Failed => "acts and answers with an error",
            Status::Hang => "acts and says nothing",
        };
        format!("a simulated device {does}, after {} ms", self.delay.as_millis())
    }
}

impl SimulatorPlugin {
    /// Reads the maps. The calls of one file stand in a lane of their own, `simulator:` and the file's name.
    pub fn load(maps: &[MapSource]) -> Result<Arc<Self>, MapError> {
        let (mut methods, mut devices) = (Vec::new(), HashMap::new());
        for source in maps {
            let file: MapFile<Backend, Keys> = MapFile::parse(source)?;
            let stem = Path::new(&source.file).file_stem().unwrap_or_default().to_string_lossy();
            let lane = file.lane(format!("simulator:{stem}"));
            for method in &file.methods {
                // A name that is taken is the registry's to tell, which sees all plugins.
                methods.push(method.describe(lane.clone()));
                devices.insert(method.name.clone(), method.keys.clone());
            }
        }
        Ok(Arc::new(Self { methods, devices, actuations: Mutex::default() }))
    }

    /// When the devices acted, and for which call: the last [`MOST_ACTUATIONS`], oldest first.
    #[must_use]
    pub fn actuations(&self) -> Vec<(Uuid, BootInstant)> {
        self.actuations.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn device(&self, method: &str) -> Result<&Keys, Completion> {
        self.devices.get(method).or_else(|| self.devices.get("*")).ok_or_else(|| {
            let message = format!("the simulator has no method {method:?}");
            Completion::Unavailable(CallError::new("no_such_method", message))
        })
    }

    fn act(&self, call: &Call, now: BootInstant) {
        let mut actuations = self.actuations.lock().unwrap_or_else(PoisonError::into_inner);
        if actuations.len() >= MOST_ACTUATIONS {
            actuations.pop_front();
        }
        actuations.push_back((call.id, now));
    }

    async fn run_call(&self, device: &Keys, call: &Call) -> Completion {
        let mut cancelled = false;
        if !device.delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(device.delay) => {}
                () = call.cancelled.cancelled() => cancelled = true,
            }
        }
        // Read once, so that no actuation is recorded at an instant that was not checked.
        let now = BootInstant::now();
        if let Err(expired) = call.deadline.check_at(now) {
            return expired.into();
        }
        if cancelled {
            let message = "the call was cancelled before the simulated device acted";
            return Completion::Unavailable(CallError::new("cancelled", message));
        }
        if matches!(device.status, Status::Refused) {
            return Completion::Refused(CallError::new("refused", "the simulated device did nothing"));
        }
        self.act(call, now);
        let answer = || device.answer.clone().unwrap_or_else(|| call.params.clone());
        match device.status {
            Status::Ok | Status::Refused => Completion::Ok(answer()),
            Status::Sent => Completion::Sent(answer()),
            Status::Failed => {
                let error = CallError::new("failed", "the simulated device answered with an error");
                Completion::Failed { outcome: Outcome::Unknown, error }
            }
            Status::Hang => {
                call.cancelled.cancelled().await;
                Completion::Timeout(CallError::new("timeout", "the simulated device never answers"))
            }
        }
    }
}

impl Plugin for SimulatorPlugin {
    fn name(&self) -> &'static str {
        "simulator"
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.clone()
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            match self.device(&call.method) {
                Ok(device) => self.run_call(device, call).await,
                Err(unavailable) => unavailable,
            }
        })
    }

    fn explain(&self, method: &str) -> Vec<String> {
        self.device(method).map(|device| vec![device.words()]).unwrap_or_default()
    }

    fn preview(&self, call: &Call) -> Result<Vec<String>, Completion> {
        self.device(&call.method).map(|device| vec![format!("{}; writes nothing", device.words())])
    }
}

#[cfg(test)]
mod tests;
