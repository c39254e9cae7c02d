//! The keys of a serial map, and what a frame of the device means for a call. Touches no port.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nowd_plugin::map::{MapError, MapMethod, MapOrigin, MethodKeys};
use nowd_plugin::{Call, CallError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::content::pattern::Pattern;
use crate::content::template::{FrameError, FrameTemplate};
use crate::content::value::Values;
use crate::framing::kinds::FRAMINGS;
use crate::framing::wire::Wire;
use crate::keys::{Mistake, Table};

/// The most steps a method may have.
pub const MOST_STEPS: usize = 8;

/// The most characters of a device's words that go into an error.
const LONGEST_MESSAGE: usize = 200;

/// `[serial]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SerialTable {
    pub(crate) port: String,
    framing: Option<Value>,
    checksum: Option<Value>,
    /// Whether the line repeats what is sent; `false`: a device may answer with the same bytes.
    pub(crate) echo: Option<bool>,
    /// Of both, read once.
    #[serde(skip)]
    wire: OnceLock<Arc<Wire>>,
}

impl SerialTable {
    /// Reads framing and checksum, which stand below `origin`.
    pub(crate) fn read_wire(&self, origin: &MapOrigin) -> Result<(), MapError> {
        let Some(framing) = &self.framing else {
            let message =
                format!("the key `framing` is missing, which says where a frame ends: one of {FRAMINGS}");
            return Err(origin.error(message));
        };
        let wire = Wire::parse(framing, self.checksum.as_ref()).map_err(|e| origin.at(&e.at).error(e))?;
        self.wire.set(Arc::new(wire)).ok();
        Ok(())
    }

    /// Framing and checksum, which have been read.
    pub(crate) fn wire(&self, origin: &MapOrigin) -> Result<&Arc<Wire>, MapError> {
        self.wire.get().ok_or_else(|| origin.error("the framing was not read, which is a bug"))
    }
}

/// The keys of a method that are the serial plugin's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    send: Option<Value>,
    reply: Option<Value>,
    steps: Option<Vec<Value>>,
    refused: Option<Value>,
    failed: Option<Value>,
    pub(crate) hears: Option<Value>,
    pub(crate) values: Option<Value>,
}

impl MethodKeys for Keys {
    const KEYS: &'static [&'static str] = &["send", "reply", "steps", "refused", "failed", "hears", "values"];
}

impl Keys {
    /// A key that a method with `hears` cannot have.
    pub(crate) fn beside_hears(&self) -> Option<&'static str> {
        let others = [
            ("send", self.send.is_some()),
            ("steps", self.steps.is_some()),
            ("reply", self.reply.is_some()),
            ("refused", self.refused.is_some()),
            ("failed", self.failed.is_some()),
        ];
        others.into_iter().find(|(_, there)| *there).map(|(key, _)| key)
    }
}

/// A method of a serial map that sends something, ready to run.
#[derive(Debug)]
pub(crate) struct SerialMap {
    pub(crate) wire: Arc<Wire>,
    pub(crate) values: Values,
    pub(crate) steps: Vec<Step>,
    pub(crate) refused: Option<Pattern>,
    pub(crate) failed: Option<Pattern>,
    /// Whether the line repeats what is sent. Nobody said: what comes back first and is the same is no answer.
    pub(crate) echo: Option<bool>,
    /// Declared parameters that no frame has.
    pub(crate) unused: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Step {
    Send { frame: FrameTemplate, reply: Option<Arc<Pattern>> },
    Wait(Duration),
}

/// One step for one call.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Write these bytes, then wait for a frame that matches, where there is a pattern.
    Send { bytes: Vec<u8>, reply: Option<Arc<Pattern>> },
    /// Do nothing for this long.
    Wait(Duration),
}

/// What a frame of the device means.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The reply of the step, with the named captures.
    Reply(Map<String, Value>),
    /// The reply of the step, of which something cannot be read.
    Bad(CallError),
    /// The device did nothing.
    Refused(CallError),
    /// The device answered with an error.
    Failed(CallError),
}

/// The keys of a method while they are read.
struct Reading<'a> {
    keys: &'a Keys,
    wire: &'a Wire,
    values: &'a Values,
}

