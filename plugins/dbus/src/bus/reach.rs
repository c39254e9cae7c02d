//! Why a bus cannot be reached, in words that lead to the fix. Opens nothing.

use std::io;

use zbus::Address;
use zbus::address::transport::{Transport, UnixSocket};

use crate::json::clip;
use crate::address::BusAddress;

impl BusAddress {
    /// The bus, with its address where its name does not say it.
    pub(crate) fn full(&self) -> String {
        match self.resolved() {
            Some(address) if !matches!(self, Self::At(_)) => {
                format!("{} ({})", self.called(), clip(&address.to_string(), 200))
            }
            Some(_) | None => self.called(),
        }
    }

    /// Whether it is reached over a Unix socket, as far as can be told before it is.
    pub(crate) fn is_unix(&self) -> bool {
        self.resolved().is_none_or(|address| matches!(address.transport(), Transport::Unix(_)))
    }

    pub(super) fn resolved(&self) -> Option<Address> {
        match self {
            Self::System => Address::system().ok(),
            Self::Session => Address::session().ok(),
            Self::At(address) => address.parse().ok(),
        }
    }

    /// Why connecting failed, and what to do.
    pub(super) fn why(&self, error: &zbus::Error) -> String {
        let socket = self.socket().map_or_else(|| "its address".into(), |path| clip(&path, 200));
        let (zbus::Error::InputOutput(e) | zbus::Error::Connection(e, _)) = error else {
            if let zbus::Error::Handshake(text) = error {
                let text = clip(text, 100);
                return format!(
                    "it does not let the gateway in ({text}); is it a bus, and may the gateway's user use it?"
                );
            }
            return clip(&error.to_string(), 200);
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
        format!("{} at {socket}", clip(&e.to_string(), 200))
    }

    /// The file of its socket.
    fn socket(&self) -> Option<String> {
        let address = self.resolved()?;
        let Transport::Unix(unix) = address.transport() else { return None };
        let UnixSocket::File(path) = unix.path() else { return None };
        Some(path.display().to_string())
    }
}
