//! The methods, and what they do to lines. Never acts at or after a call's deadline, never leaves a pulse on.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nowd_plugin::clock::boottime_micros;
use nowd_plugin::params::{Params, SchemaError};
use nowd_plugin::{
    BootInstant, BoxFuture, Call, CallError, CancellationToken, Completion, Health, Lane, Method, Outcome,
    Plugin, Policy,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::config::Config;
use crate::line::{Line, LineError};

/// The longest pulse, in milliseconds.
const LONGEST_PULSE: u64 = 10_000;

/// All relays of the configuration.
#[derive(Debug)]
pub(crate) struct Relays {
    channels: BTreeMap<String, Channel>,
    methods: Vec<Method>,
    /// Where it is written when a relay was switched: for tests.
    record: Option<PathBuf>,
}

/// The plugin cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelaysError {
    /// A line cannot be had.
    #[error("channel {channel}: {source}")]
    Line {
        /// The channel.
        channel: String,
        /// Why.
        source: LineError,
    },
    /// The schema of a method's parameters is not right.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

#[derive(Debug)]
struct Channel {
    line: Line,
    /// The call whose pulse keeps it on, and what ends that early.
    pulse: Mutex<Option<(Uuid, CancellationToken)>>,
}

impl Relays {
    /// Takes all lines, and switches them off.
    pub(crate) fn new(config: &Config) -> Result<Self, RelaysError> {
        let mut channels = BTreeMap::new();
        for (name, said) in &config.channels {
            let line = Line::take(config.chip_of(said), &said.line, said.active_low)
                .map_err(|source| RelaysError::Line { channel: name.clone(), source })?;
            channels.insert(name.clone(), Channel { line, pulse: Mutex::default() });
        }
        let methods = methods(&channels.keys().collect::<Vec<_>>())?;
        let record = std::env::var_os("GATE_RECORD").map(PathBuf::from);
        Ok(Self { channels, methods, record })
    }

    fn set(&self, call: &Call) -> Result<Value, Completion> {
        let (name, channel) = self.channel(call)?;
        let on = call
            .params
            .get("on")
            .and_then(Value::as_bool)
            .ok_or_else(|| invalid("`on` must be true or false"))?;
        let pulse = channel.lock();
        if pulse.is_some() {
            return Err(in_a_pulse(name));
        }
        call.deadline.check()?;
        channel.line.set(on).map_err(failed)?;
        self.record(call, if on { "on" } else { "off" });
        Ok(json!({"channel": name, "on": on}))
    }

    async fn pulse(&self, call: &Call) -> Result<Value, Completion> {
        let (name, channel) = self.channel(call)?;
        let ms = call.params.get("ms").and_then(Value::as_u64).filter(|ms| (1..=LONGEST_PULSE).contains(ms));
        let ms = ms.ok_or_else(|| invalid(&format!("`ms` must be an integer from 1 to {LONGEST_PULSE}")))?;
        let length = Duration::from_millis(ms);
        call.deadline.check()?;
        if call.deadline.remaining() < length {
            let message =
                format!("{ms} ms are more than is left before the deadline; send a longer `timeout`");
            return Err(Completion::Refused(CallError::new("pulse_too_long", message)));
        }
        let pulse = channel.begin_pulse(call, name)?;
        call.deadline.check()?;
        channel.line.set(true).map_err(failed)?;
        self.record(call, "on");
        let early = tokio::select! {
            () = tokio::time::sleep(length) => None,
            () = pulse.released.cancelled() => Some(Completion::Failed {
                outcome: Outcome::Unknown,
                error: CallError::new("released", format!("{name} was released before the pulse was over")),
            }),
            () = call.cancelled.cancelled() => {
                let message = format!("nobody waited any more: the pulse of {name} was cut short");
                Some(Completion::Timeout(CallError::new("cancelled", message)))
            }
        };
        channel.end_pulse(call.id).map_err(failed)?;
        early.map_or_else(|| Ok(json!({"channel": name, "ms": ms})), Err)
    }

    fn release(&self, call: &Call) -> Result<Value, Completion> {
        let (name, channel) = self.channel(call)?;
        let mut pulse = channel.lock();
        call.deadline.check()?;
        channel.line.set(false).map_err(failed)?;
        self.record(call, "off");
        if let Some((_, released)) = pulse.take() {
            released.cancel();
        }
        Ok(json!({"channel": name, "on": false}))
    }

    fn state(&self) -> Value {
        self.channels
            .iter()
            .map(|(name, channel)| (name.clone(), Value::from(channel.line.is_on())))
            .collect()
    }

    fn channel<'a>(&'a self, call: &Call) -> Result<(&'a str, &'a Channel), Completion> {
        let name = call.params.get("channel").and_then(Value::as_str).unwrap_or_default();
        let found = self.channels.get_key_value(name);
        found.map(|(name, channel)| (name.as_str(), channel)).ok_or_else(|| {
            let known = self.channels.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            invalid(&format!("`channel` must be one of {known}"))
        })
    }

    fn record(&self, call: &Call, what: &str) {
        let Some(path) = &self.record else { return };
        let (now, limit) = (boottime_micros(BootInstant::now()), call.deadline.boottime_micros());
        let file = OpenOptions::new().create(true).append(true).open(path);
        if let Err(e) =
            file.and_then(|mut file| file.write_all(format!("{now} {} {limit} {what}\n", call.id).as_bytes()))
        {
            tracing::error!("{} cannot be written: {e}", path.display());
        }
    }
}

