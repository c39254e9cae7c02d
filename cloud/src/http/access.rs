//! Who may ask what: a policy file, beside what the platform before the router has judged already.

use std::path::Path;

/// Who may ask what.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Whoever gets as far as the router.
    #[default]
    Everybody,
    /// Whom a policy allows; nobody else.
    Policy(Policy),
}

/// A policy, read from a file.
#[derive(Debug, Clone)]
pub struct Policy {}

/// A policy file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("policies are not there yet")]
pub struct PolicyError {}

impl Policy {
    /// Reads a policy file.
    pub fn load(_file: &Path) -> Result<Self, PolicyError> {
        Err(PolicyError {})
    }
}
