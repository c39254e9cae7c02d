//! How the gateway stands with its nucleus, and which deployment it runs: for `nowd status`, the metrics and the log.
//!
//! Written by the process of the component and by the keeper's thread, read by whoever is asked. Nobody waits for it, and nothing is
//! decided by it.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use nowd_greengrass::{CallError, RefusalKind};
use nowd_plugin::BootInstant;
use ring::digest::{SHA256, digest as sum_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Deployed;

/// How many hexadecimal digits of the digest are told: as many as tell the deployments of a fleet apart, and fit into a line.
const DIGITS: usize = 12;

/// Shared by all who know or ask.
#[derive(Debug, Clone)]
pub(crate) struct Standing(Arc<Mutex<Known>>);

#[derive(Debug, Clone)]
struct Known {
    /// Whether the nucleus is connected, and since when that is so.
    connected: (bool, BootInstant),
    /// Why it is not.
    why: Option<String>,
    kind: Kind,
    /// What a gateway runs with, and since when.
    runs: Option<(String, BootInstant)>,
    refused: Option<Refused>,
}

/// A deployment that was not taken.
#[derive(Debug, Clone)]
struct Refused {
    digest: String,
    why: String,
    at: BootInstant,
}

/// Which nucleus it is, as far as what it offers says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Classic,
    Lite,
    #[default]
    Unknown,
}

impl Kind {
    /// Only the classic nucleus lets a component judge a configuration, and make a deployment wait. Lite says of both that it failed, and not
    /// why; that the classic one fails in both is not ruled out, and costs a wrong word in `nowd status`.
    pub(super) fn of_subscriptions<T>(both: &[Result<T, CallError>; 2]) -> Self {
        let is_not_there = |subscribed: &Result<T, CallError>| {
            let kind = subscribed.as_ref().err().and_then(CallError::refusal);
            matches!(kind, Some(RefusalKind::NotSupported | RefusalKind::Service))
        };
        if both.iter().any(Result::is_ok) {
            Self::Classic
        } else if both.iter().all(is_not_there) {
            Self::Lite
        } else {
            Self::Unknown
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Lite => "lite",
            Self::Unknown => "unknown",
        }
    }
}

/// As `nowd status --json` prints it. Fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) nucleus: NucleusReport,
    /// What the gateway runs with; nothing while none runs.
    pub(crate) deployment: Option<RunsReport>,
    /// The newest one that was not taken, until one is.
    pub(crate) refused: Option<RefusedReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NucleusReport {
    pub(crate) connected: bool,
    /// `classic`, `lite` or `unknown`.
    pub(crate) kind: String,
    /// For how long it has been connected, or has not.
    pub(crate) for_ms: u64,
    /// Why it is not.
    pub(crate) why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunsReport {
    pub(crate) digest: String,
    /// For how long this process has run it.
    pub(crate) for_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedReport {
    pub(crate) digest: String,
    pub(crate) why: String,
    pub(crate) ago_ms: u64,
}

impl Default for Standing {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Known {
            connected: (false, BootInstant::now()),
            why: None,
            kind: Kind::default(),
            runs: None,
            refused: None,
        })))
    }
}

impl Standing {
    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The nucleus has accepted the connection.
    pub(super) fn connected(&self) {
        self.change(|known| {
            known.connected = (true, BootInstant::now());
            known.why = None;
        });
    }

    /// It is gone, or was not there.
    pub(super) fn lost(&self, why: &str) {
        self.change(|known| {
            if known.connected.0 {
                known.connected = (false, BootInstant::now());
            }
            known.why = Some(why.to_owned());
        });
    }

    /// What was learnt of it; that something could not be learnt changes nothing.
    pub(super) fn is(&self, kind: Kind) {
        if kind != Kind::Unknown {
            self.change(|known| known.kind = kind);
        }
    }

    /// A gateway runs with it; says by which digest it is known, where it is another one than before.
    pub(super) fn taken(&self, deployed: &Deployed) -> Option<String> {
        let digest = digest(deployed);
        let mut is_new = false;
        self.change(|known| {
            is_new = known.runs.as_ref().is_none_or(|(before, _)| *before != digest);
            known.refused = None;
            if is_new {
                known.runs = Some((digest.clone(), BootInstant::now()));
            }
        });
        is_new.then_some(digest)
    }

    /// It is not taken; says by which digest it is known.
    pub(super) fn refused(&self, deployed: &Deployed, why: &str) -> String {
        let digest = digest(deployed);
        let refused = Refused { digest: digest.clone(), why: why.to_owned(), at: BootInstant::now() };
        self.change(|known| known.refused = Some(refused));
        digest
    }

    /// There is no newer one than what runs any more, or it is looked at anew.
    pub(super) fn nothing_refused(&self) {
        self.change(|known| known.refused = None);
    }

    /// No gateway runs, so no deployment does.
    pub(super) fn stopped(&self) {
        self.change(|known| known.runs = None);
    }

