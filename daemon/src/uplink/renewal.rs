//! A connection renewed because its certificate was: the new one is made beside the old one, and takes over when the broker has
//! accepted it. The broker then ends the old one, since both have the same client id.
//!
//! Until then the old one does all the work, and where the new one is not accepted it goes on doing it.

use std::time::Duration;

use nowd_plugin::BootInstant;
use tracing::info;

use super::line::{Line, LineError};
use super::report::chain;
use super::{Opening, State, Up, Uplink, UplinkEvent};
use crate::identity::{Certificates, Which};

impl Uplink {
    /// Whether no call runs or waits now.
    pub(crate) fn set_quiet(&mut self, is_quiet: bool) {
        if !is_quiet {
            self.quiet_since = None;
        } else if self.quiet_since.is_none() {
            self.quiet_since = Some(BootInstant::now());
        }
    }

    /// The files of certificate and key are looked at soon.
    pub(crate) fn look_at_certificates(&mut self) {
        if let Some(certificates) = &mut self.certificates {
            certificates.look_now();
        }
    }

    /// In how long the connection that is up is to be renewed, if at all.
    pub(super) fn renewal_due(&self) -> Option<Duration> {
        match &self.state {
            State::Up(up) if up.ready.is_some() && up.successor.is_none() => {
                self.certificates.as_ref()?.due(self.quiet_since)
            }
            State::Up(_) | State::Opening(_) | State::Waiting(_) => None,
        }
    }

    pub(super) fn begin_renewal(&mut self) {
        let mut successor = self.open();
        if matches!(successor.which, Which::InUse) {
            // It was passed over once, and its time to be tried again has come.
            let Some(certificates) = &mut self.certificates else { return };
            certificates.try_again();
            successor = self.open();
        }
        if let State::Up(up) = &mut self.state {
            info!(session = %successor.session.id, "the connection is being renewed");
            up.successor = Some(successor);
        }
    }

    /// The new connection is there, or is not to be had.
    pub(super) fn succeeded(&mut self, result: Result<Line, LineError>) -> Option<UplinkEvent> {
        let State::Up(up) = &mut self.state else { return None };
        let Opening { session, which, .. } = up.successor.take()?;
        match result {
            Ok(connection) => {
                if up.was_good() {
                    self.backoff.reset();
                }
                self.changed = BootInstant::now();
                self.enter(State::Up(Box::new(Up::new(connection, session, which))));
                self.subscribe();
                Some(UplinkEvent::Down)
            }
            Err(e) => {
                if let (Some(certificates), Some(e)) = (&mut self.certificates, e.direct()) {
                    certificates.failed(&which, e, &chain(e));
                }
                None
            }
        }
    }
}

/// For ever without certificates.
pub(super) async fn look(certificates: Option<&mut Certificates>) {
    match certificates {
        Some(certificates) => certificates.next().await,
        None => std::future::pending().await,
    }
}

/// For ever where none is being made.
pub(super) async fn made(successor: Option<&mut Opening>) -> Result<Line, LineError> {
    match successor {
        Some(Opening { result, .. }) => result.await,
        None => std::future::pending().await,
    }
}
