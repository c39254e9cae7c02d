//! The keys of a serial map, and what a line of the device means for a call. Touches no port.

use std::time::Duration;

use nowd_plugin::map::{MapError, MapMethod, MethodKeys};
use nowd_plugin::{Call, CallError, duration};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::frame::{FrameError, FrameTemplate};

/// The most steps a method may have.
pub const MOST_STEPS: usize = 8;

/// The largest compiled pattern, in bytes.
const LARGEST_PATTERN: usize = 1024 * 1024;
/// The longest terminator, in bytes.
const LONGEST_TERMINATOR: usize = 8;
/// The most characters of a device's words that go into an error.
const LONGEST_MESSAGE: usize = 200;

/// `[serial]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SerialTable {
    pub(crate) port: String,
    pub(crate) framing: Framing,
}

/// How frames are told apart. Only lines so far.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Framing {
    /// What ends a line, both ways.
    pub(crate) line: String,
}

impl Framing {
    /// What is wrong with the values, in words.
    pub(crate) fn mistake(&self) -> Option<String> {
        let len = self.line.len();
        (len == 0 || len > LONGEST_TERMINATOR)
            .then(|| format!("`framing.line` must be 1 to {LONGEST_TERMINATOR} bytes, such as \"\\r\\n\""))
    }
}

/// The keys of a method that are the serial plugin's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    send: Option<String>,
    reply: Option<String>,
    steps: Option<Vec<StepKeys>>,
    refused: Option<String>,
    failed: Option<String>,
}

impl MethodKeys for Keys {
    const KEYS: &'static [&'static str] = &["send", "reply", "steps", "refused", "failed"];
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StepKeys {
    send: Option<String>,
    reply: Option<String>,
    #[serde(deserialize_with = "duration::deserialize_option")]
    wait: Option<Duration>,
}

/// A method of a serial map, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct SerialMap {
    steps: Vec<Step>,
    refused: Option<Regex>,
    failed: Option<Regex>,
    pub(crate) terminator: String,
}

#[derive(Debug, Clone)]
enum Step {
    Send { frame: FrameTemplate, reply: Option<Regex> },
    Wait(Duration),
}

/// One step for one call.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Write these bytes, then wait for a line that matches, where there is a pattern.
    Send { bytes: Vec<u8>, reply: Option<Regex> },
    /// Do nothing for this long.
    Wait(Duration),
}

/// What a line means.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The reply of the step, with the named captures.
    Reply(Map<String, Value>),
    /// The device did nothing.
    Refused(CallError),
    /// The device answered with an error.
    Failed(CallError),
}

impl SerialMap {
    pub(crate) fn new(method: &MapMethod<Keys>, framing: &Framing) -> Result<Self, MapError> {
        let (origin, keys) = (&method.origin, &method.keys);
        let steps = match (&keys.send, &keys.steps) {
            (Some(send), None) => {
                vec![StepKeys { send: Some(send.clone()), reply: keys.reply.clone(), wait: None }]
            }
            (None, Some(steps)) if keys.reply.is_none() => steps.clone(),
            (None, Some(_)) => {
                return Err(origin.error("`reply` stands beside `steps`; move it into its step"));
            }
            (Some(_), Some(_)) => return Err(origin.error("a method has `send` or `steps`, not both")),
            (None, None) => return Err(origin.error("the method sends nothing; add `send` or `steps`")),
        };
        if steps.is_empty() || steps.len() > MOST_STEPS {
            return Err(
                origin.error(format!("`steps` has {} steps; 1 to {MOST_STEPS} are allowed", steps.len()))
            );
        }
        let declared: Vec<&str> = method.params.iter().flat_map(nowd_plugin::params::Params::names).collect();
        let shorthand = keys.steps.is_none();
        let steps = steps.iter().enumerate().map(|(index, step)| {
            let key = |name: &str| if shorthand { name.into() } else { format!("steps[{index}].{name}") };
            let error = |name: &str, e: &dyn std::fmt::Display| origin.error(format!("`{}`: {e}", key(name)));
            match (&step.send, step.wait) {
                (Some(send), None) => {
                    let frame = FrameTemplate::parse(send, &framing.line, declared.iter().copied())
                        .map_err(|e| error("send", &e))?;
                    let reply = step.reply.as_deref().map(pattern).transpose();
                    Ok(Step::Send { frame, reply: reply.map_err(|e| error("reply", &e))? })
                }
                (None, Some(wait)) if step.reply.is_none() => Ok(Step::Wait(wait)),
                (None, _) | (Some(_), Some(_)) => Err(origin.error(format!(
                    "`steps[{index}]` must be {{ send = \"...\" }}, with or without `reply`, or {{ wait = \"200ms\" }}"
                ))),
            }
        });
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        let whole = |name: &str, text: &Option<String>| {
            let compiled = text.as_deref().map(pattern).transpose();
            compiled.map_err(|e| origin.error(format!("`{name}`: {e}")))
        };
        let map = Self {
            refused: whole("refused", &keys.refused)?,
            failed: whole("failed", &keys.failed)?,
            terminator: framing.line.clone(),
            steps,
        };
        map.check_whole(method)?;
        Ok(map)
    }

