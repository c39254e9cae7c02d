//! Which bus: as maps, drop-ins, `nowd.toml` and command lines name it. Opens nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use zbus::Address;
use zbus::connection::Builder;

use crate::words::nearest;

/// The longest address that a message shows, in characters.
const LONGEST_SHOWN: usize = 200;

/// Which bus. Written `"system"`, `"session"`, or as an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BusAddress {
    /// The machine's.
    #[default]
    System,
    /// The bus of the user's session.
    Session,
    /// Any other, by its D-Bus address: `unix:path=/run/example/bus`.
    At(String),
}

/// A text names no bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a bus; {hint}")]
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
                        "write \"system\", \"session\" or an address such as \"unix:path=/run/example/bus\"".into()
                    }
                };
                Err(BusAddressError { text: shown(other), hint })
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

impl<'de> Deserialize<'de> for BusAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl BusAddress {
    /// What it is called in a sentence.
    #[must_use]
    pub fn called(&self) -> String {
        match self {
            Self::System | Self::Session => format!("the {self} bus"),
            Self::At(address) => format!("the bus {}", shown(address)),
        }
    }

    /// The start of a connection to it.
    #[must_use]
    pub fn connection(&self) -> Builder<'static> {
        match self {
            Self::System => Builder::system(),
            Self::Session => Builder::session(),
            Self::At(address) => Builder::address(address.clone()),
        }
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_SHOWN).collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("system", Ok("the system bus")),
            ("session", Ok("the session bus")),
            ("unix:path=/run/bus", Ok("the bus unix:path=/run/bus")),
            ("", Err("\"system\", \"session\" or an address")),
            ("System", Err("did you mean \"system\"?")),
            ("/run/bus", Err("or an address such as")),
        ] {
            match (text.parse::<BusAddress>(), expected) {
                (Ok(bus), Ok(called)) => assert_eq!((bus.called().as_str(), bus.to_string().as_str()), (called, text)),
                (Err(e), Err(hint)) => assert!(e.to_string().contains(hint), "{e}"),
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        }
    }
}
