//! Who may ask what: a policy file, beside what the platform before the router has judged already.
//!
//! A policy only allows. What it does not name, and whoever nobody knows, is refused before anything is read or published.

use std::path::Path;
use std::sync::Arc;

use nowd_protocol::Level;

mod file;

pub use file::PolicyError;

use crate::pattern::Pattern;

/// Who may ask what.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Whoever gets as far as the router.
    #[default]
    Everybody,
    /// Whom a policy allows; nobody else.
    Policy(Policy),
}

/// A policy, read from a file: TOML, with a table for each thing that is allowed.
///
/// ```toml
/// [[allow]]
/// caller = ["arn:aws:sts::123456789012:assumed-role/operator/*"]
/// target = ["vehicle-*"]
/// method = ["window.*", "nowd.*"]
/// ```
///
/// Each is a list of at least one pattern, in which `*` stands for any characters, or none. A request is allowed if one
/// table has a pattern for its caller, one for its target and one for its method. Questions have methods, too:
/// `nowd.presence`, `nowd.methods` and `nowd.outcome`.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Arc<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    caller: Vec<Pattern>,
    target: Vec<Pattern>,
    method: Vec<Pattern>,
}

impl Policy {
    /// Reads a policy file of at most 256 KiB.
    pub fn load(file: &Path) -> Result<Self, PolicyError> {
        file::load(file)
    }

    /// Whether it allows nobody anything: it has no table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn allows(&self, caller: &str, target: &str, method: &str) -> bool {
        let any = |patterns: &[Pattern], text| patterns.iter().any(|pattern| pattern.matches(text));
        self.rules
            .iter()
            .any(|rule| any(&rule.method, method) && any(&rule.target, target) && any(&rule.caller, caller))
    }
}

/// Which gateways this side serves at all: those that its own rights reach. A broker may end the connection of all calls when a
/// request is published to any other.
#[derive(Debug, Clone, Default)]
pub struct Targets(Option<Arc<Pattern>>);

impl Targets {
    /// Those whose name is as `pattern` says, in which `*` stands for any characters, or none.
    #[must_use]
    pub fn like(pattern: &str) -> Self {
        Self(Some(Arc::new(Pattern::new(pattern))))
    }

    /// Whether `target` is one of them; if not, why.
    pub(super) fn judge(&self, target: &Level) -> Result<(), String> {
        match &self.0 {
            Some(pattern) if !pattern.matches(target.as_str()) => Err(format!(
                "{target} is not among the gateways that are reached from here; nothing was sent"
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl Access {
    /// Whether `caller` may use `method` of `target`; if not, why.
    pub(super) fn judge(&self, caller: Option<&str>, target: &Level, method: &Level) -> Result<(), String> {
        let Self::Policy(policy) = self else { return Ok(()) };
        let Some(caller) = caller else {
            return Err("nobody has said who asks, and the policy allows only whom it names: behind API Gateway sign the \
                        request, with `nowd-cloud serve` start it with --caller; nothing was sent"
                .to_owned());
        };
        if policy.allows(caller, target.as_str(), method.as_str()) {
            return Ok(());
        }
        Err(format!(
            "the policy does not allow {caller} to use {method} of {target}; an [[allow]] table that names all three would; \
             nothing was sent"
        ))
    }
}

#[cfg(test)]
mod tests;