    /// What can only be seen of all steps together.
    fn check_whole(&self, method: &MapMethod<Keys>) -> Result<(), MapError> {
        let origin = &method.origin;
        if let Some(Step::Wait(_)) = self.steps.last() {
            return Err(origin.error("the last step is a `wait`, after which nothing is sent; leave it out"));
        }
        let waits: Duration = self.steps.iter().fold(Duration::ZERO, |sum, step| match step {
            Step::Wait(wait) => sum.saturating_add(*wait),
            Step::Send { .. } => sum,
        });
        if waits >= method.policy.max_timeout {
            return Err(origin
                .error(format!("the steps wait for {waits:?} in all, which `max_timeout` never allows")));
        }
        let listens = self.steps.iter().any(|step| matches!(step, Step::Send { reply: Some(_), .. }));
        for (name, given) in [("refused", &self.refused), ("failed", &self.failed)] {
            if given.is_some() && !listens {
                return Err(
                    origin.error(format!("`{name}` is never looked at, because no step has a `reply`"))
                );
            }
        }
        Ok(())
    }

    /// The steps with the parameters of `call` in them.
    pub(crate) fn frames(&self, call: &Call) -> Result<Vec<Frame>, FrameError> {
        let steps = self.steps.iter().map(|step| match step {
            Step::Send { frame, reply } => {
                Ok(Frame::Send { bytes: frame.render(call)?, reply: reply.clone() })
            }
            Step::Wait(wait) => Ok(Frame::Wait(*wait)),
        });
        steps.collect()
    }

    /// What `line` means while `reply` is waited for; `None`: the device sent it for reasons of its own.
    pub(crate) fn judge(&self, reply: &Regex, line: &[u8]) -> Option<Verdict> {
        let line = String::from_utf8_lossy(line);
        let error = |pattern: &Option<Regex>, code: &str| {
            let captures = pattern.as_ref()?.captures(&line)?;
            let part = |name: &str| captures.name(name).map(|part| printable(part.as_str()));
            let message = part("message").unwrap_or_else(|| printable(&line));
            Some(CallError::new(part("code").unwrap_or_else(|| code.into()), message))
        };
        if let Some(refused) = error(&self.refused, "refused") {
            return Some(Verdict::Refused(refused));
        }
        if let Some(failed) = error(&self.failed, "failed") {
            return Some(Verdict::Failed(failed));
        }
        let captures = reply.captures(&line)?;
        let named = reply.capture_names().flatten().map(|name| {
            let value = captures.name(name).map_or(Value::Null, |part| part.as_str().into());
            (name.to_owned(), value)
        });
        Some(Verdict::Reply(named.collect()))
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build().map_err(|e| {
        let message = e.to_string();
        let reason = message.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        format!("{text:?} is not a regular expression: {reason}")
    })
}

/// The device's words, fit for a log and a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect()
}
