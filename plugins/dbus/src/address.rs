//! Which bus: as maps, drop-ins and `nowd.toml` name it. Opens nothing.

use std::fmt;
use std::str::FromStr;

use nowd_plugin::words::nearest;
use zbus::Address;

use crate::json::clip;

/// Which bus. Written `"system"`, `"session"`, or as an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BusAddress {
    /// The system bus.
    System,
    /// The bus of the user's session.
    Session,
    /// A bus by its address: `unix:path=/run/example/bus`.
    At(String),
}

/// A text names no bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`bus = {text:?}` is not a bus; {hint}")]
pub struct BusAddressError {
    text: String,
    hint: String,
}

impl FromStr for BusAddress {
    type Err = BusAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            address if address.contains(':') && Address::from_str(address).is_ok() => {
                Ok(Self::At(address.into()))
            }
            other => {
                let hint = match nearest(other, ["system", "session"]) {
                    Some(nearest) => format!("did you mean {nearest:?}?"),
                    None => {
                        "write \"system\", \"session\" or an address such as \"unix:path=/run/example/bus\""
                            .into()
                    }
                };
                Err(BusAddressError { text: clip(other, 100), hint })
            }
        }
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Session => f.write_str("session"),
            Self::At(address) => f.write_str(address),
        }
    }
}

impl BusAddress {
    /// What it is called in a sentence.
    pub(crate) fn called(&self) -> String {
        match self {
            Self::System | Self::Session => format!("the {self} bus"),
            Self::At(address) => format!("the bus {}", clip(address, 200)),
        }
    }
}
