//! The keys that a method may have whatever its backend.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::method::Policy;

/// Their names.
pub(crate) const COMMON_KEYS: &[&str] = &[
    "description",
    "params",
    "timeout",
    "max_timeout",
    "min_budget",
    "stuck_after",
    "allow",
    "idempotent",
    "stop",
    "internal",
    "on_timeout",
    "on_stop",
    "poll",
];

/// The shortest time between two reads of a polled method.
const SHORTEST_POLL: Duration = Duration::from_millis(50);

/// The common keys of a method, as they were said: in a map, in a drop-in, or by a plugin of its own process.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CommonKeys {
    pub(crate) description: String,
    pub(crate) params: Map<String, Value>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    max_timeout: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    min_budget: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    stuck_after: Option<Duration>,
    #[serde(deserialize_with = "crate::texts::deserialize_option")]
    pub(crate) allow: Option<Vec<String>>,
    idempotent: Option<bool>,
    stop: Option<bool>,
    internal: Option<bool>,
    on_timeout: Option<String>,
    on_stop: Option<String>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    pub(crate) poll: Option<Duration>,
}

/// What is wrong with common keys that are right by themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct KeyMistake {
    /// The key whose value it is about.
    pub(crate) key: &'static str,
    message: String,
}

/// A drop-in's keys have to hold by themselves, whatever the plugin says.
const ONLY_NARROWS: &str = "a drop-in can only narrow what the plugin describes";

impl CommonKeys {
    /// Whether these keys can stand in a drop-in.
    pub(crate) fn check_narrowing(&self) -> Result<(), KeyMistake> {
        let mistake = |key, message| Err(KeyMistake { key, message });
        if self.stop.is_some() {
            let message = "`stop` is for the plugin to say, which knows what overtaking calls means; leave it out";
            return mistake("stop", message.into());
        }
        if self.internal == Some(false) {
            return mistake(
                "internal",
                format!("`internal` can only be true here: {ONLY_NARROWS}; leave it out"),
            );
        }
        if self.idempotent == Some(true) {
            return mistake(
                "idempotent",
                format!("`idempotent` can only be false here: {ONLY_NARROWS}; leave it out"),
            );
        }
        // What the two have to be to each other, only where both are said: what is not is the plugin's.
        let longest = self.max_timeout.unwrap_or(Duration::MAX);
        Self { max_timeout: Some(longest), ..self.clone() }.policy().map(drop)
    }

    /// What is left of `policy` by these keys: the smaller times, and what only the machine's owner says.
    pub(crate) fn narrow(&self, policy: &Policy) -> Policy {
        let least = |ours: Option<Duration>, theirs: Duration| ours.unwrap_or(theirs).min(theirs);
        let max_timeout = least(self.max_timeout, policy.max_timeout);
        let first = |ours: &Option<String>, theirs: &Option<String>| ours.clone().or_else(|| theirs.clone());
        Policy {
            timeout: least(self.timeout, policy.timeout).min(max_timeout),
            max_timeout,
            min_budget: self.min_budget.unwrap_or(policy.min_budget),
            stuck_after: self.stuck_after.unwrap_or(policy.stuck_after),
            allow: self.allow.clone(),
            idempotent: policy.idempotent && self.idempotent != Some(false),
            stop: policy.stop,
            internal: policy.internal || self.internal == Some(true),
            on_timeout: first(&self.on_timeout, &policy.on_timeout),
            on_stop: first(&self.on_stop, &policy.on_stop),
            poll: self.poll,
        }
    }

    pub(crate) fn policy(&self) -> Result<Policy, KeyMistake> {
        let mistake = |key, message| Err(KeyMistake { key, message });
        let default = Policy::default();
        let max_timeout = self.max_timeout.unwrap_or(default.max_timeout);
        let timeout = self.timeout.unwrap_or_else(|| default.timeout.min(max_timeout));
        for (key, duration) in [("timeout", timeout), ("max_timeout", max_timeout)] {
            if duration.is_zero() {
                return mistake(key, format!("`{key}` must be longer than 0"));
            }
        }
        if timeout > max_timeout {
            let (timeout, most) =
                (humantime::format_duration(timeout), humantime::format_duration(max_timeout));
            return mistake(
                "timeout",
                format!("`timeout` ({timeout}) is longer than `max_timeout` ({most})"),
            );
        }
        if self.poll.is_some_and(|poll| poll < SHORTEST_POLL) {
            let message = format!("`poll` must be at least {}", humantime::format_duration(SHORTEST_POLL));
            return mistake("poll", message);
        }
        if self.poll.is_some() && self.stop == Some(true) {
            let message = "a `stop` method overtakes others, and one that is polled runs only when nobody else does; leave out `stop` or `poll`";
            return mistake("poll", message.into());
        }
        Ok(Policy {
            timeout,
            max_timeout,
            min_budget: self.min_budget.unwrap_or(default.min_budget),
            stuck_after: self.stuck_after.unwrap_or(default.stuck_after),
            allow: self.allow.clone(),
            idempotent: self.idempotent.unwrap_or_default(),
            stop: self.stop.unwrap_or_default(),
            internal: self.internal.unwrap_or_default(),
            on_timeout: self.on_timeout.clone(),
            on_stop: self.on_stop.clone(),
            poll: self.poll,
        })
    }
}
