//! Why a question over the bus is not answered, in the words of D-Bus.

use super::{CONFIG_ERROR, LOCKED_ERROR, NotBegun, PATH, ReloadError};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("only root, the gateway's own user and members of the group named by `bus.group` are served")]
    NotServed,
    #[error("{0}")]
    Arguments(String),
    #[error("{0}")]
    TooMuch(&'static str),
    #[error("there is no method {0:?} here")]
    NoMethod(String),
    #[error("there is nothing at {0}; the gateway is at {PATH}")]
    NoObject(String),
    #[error("the gateway is stopping")]
    Stopping,
    #[error("no answer came; more repeats of one call wait than are answered")]
    NoAnswer,
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Locked(String),
    #[error("{0}")]
    Failed(String),
}

impl Refused {
    /// What D-Bus calls it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::NotServed => "org.freedesktop.DBus.Error.AccessDenied",
            Self::Arguments(_) => "org.freedesktop.DBus.Error.InvalidArgs",
            Self::TooMuch(_) => "org.freedesktop.DBus.Error.LimitsExceeded",
            Self::NoMethod(_) => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::NoObject(_) => "org.freedesktop.DBus.Error.UnknownObject",
            Self::NoAnswer => "org.freedesktop.DBus.Error.NoReply",
            Self::Config(_) => CONFIG_ERROR,
            Self::Locked(_) => LOCKED_ERROR,
            Self::Stopping | Self::Failed(_) => "org.freedesktop.DBus.Error.Failed",
        }
    }
}

impl From<NotBegun> for Refused {
    fn from(e: NotBegun) -> Self {
        match e {
            NotBegun::Busy => {
                Self::TooMuch("as many calls as may wait for their answers already do; nothing was done")
            }
            NotBegun::NoGateway => Self::Failed(e.to_string()),
        }
    }
}

impl From<ReloadError> for Refused {
    fn from(e: ReloadError) -> Self {
        match e {
            ReloadError::Config(message) => Self::Config(message),
            ReloadError::TooMany => Self::TooMuch("too many wait for a reload already"),
            ReloadError::NoSource => Self::Failed(e.to_string()),
        }
    }
}