impl SerialMap {
    /// Reads a method that sends something.
    pub(crate) fn new(method: &mut MapMethod<Keys>, wire: &Arc<Wire>) -> Result<Self, MapError> {
        let origin = method.origin.clone();
        let place = |e: Mistake| origin.at(&e.at).error(e);
        let values = Values::parse(method.keys.values.as_ref()).map_err(place)?;
        let reading = Reading { keys: &method.keys, wire, values: &values };
        let steps =
            reading.steps().map_err(|e| if e.at.is_empty() { origin.error(e.message) } else { place(e) })?;
        let mut map = Self {
            refused: reading.pattern(method.keys.refused.as_ref(), "refused").map_err(place)?,
            failed: reading.pattern(method.keys.failed.as_ref(), "failed").map_err(place)?,
            wire: Arc::clone(wire),
            values,
            steps,
            echo: None,
            unused: Vec::new(),
        };
        let derived: Vec<_> = map.frames_of().flat_map(|frame| frame.derived(&map.values)).collect();
        method.derive(&derived)?;
        let declared: Vec<&str> = method.params.iter().flat_map(nowd_plugin::params::Params::names).collect();
        for frame in map.frames_of() {
            frame.check_declared(&declared).map_err(place)?;
        }
        map.check_whole(method.policy.max_timeout).map_err(place)?;
        let without_reply = |step: &Step| matches!(step, Step::Send { reply: None, .. });
        if method.policy.poll.is_some() && map.steps.iter().any(without_reply) {
            let message = "reads something every so often, and a `send` without `reply` reads nothing; add `reply`, or leave `poll` out";
            return Err(place(Mistake::new("poll", message)));
        }
        // A safe action's parameters are declared here too.
        if method.policy.on_timeout.is_none() && method.policy.on_stop.is_none() {
            let sent: Vec<&str> = map.frames_of().flat_map(FrameTemplate::params).collect();
            let unused = declared.iter().filter(|name| !sent.contains(name));
            map.unused = unused.map(|name| (*name).to_owned()).collect();
        }
        Ok(map)
    }

    fn frames_of(&self) -> impl Iterator<Item = &FrameTemplate> {
        self.steps.iter().filter_map(|step| match step {
            Step::Send { frame, .. } => Some(frame),
            Step::Wait(_) => None,
        })
    }

    fn replies(&self) -> impl Iterator<Item = &Arc<Pattern>> {
        self.steps.iter().filter_map(|step| match step {
            Step::Send { reply, .. } => reply.as_ref(),
            Step::Wait(_) => None,
        })
    }

    /// How long it waits in all, where each frame is preceded by `gap`.
    pub(crate) fn pauses(&self, gap: Duration) -> Duration {
        self.steps.iter().fold(Duration::ZERO, |sum, step| match step {
            Step::Wait(wait) => sum.saturating_add(*wait),
            Step::Send { .. } => sum.saturating_add(gap),
        })
    }

    /// What can only be seen of all steps together.
    fn check_whole(&self, max_timeout: Duration) -> Result<(), Mistake> {
        let last = || format!("steps[{}]", self.steps.len().saturating_sub(1));
        if let Some(Step::Wait(_)) = self.steps.last() {
            return Err(Mistake::new(
                last(),
                "the last step is a `wait`, after which nothing is sent; leave it out",
            ));
        }
        let waits = self.pauses(Duration::ZERO);
        if waits >= max_timeout {
            let message = format!("the steps wait for {waits:?} in all, which `max_timeout` never allows");
            return Err(Mistake::new("steps", message));
        }
        for (name, given) in [("refused", &self.refused), ("failed", &self.failed)] {
            let Some(given) = given else { continue };
            if self.replies().next().is_none() {
                return Err(Mistake::new(name, "is never looked at, because no step has a `reply`"));
            }
            // Looked at first, so no reply would ever be one.
            if self.replies().any(|reply| reply.to_string() == given.to_string()) {
                return Err(Mistake::new(
                    name,
                    "is the same pattern as `reply`, which so is never looked at",
                ));
            }
        }
        let fields = self.frames_of().flat_map(FrameTemplate::fields);
        let used: Vec<&str> = self.replies().flat_map(|reply| reply.names()).chain(fields).collect();
        self.values.check_used(&used)
    }

