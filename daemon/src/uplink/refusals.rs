//! What the broker does not take of this gateway, while it lasts: for people, and for metrics. Nothing is decided by it.

use std::collections::BTreeMap;
use std::time::Duration;

use nowd_link::Ticket;
use nowd_plugin::BootInstant;
use tracing::{debug, error, info};

use super::probe::Acked;
use super::state::wait;
use super::{State, Uplink, UplinkEvent};

/// How soon a presence that was refused is published again, besides with each connection.
const PRESENCE_AGAIN: Duration = Duration::from_secs(5 * 60);

/// What a gateway publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Published {
    Answer,
    Presence,
    /// A message to itself.
    Probe,
}

impl Published {
    pub(crate) const ALL: [Self; 3] = [Self::Answer, Self::Presence, Self::Probe];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Presence => "presence",
            Self::Probe => "probe",
        }
    }
}

/// One kind of message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Where it was published, last.
    pub(crate) topic: String,
    /// What the broker said, or did.
    pub(crate) reason: String,
    /// When, last.
    pub(crate) at: BootInstant,
}

/// How a refusal by the nucleus of Greengrass begins where the recipe does not allow what was asked.
pub(super) const UNAUTHORIZED: &str = "UnauthorizedError";

/// How every other refusal by it begins.
pub(super) const OF_THE_NUCLEUS: &str = "the nucleus ";

/// How MQTT 5 says that a limit is met.
pub(super) const QUOTA: &str = "QuotaExceeded";

/// Whether that is not said because of a policy.
pub(super) fn is_no_policy(reason: &str) -> bool {
    matches!(reason, QUOTA | "UnspecifiedError" | "ImplementationSpecificError")
}

/// What to do about it: most reasons are a matter of the broker's policy, and some, as MQTT 5 names them, are not.
pub(crate) fn remedy(reason: &str, topic: &str) -> String {
    match reason {
        QUOTA => {
            "the broker limits how many messages and subscriptions it takes: see its limits, and who sends so many calls".into()
        }
        "PayloadFormatInvalid" => "look into the broker's log: it does not say why".into(),
        _ if is_no_policy(reason) => {
            "look into the broker's log: it does not say why".into()
        }
        _ if reason.starts_with(UNAUTHORIZED) => format!(
            "let `accessControl` of the component configuration allow {topic}, under `aws.greengrass.ipc.mqttproxy`, to \
             aws.greengrass#SubscribeToIoTCore where it is to hear it, and to aws.greengrass#PublishToIoTCore where it is to publish"
        ),
        _ if reason.starts_with(OF_THE_NUCLEUS) => {
            "look into the nucleus's log, and whether it is connected to AWS".into()
        }
        _ => format!("let its policy allow this gateway to publish to {topic}"),
    }
}

/// Of each kind: how it stands, and how often since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    now: BTreeMap<Published, Refusal>,
    counts: BTreeMap<Published, u64>,
}

impl Refusals {
    /// Says whether that is news.
    pub(super) fn refused(&mut self, what: Published, topic: &str, reason: &str) -> bool {
        let count = self.counts.entry(what).or_default();
        *count = count.saturating_add(1);
        let refusal = Refusal { topic: topic.to_owned(), reason: reason.to_owned(), at: BootInstant::now() };
        self.now.insert(what, refusal).is_none()
    }

    /// The last message of this kind was taken. Says whether that is news.
    pub(super) fn taken(&mut self, what: Published) -> bool {
        self.now.remove(&what).is_some()
    }

    /// What is refused now.
    pub(crate) const fn now(&self) -> &BTreeMap<Published, Refusal> {
        &self.now
    }

    /// How often since the start.
    pub(crate) fn count(&self, what: Published) -> u64 {
        self.counts.get(&what).copied().unwrap_or_default()
    }
}

impl Uplink {
    /// The broker has answered a message.
    pub(super) fn acked(
        &mut self,
        ticket: Ticket,
        topic: &str,
        result: &Result<(), String>,
    ) -> Option<UplinkEvent> {
        let State::Up(up) = &mut self.state else { return None };
        up.answered = true;
        if let (Err(reason), true) = (result, self.probes.is_probe(topic))
            && self.way.is_away(reason)
        {
            debug!("no message to itself: {reason}");
            return None;
        }
        let acked = up.loopback.acked(ticket, result, &mut self.probes);
        let what = if self.probes.is_probe(topic) {
            Published::Probe
        } else if topic == self.presence_topic {
            Published::Presence
        } else {
            Published::Answer
        };
        match result {
            Ok(()) => self.taken(what),
            // The last level of its topic is another each time.
            Err(reason) if what == Published::Probe => self.refused(what, &self.probes.pattern(), reason),
            Err(reason) => self.refused(what, topic, reason),
        }
        if let Acked::Refused { awaited: true } = acked {
            // Nothing will say that what came before it is in; a new connection starts clean.
            let why = format!("{} refused a message of the gateway to itself", self.way.who());
            self.note("probe_refused", &why);
            self.enter(wait(self.way.settles_in()));
            return Some(UplinkEvent::Down);
        }
        if let (Published::Presence, Err(_), State::Up(up)) = (what, result, &mut self.state) {
            up.correction.get_or_insert_with(|| Box::pin(tokio::time::sleep(PRESENCE_AGAIN)));
        }
        None
    }

    /// Tells it once, until one of its kind was taken.
    pub(super) fn refused(&mut self, what: Published, topic: &str, reason: &str) {
        if !self.refusals.refused(what, topic, reason) {
            return;
        }
        let who = self.way.who();
        if what == Published::Probe {
            error!(
                see = "probe-refused",
                "{who} refused a message of this gateway to itself: {reason}; {}; it is tried again; until it takes one, a \
                 lost subscription will not be found",
                remedy(reason, topic)
            );
        } else {
            error!(
                see = "publish-refused",
                "{who} refused {}: {topic}: {reason}; {}",
                if what == Published::Presence {
                    "this gateway's presence"
                } else {
                    "an answer of this gateway"
                },
                remedy(reason, topic)
            );
        }
    }

    pub(super) fn taken(&mut self, what: Published) {
        if self.refusals.taken(what) {
            info!(
                "{} takes this gateway's {} again",
                self.way.who(),
                match what {
                    Published::Answer => "answers",
                    Published::Presence => "presence",
                    Published::Probe => "messages to itself",
                }
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_at_its_limit_has_no_wrong_policy() {
        for (reason, expected) in [
            ("NotAuthorized", "let its policy allow this gateway to publish to a/b"),
            ("it ends the connection instead of taking a message", "let its policy"),
            ("QuotaExceeded", "see its limits"),
            ("ImplementationSpecificError", "look into the broker's log"),
        ] {
            assert!(remedy(reason, "a/b").contains(expected), "{reason}");
        }
    }

    #[test]
    fn a_refusal_lasts_until_the_next_of_its_kind_is_taken() {
        let mut refusals = Refusals::default();
        assert!(refusals.refused(Published::Answer, "a", "no"));
        assert!(!refusals.refused(Published::Answer, "b", "no"), "told already");
        assert!(refusals.refused(Published::Presence, "p", "no"));
        assert!(!refusals.taken(Published::Probe), "it never was");
        assert!(refusals.taken(Published::Answer) && !refusals.taken(Published::Answer));
        assert_eq!(refusals.now().keys().collect::<Vec<_>>(), [&Published::Presence]);
        assert_eq!(Published::ALL.map(|what| refusals.count(what)), [2, 1, 0]);
        assert!(refusals.refused(Published::Answer, "a", "no"), "anew");
    }
}
