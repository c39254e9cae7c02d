//! `[bus]`: where the gateway is on the bus of its own machine, and for whom. Connects to nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// `[bus]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// The bus.
    pub address: BusAddress,
    /// Whether the gateway is there.
    pub serve: bool,
    /// Whose members are served, beside root and the daemon's own user.
    pub group: String,
}

/// A bus: `"system"`, `"session"`, or an address such as `"unix:path=/run/bus"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BusAddress {
    /// The bus of the machine.
    #[default]
    System,
    /// The bus of the user's session.
    Session,
    /// Another one.
    At(String),
}

/// A text names no bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no bus: use \"system\", \"session\", or an address such as \"unix:path=/run/dbus/system_bus_socket\""
)]
pub struct NoBus(String);

impl Default for BusConfig {
    fn default() -> Self {
        Self { address: BusAddress::default(), serve: true, group: "nowd".into() }
    }
}

impl FromStr for BusAddress {
    type Err = NoBus;

    fn from_str(text: &str) -> Result<Self, NoBus> {
        match text {
            "system" => Ok(Self::System),
            "session" => Ok(Self::Session),
            other if zbus::Address::from_str(other).is_ok() => Ok(Self::At(other.to_owned())),
            other => Err(NoBus(other.to_owned())),
        }
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system bus"),
            Self::Session => f.write_str("the session bus"),
            Self::At(address) => write!(f, "the bus {address}"),
        }
    }
}

impl<'de> Deserialize<'de> for BusAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("system", Some(BusAddress::System)),
            ("session", Some(BusAddress::Session)),
            ("unix:path=/run/bus", Some(BusAddress::At("unix:path=/run/bus".into()))),
            ("", None),
            ("System", None),
            ("/run/bus", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }
}
