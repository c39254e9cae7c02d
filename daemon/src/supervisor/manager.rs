//! What systemd (or whoever else started the process and set `NOTIFY_SOCKET`) is told, as `sd_notify(3)` has it.
//!
//! Never waits: a service manager that reads nothing is told later, or not at all. That is why this is no crate's function,
//! all of which wait.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

/// How much may wait to be told. Beyond it the oldest is forgotten.
const MOST_UNSENT: usize = 8;

/// The service manager, and what could not be told yet.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    unsent: VecDeque<String>,
    has_failed: bool,
}

impl ServiceManager {
    /// Who started this process and wants to hear from it, by `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`; nobody where
    /// the first is not set or cannot be used, which is told in the log.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // The time may be meant for another process, whose child this is.
        let ours = std::env::var_os("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0);
        match Self::new(&address, watchdog.map(Duration::from_micros)) {
            Ok(manager) => Some(manager),
            Err(e) => {
                warn!(
                    see = "service-manager-unknown",
                    "NOTIFY_SOCKET cannot be used, so the service manager is told nothing: {e}"
                );
                None
            }
        }
    }

    /// The one that listens at `address`: a path, or `@` and an abstract name. `watchdog` is how long it waits for a sign of life.
    ///
    /// # Errors
    /// The address is none, or there is no socket to be had.
    pub fn new(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::new(ErrorKind::InvalidInput, "neither a path nor an abstract name"));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, watchdog, unsent: VecDeque::new(), has_failed: false })
    }

    /// How long it waits for a sign of life, if it does.
    pub(super) const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it now, or as soon as it listens.
    pub(super) fn tell(&mut self, what: &str) {
        if self.unsent.len() >= MOST_UNSENT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(what.to_owned());
        self.tell_unsent();
    }

    /// Tells what could not be told before.
    pub(super) fn tell_unsent(&mut self) {
        while let Some(what) = self.unsent.front() {
            match self.socket.send_to_addr(what.as_bytes(), &self.address) {
                Ok(_) => {
                    self.has_failed = false;
                    self.unsent.pop_front();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    if !std::mem::replace(&mut self.has_failed, true) {
                        warn!(
                            see = "service-manager-deaf",
                            "the service manager could not be told how the gateway is; it will be tried again: {e}"
                        );
                    }
                    return;
                }
            }
        }
    }

    /// A sign of life. One that cannot be given is not given later.
    pub(super) fn alive(&mut self) {
        if self.unsent.is_empty() {
            // The next one comes in time for the watchdog.
            drop(self.socket.send_to_addr(b"WATCHDOG=1", &self.address));
        }
    }
}
