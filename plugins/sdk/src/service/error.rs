//! Why a plugin cannot be served at all.

use super::DescriptionError;
use crate::bus::{BusAddress, BusAddressError};

/// Starting again does not help before something is done, but for [`ServiceError::NameTaken`]. What may come back by itself is
/// no error.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The bus's address.
    #[error(transparent)]
    Address(#[from] BusAddressError),
    /// The plugin's name.
    #[error("{0:?} cannot be a name on the bus; it must be such as com.example.Gate")]
    Name(String),
    /// The object's path.
    #[error("{0:?} cannot be the path of an object; it must be such as /com/example/Gate")]
    Path(String),
    /// What the plugin says of its methods would not be taken.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// Somebody else has the name.
    #[error(
        "another process on {} has the name {name} already; stop it (`busctl status {name}` says which it is), or take another name",
        .bus.called()
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Where.
        bus: BusAddress,
    },
    /// The bus's policy forbids it.
    #[error(
        "{} does not allow this user to own the name {name}; allow it in /etc/dbus-1/system.d/{name}.conf with \
         <policy user=\"USER\"><allow own=\"{name}\"/></policy>, and the gateway to call it with <policy user=\"nowd\"><allow \
         send_destination=\"{name}\"/></policy>, and let the bus read it (`systemctl reload dbus`)",
        .bus.called()
    )]
    NotAllowed {
        /// The name.
        name: String,
        /// Where.
        bus: BusAddress,
    },
    /// The process cannot do what it needs.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
}

impl ServiceError {
    /// The exit code for it, as `nowd` itself has them: 70 is a bug of the plugin, 74 a name that another process holds, 78
    /// wrong configuration of the plugin or the bus.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Name(_) | Self::Path(_) | Self::Description(_) | Self::Start(_) => 70,
            Self::NameTaken { .. } => 74,
            Self::Address(_) | Self::NotAllowed { .. } => 78,
        }
    }
}
