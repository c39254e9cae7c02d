//! How the link is, for people: asked for, or in the log. Nothing is decided by it.

use std::collections::BTreeMap;
use std::time::Duration;

use nowd_link::Message;
use nowd_plugin::BootInstant;
use tracing::debug;

use super::{Refusals, State, Uplink};
use crate::identity::{CertificateReport, Certificates};

/// How the link is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkReport {
    /// `up`, `connecting` or `down`.
    pub(crate) state: &'static str,
    /// The broker.
    pub(crate) endpoint: String,
    /// Of which kind it is, as `link.via` names it.
    pub(crate) via: &'static str,
    /// Since when it is up, or is not.
    pub(crate) since: BootInstant,
    /// What went wrong last, and when.
    pub(crate) last_error: Option<(String, BootInstant)>,
    /// Whether a person must mend something before it can be up.
    pub(crate) needs_mending: bool,
    /// Since the start.
    pub(crate) counts: LinkCounts,
    /// What the broker does not take of this gateway.
    pub(crate) refusals: Refusals,
    /// Our own, with TLS.
    pub(crate) certificate: Option<CertificateReport>,
}

/// What became of connections since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkCounts {
    /// How often the link came up.
    pub(crate) ups: u64,
    /// Connections that ended, and attempts at one that failed, by why.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// How often the presence was put right.
    pub(crate) corrections: u64,
    /// How long the last message of this gateway to itself was under way.
    pub(crate) round_trip: Option<Duration>,
}

impl Uplink {
    /// How it is, for people.
    pub(crate) fn report(&self) -> LinkReport {
        let state = match &self.state {
            State::Up(up) if up.ready.is_some() => "up",
            State::Up(_) | State::Opening(_) => "connecting",
            State::Waiting(_) => "down",
        };
        LinkReport {
            state,
            endpoint: self.way.endpoint(),
            via: self.way.name(),
            since: self.since().unwrap_or(self.changed),
            last_error: self.last_error.clone(),
            needs_mending: self.needs_mending && self.since().is_none(),
            counts: LinkCounts { round_trip: self.probes.round_trip(), ..self.counts.clone() },
            refusals: self.refusals.clone(),
            certificate: self.certificates.as_ref().and_then(Certificates::report),
        }
    }

    /// Remembers what went wrong, for people: in a sentence, and of which kind it is.
    pub(super) fn note(&mut self, kind: &'static str, reason: &str) {
        let count = self.counts.failures.entry(kind).or_default();
        *count = count.saturating_add(1);
        let now = BootInstant::now();
        if self.since().is_some() {
            self.changed = now;
        }
        self.last_error = Some((reason.to_owned(), now));
    }
}

/// An error and all its causes, on one line.
pub(super) fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Acknowledges; that it failed is only said.
pub(super) fn acknowledge(message: Message, what: &str) {
    if let Some(ack) = message.ack
        && let Err(e) = ack.send()
    {
        debug!("{what} was not acknowledged: {e}");
    }
}
