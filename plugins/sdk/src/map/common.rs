//! The keys that a method may have whatever its backend.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{MapError, MapOrigin};
use crate::method::Policy;

/// Their names.
pub(super) const COMMON_KEYS: &[&str] = &[
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

/// The common keys of a method, as they stand in the file.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CommonKeys {
    pub(super) description: String,
    pub(super) params: Map<String, Value>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    max_timeout: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    min_budget: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    stuck_after: Option<Duration>,
    #[serde(deserialize_with = "crate::texts::deserialize_option")]
    allow: Option<Vec<String>>,
    idempotent: bool,
    stop: bool,
    internal: bool,
    on_timeout: Option<String>,
    on_stop: Option<String>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    poll: Option<Duration>,
}

impl CommonKeys {
    pub(super) fn policy(&self, origin: &MapOrigin) -> Result<Policy, MapError> {
        let default = Policy::default();
        let max_timeout = self.max_timeout.unwrap_or(default.max_timeout);
        let timeout = self.timeout.unwrap_or_else(|| default.timeout.min(max_timeout));
        for (key, duration) in [("timeout", timeout), ("max_timeout", max_timeout)] {
            if duration.is_zero() {
                return Err(origin.at(key).error(format!("`{key}` must be longer than 0")));
            }
        }
        if timeout > max_timeout {
            return Err(origin.at("timeout").error(format!(
                "`timeout` ({}) is longer than `max_timeout` ({})",
                humantime::format_duration(timeout),
                humantime::format_duration(max_timeout)
            )));
        }
        if self.poll.is_some_and(|poll| poll < SHORTEST_POLL) {
            let message = format!("`poll` must be at least {}", humantime::format_duration(SHORTEST_POLL));
            return Err(origin.at("poll").error(message));
        }
        if self.poll.is_some() && self.stop {
            let message = "a `stop` method overtakes others, and one that is polled runs only when nobody else does; leave out `stop` or `poll`";
            return Err(origin.at("poll").error(message));
        }
        Ok(Policy {
            timeout,
            max_timeout,
            min_budget: self.min_budget.unwrap_or(default.min_budget),
            stuck_after: self.stuck_after.unwrap_or(default.stuck_after),
            allow: self.allow.clone(),
            idempotent: self.idempotent,
            stop: self.stop,
            internal: self.internal,
            on_timeout: self.on_timeout.clone(),
            on_stop: self.on_stop.clone(),
            poll: self.poll,
        })
    }
}