impl Plugin for Relays {
    fn name(&self) -> &'static str {
        "gpio-relay"
    }

    fn methods(&self) -> Vec<Method> {
        self.methods.clone()
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            stop.cancelled().await;
            // Nobody could release them any more. Lines also switch off when they are dropped.
            for (name, channel) in &self.channels {
                if let Err(e) = channel.line.set(false) {
                    tracing::error!("channel {name} could not be released: {e}");
                }
            }
        })
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let ended = match call.method.as_str() {
                "relay.set" => self.set(call),
                "relay.pulse" => self.pulse(call).await,
                "relay.release" => self.release(call),
                "relay.state" => call.deadline.check().map_err(Into::into).map(|()| self.state()),
                other => {
                    let error = CallError::new("no_such_method", format!("there is no method {other:?}"));
                    Err(Completion::Unavailable(error))
                }
            };
            ended.map_or_else(|completion| completion, Completion::Ok)
        })
    }

    fn health(&self) -> Health {
        let faults: Vec<String> = self
            .channels
            .iter()
            .filter_map(|(name, channel)| Some(format!("channel {name}: {}", channel.line.fault()?)))
            .collect();
        if faults.is_empty() {
            Health::Ok
        } else if faults.len() == self.channels.len() {
            Health::Failed(faults.join("; "))
        } else {
            Health::Degraded(faults.join("; "))
        }
    }
}

impl Channel {
    /// Keeps others off the channel until the pulse ends. Switches nothing yet.
    fn begin_pulse(&self, call: &Call, name: &str) -> Result<Pulse<'_>, Completion> {
        let mut pulse = self.lock();
        if pulse.is_some() {
            return Err(in_a_pulse(name));
        }
        let released = CancellationToken::new();
        *pulse = Some((call.id, released.clone()));
        Ok(Pulse { channel: self, id: call.id, released })
    }

    /// Switches off if the pulse of this call still keeps it on.
    fn end_pulse(&self, id: Uuid) -> Result<(), LineError> {
        let mut pulse = self.lock();
        if pulse.as_ref().is_some_and(|(other, _)| *other == id) {
            *pulse = None;
            self.line.set(false)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Uuid, CancellationToken)>> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the pulse whatever becomes of its call.
struct Pulse<'a> {
    channel: &'a Channel,
    id: Uuid,
    released: CancellationToken,
}

impl Drop for Pulse<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.channel.end_pulse(self.id) {
            tracing::error!("a pulse could not be ended: {e}");
        }
    }
}

fn in_a_pulse(name: &str) -> Completion {
    let message = format!("{name} is on for a pulse; wait, or call relay.release");
    Completion::Refused(CallError::new("pulse", message))
}

fn invalid(message: &str) -> Completion {
    Completion::InvalidRequest(CallError::new("bad_params", message))
}

/// The kernel said no in the middle of a write: what the line shows is not known.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: LineError) -> Completion {
    Completion::Failed { outcome: Outcome::Unknown, error: CallError::new("line", error.to_string()) }
}

fn methods(names: &[&String]) -> Result<Vec<Method>, SchemaError> {
    // Each channel can do one thing at a time, and no channel waits for another.
    let width = u16::try_from(names.len()).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN);
    let channel = json!({"enum": names});
    let idempotent = || Policy { idempotent: true, ..Policy::default() };
    let pulse = Policy { on_timeout: Some("relay.release".into()), ..Policy::default() };
    [
        (
            "relay.set",
            "Switches a relay",
            "relay",
            idempotent(),
            json!({"channel": channel, "on": {"type": "boolean"}}),
        ),
        (
            "relay.pulse",
            "Switches a relay on, and off again after so many milliseconds",
            "relay",
            pulse,
            json!({"channel": channel, "ms": {"type": "integer", "minimum": 1, "maximum": LONGEST_PULSE}}),
        ),
        // In a lane of its own: it ends a pulse, and must not wait for one.
        (
            "relay.release",
            "Switches a relay off, also in a pulse",
            "release",
            idempotent(),
            json!({"channel": channel}),
        ),
        ("relay.state", "What the lines of all relays were set to", "state", idempotent(), json!({})),
    ]
    .into_iter()
    .map(|(name, description, lane, policy, params)| {
        let params = params.as_object().cloned().unwrap_or_else(Map::new);
        Ok(Method {
            name: name.into(),
            description: description.into(),
            origin: "gpio-relay".into(),
            place: None,
            lane: Lane { concurrency: width, ..Lane::exclusive(lane) },
            policy,
            params: Some(Params::new(&params)?),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests;