    /// The steps with the parameters of `call` in them.
    pub(crate) fn frames(&self, call: &Call) -> Result<Vec<Frame>, FrameError> {
        let steps = self.steps.iter().map(|step| match step {
            Step::Send { frame, reply } => {
                Ok(Frame::Send { bytes: frame.render(call, &self.wire, &self.values)?, reply: reply.clone() })
            }
            Step::Wait(wait) => Ok(Frame::Wait(*wait)),
        });
        steps.collect()
    }

    /// What a frame means while `reply` is waited for; `None`: the device sent it for reasons of its own.
    pub(crate) fn judge(&self, reply: &Pattern, frame: &[u8]) -> Option<Verdict> {
        let error = |pattern: &Option<Pattern>, code: &str| {
            let pattern = pattern.as_ref()?;
            let parts = pattern.captures(frame, &Values::default())?.unwrap_or_default();
            let part = |name: &str| match parts.get(name)? {
                Value::Null => None,
                Value::String(text) => Some(printable(text)),
                other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    Some(other.to_string())
                }
            };
            let message = part("message").unwrap_or_else(|| printable(&pattern.show(frame)));
            Some(CallError::new(part("code").unwrap_or_else(|| code.into()), message))
        };
        if let Some(refused) = error(&self.refused, "refused") {
            return Some(Verdict::Refused(refused));
        }
        if let Some(failed) = error(&self.failed, "failed") {
            return Some(Verdict::Failed(failed));
        }
        Some(match reply.captures(frame, &self.values)? {
            Ok(captures) => Verdict::Reply(captures),
            Err(why) => {
                let shown = printable(&reply.show(frame));
                let message = format!("the device answered {shown:?}, of which {}", printable(&why));
                Verdict::Bad(CallError::new("bad_response", message))
            }
        })
    }
}

impl Reading<'_> {
    fn pattern(&self, value: Option<&Value>, at: &str) -> Result<Option<Pattern>, Mistake> {
        value.map(|value| Pattern::parse(value, at, self.wire, self.values)).transpose()
    }

    /// A mistake without a path is one of the whole method.
    fn steps(&self) -> Result<Vec<Step>, Mistake> {
        let keys = self.keys;
        match (&keys.send, &keys.steps) {
            (Some(send), None) => Ok(vec![self.send(send, keys.reply.as_ref(), "")?]),
            (None, Some(_)) if keys.reply.is_some() => {
                Err(Mistake::new("reply", "stands beside `steps`; move it into its step"))
            }
            (None, Some(steps)) if steps.is_empty() || steps.len() > MOST_STEPS => {
                let message = format!("has {} steps; 1 to {MOST_STEPS} are allowed", steps.len());
                Err(Mistake::new("steps", message))
            }
            (None, Some(steps)) => {
                let step = |(index, step): (usize, &Value)| self.step(step, &format!("steps[{index}]"));
                steps.iter().enumerate().map(step).collect()
            }
            (Some(_), Some(_)) => Err(Mistake::new("steps", "a method has `send` or `steps`, not both")),
            (None, None) => Err(Mistake::new("", "the method sends nothing; add `send`, `steps` or `hears`")),
        }
    }

    fn step(&self, value: &Value, at: &str) -> Result<Step, Mistake> {
        const EXPECTED: &str = "{ send = \"...\" }, with or without `reply`, or { wait = \"200ms\" },";
        let table = Table::new(value, at, EXPECTED, &["send", "reply", "wait"])?;
        match (table.get("send"), table.duration("wait")?) {
            (Some(send), None) => self.send(send, table.get("reply"), &format!("{at}.")),
            (None, Some(wait)) if !table.has("reply") => Ok(Step::Wait(wait)),
            (None, _) | (Some(_), Some(_)) => {
                Err(Mistake::new(at, format!("must be {}", EXPECTED.trim_end_matches(','))))
            }
        }
    }

    fn send(&self, send: &Value, reply: Option<&Value>, at: &str) -> Result<Step, Mistake> {
        let frame = FrameTemplate::parse(send, &format!("{at}send"), self.wire, self.values)?;
        let reply = self.pattern(reply, &format!("{at}reply"))?.map(Arc::new);
        Ok(Step::Send { frame, reply })
    }
}

/// The device's words, fit for a log and a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect()
}
