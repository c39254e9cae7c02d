//! What is known about a call once its plugin is done with it.

use std::fmt;

use serde_json::Value;

use crate::call::Expired;

/// What is known about the physical world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The device did it.
    Executed,
    /// The device did nothing: trying again is safe.
    NotExecuted,
    /// It may have acted.
    Unknown,
}

/// An error for the caller: a short code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// For programs: `com.example.Error.Interlock`, `port_gone`.
    pub code: String,
    /// For people; starts lower-case, no full stop.
    pub message: String,
}

impl CallError {
    /// An error of this code and message.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// How a call ended. Each variant implies an [`Outcome`]; none claims more than is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Completion {
    /// The device confirmed it; its response.
    Ok(Value),
    /// Written in time to a device that never confirms: unknown.
    Sent(Value),
    /// The device answered with an error; `outcome` as plugin or map declares, else [`Outcome::Unknown`].
    Failed {
        /// What the error means for the physical world.
        outcome: Outcome,
        /// The device's error.
        error: CallError,
    },
    /// The device said that it did nothing.
    Refused(CallError),
    /// Something was written, and the answer did not come: unknown.
    Timeout(CallError),
    /// The deadline passed before anything was written: not executed.
    Expired(Expired),
    /// The parameters cannot be sent: not executed.
    InvalidRequest(CallError),
    /// Bus name, port or device is not there, and nothing was written: not executed.
    Unavailable(CallError),
    /// A bug in the plugin: unknown.
    Internal(CallError),
}

impl Completion {
    /// What this completion says about the physical world.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Ok(_) => Outcome::Executed,
            Self::Failed { outcome, .. } => *outcome,
            Self::Sent(_) | Self::Timeout(_) | Self::Internal(_) => Outcome::Unknown,
            Self::Refused(_) | Self::Expired(_) | Self::InvalidRequest(_) | Self::Unavailable(_) => {
                Outcome::NotExecuted
            }
        }
    }
}

impl From<Expired> for Completion {
    fn from(expired: Expired) -> Self {
        Self::Expired(expired)
    }
}
