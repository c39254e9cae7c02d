//! Which bus: as maps, drop-ins, `nowd.toml` and command lines name it; and why it cannot be reached, in words that lead to the
//! fix; and connections whose messages are bounded in length.

mod socket;

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use zbus::Address;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::Builder;

pub use self::socket::{Longer, lost_its_body, too_long};
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
                        "write \"system\", \"session\" or an address such as \"unix:path=/run/example/bus\""
                            .into()
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

    /// The bus, with its address where its name does not say it.
    #[must_use]
    pub fn full(&self) -> String {
        match self.resolved() {
            Some(address) if !matches!(self, Self::At(_)) => {
                format!("{} ({})", self.called(), shown(&address.to_string()))
            }
            Some(_) | None => self.called(),
        }
    }

    /// Whether it is reached over a Unix socket, as far as can be told before it is.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.resolved().is_none_or(|address| matches!(address.transport(), Transport::Unix(_)))
    }

    /// Its address, as far as it can be made out.
    #[must_use]
    pub fn resolved(&self) -> Option<Address> {
        match self {
            Self::System => Address::system().ok(),
            Self::Session => Address::session().ok(),
            Self::At(address) => address.parse().ok(),
        }
    }

    /// Why connecting failed, and what to do.
    #[must_use]
    pub fn why(&self, error: &zbus::Error) -> String {
        let socket = self.socket().map_or_else(|| "its address".into(), |path| shown(&path));
        let (zbus::Error::InputOutput(e) | zbus::Error::Connection(e, _)) = error else {
            if let zbus::Error::Handshake(text) = error {
                let text = shown(text);
                return format!(
                    "it does not let the gateway in ({text}); is it a bus, and may the gateway's user use it?"
                );
            }
            return shown(&error.to_string());
        };
        let kind = e.kind();
        if kind == io::ErrorKind::NotFound {
            return match self {
                Self::Session => format!(
                    "there is no {socket}; a daemon has no session of its own: use the system bus or an address, or set DBUS_SESSION_BUS_ADDRESS"
                ),
                Self::System => format!("there is no {socket}; install and start dbus"),
                Self::At(_) => format!("there is no {socket}; start that bus, or correct `bus`"),
            };
        }
        if kind == io::ErrorKind::PermissionDenied {
            return format!(
                "permission to open {socket} is denied; let the gateway's user read and write it"
            );
        }
        if kind == io::ErrorKind::ConnectionRefused {
            return format!("nobody listens at {socket}; start that bus");
        }
        let hung_up =
            [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof];
        if hung_up.contains(&kind) {
            return format!("it hung up at {socket}; is it a bus, and may the gateway's user use it?");
        }
        format!("{} at {socket}", shown(&e.to_string()))
    }

    /// The file of its socket.
    fn socket(&self) -> Option<String> {
        let address = self.resolved()?;
        let Transport::Unix(unix) = address.transport() else { return None };
        let UnixSocket::File(path) = unix.path() else { return None };
        Some(path.display().to_string())
    }

    /// The start of a connection to it, on which messages may be as long as D-Bus allows: 128 MiB. Only for those who are
    /// trusted; see [`Self::bounded`].
    pub fn connection(&self) -> Builder<'static> {
        match self {
            Self::System => Builder::system(),
            Self::Session => Builder::session(),
            Self::At(address) => Builder::address(address.as_str()),
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
                (Ok(bus), Ok(called)) => {
                    assert_eq!((bus.called().as_str(), bus.to_string().as_str()), (called, text));
                }
                (Err(e), Err(hint)) => assert!(e.to_string().contains(hint), "{e}"),
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        }
    }
}