    pub(crate) fn report(&self, now: BootInstant) -> Report {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let since = |instant: BootInstant| {
            u64::try_from(now.saturating_since(instant).as_millis()).unwrap_or(u64::MAX)
        };
        let (connected, at) = known.connected;
        Report {
            nucleus: NucleusReport {
                connected,
                kind: known.kind.as_str().into(),
                for_ms: since(at),
                why: known.why,
            },
            deployment: known.runs.map(|(digest, at)| RunsReport { digest, for_ms: since(at) }),
            refused: known.refused.map(|Refused { digest, why, at }| RefusedReport {
                digest,
                why,
                ago_ms: since(at),
            }),
        }
    }
}

/// The first digits of the SHA-256 of what was deployed, the same on each core that was given the same: without what the nucleus says
/// of its own core, and without components that nobody names.
pub(super) fn digest(deployed: &Deployed) -> String {
    let names = deployed.names().unwrap_or_default();
    let mut text = String::new();
    let mut all = vec![&deployed.component];
    all.extend(names.iter().filter_map(|name| deployed.components.get(name)));
    for configuration in all {
        canonical(&Value::Object(configuration.clone()), &mut text);
        text.push('\n');
    }
    let sum = sum_of(&SHA256, text.as_bytes());
    let mut digits = String::new();
    for byte in sum.as_ref().iter().take(DIGITS / 2) {
        // Writing to a text does not fail.
        write!(digits, "{byte:02x}").ok();
    }
    digits
}

/// JSON with its keys in order and nothing between them, whatever order a map of this build keeps.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(&String, &Value)> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write!(text, "{}:", Value::String(key.clone())).ok();
                canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            write!(text, "{value}").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::document::Nucleus;
    use super::*;

    fn deployed(own: &Value, maps: Option<&Value>) -> Deployed {
        let mut deployed = Deployed::default().with_component(own.as_object().unwrap().clone());
        if let Some(maps) = maps {
            deployed.add_component("com.example.Maps", maps.as_object().unwrap().clone());
        }
        deployed
    }

    #[test]
    fn the_digest_is_of_what_was_deployed_and_of_nothing_else() {
        let own = json!({"maps": ["com.example.Maps"], "nowd": {"a": [1, "x\n", null], "b": {"c": true}}});
        let maps = json!({"methods.d": {"x.toml": "#"}});
        let one = deployed(&own, Some(&maps));
        // SHA-256 of both on a line each, as another program counts it.
        assert_eq!(digest(&one), "9bd5c2b30b6f");
        let mut other_core = one.clone();
        other_core.nucleus = Nucleus { thing_name: Some("core-2".into()), ..Nucleus::default() };
        other_core.add_component("com.example.Unused", json!({"x": 1}).as_object().unwrap().clone());
        assert_eq!(digest(&other_core), digest(&one));
        let mut with_access = own.clone();
        with_access["accessControl"] = json!({"x": {}});
        assert_eq!(digest(&deployed(&with_access, Some(&maps))), digest(&one));
        for other in [
            deployed(&own, Some(&json!({"methods.d": {"x.toml": "# 2"}}))),
            deployed(&own, None),
            deployed(&json!({"nowd": {"a": [1, "x\n", null], "b": {"c": true}}}), Some(&maps)),
        ] {
            assert_ne!(digest(&other), digest(&one), "{other:?}");
        }
    }

    #[test]
    fn what_is_told_follows_what_happened() {
        let standing = Standing::default();
        let now = BootInstant::now();
        let told = |standing: &Standing| standing.report(now);
        let report = told(&standing);
        assert!(!report.nucleus.connected && report.deployment.is_none() && report.refused.is_none());
        assert_eq!((report.nucleus.kind.as_str(), report.nucleus.why), ("unknown", None));
        standing.lost("no socket");
        assert_eq!(told(&standing).nucleus.why.as_deref(), Some("no socket"));
        standing.connected();
        standing.is(Kind::Lite);
        standing.is(Kind::Unknown);
        let nucleus = told(&standing).nucleus;
        assert!(nucleus.connected && nucleus.kind == "lite" && nucleus.why.is_none(), "{nucleus:?}");

        let (old, new) = (deployed(&json!({}), None), deployed(&json!({"nowd": {"x": 1}}), None));
        assert_eq!(standing.taken(&old), Some(digest(&old)));
        assert_eq!(standing.taken(&old), None, "it is no other one");
        assert_eq!(standing.refused(&new, "unknown key"), digest(&new));
        let report = told(&standing);
        assert_eq!(report.deployment.map(|runs| runs.digest), Some(digest(&old)));
        let refused = report.refused.unwrap();
        assert_eq!((refused.digest, refused.why.as_str()), (digest(&new), "unknown key"));
        standing.taken(&new);
        let report = told(&standing);
        assert_eq!(report.deployment.map(|runs| runs.digest), Some(digest(&new)));
        assert_eq!(report.refused, None);
        standing.stopped();
        assert_eq!(told(&standing).deployment, None);
    }
}
