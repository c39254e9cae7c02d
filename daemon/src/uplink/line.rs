//! The two kinds of connection, so that nothing else has to know which one it is. Decides nothing.

use std::time::Duration;

use nowd_link::{Connection, Event, LinkError, Movement, Options, Publish, Qos, SendError, Ticket};
use nowd_protocol::MAX_PAYLOAD_LEN;

use super::refusals::UNAUTHORIZED;
use super::relay::{Relay, RelayError, RelaySender};

/// The classic nucleus takes back the subscription of a connection that has ended by asking AWS, and a new one to the same topics that
/// comes before AWS has answered dies with it, granted and deaf.
const SETTLES_IN: Duration = Duration::from_secs(1);

/// How to reach the broker.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// By a connection of its own.
    Direct(Options),
    /// Through the nucleus of Greengrass.
    Relay(RelayOptions),
}

/// How to reach it through the nucleus.
#[derive(Debug, Clone)]
pub(crate) struct RelayOptions {
    /// Nothing where no nucleus has started this process.
    pub(crate) nucleus: Option<nowd_greengrass::Options>,
    /// How long a message of the gateway to itself may be under way.
    pub(crate) silence: Duration,
}

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Line {
    Direct(Connection),
    Relay(Box<Relay>),
}

/// Its sending half. Never waits, and never outlives its connection.
#[derive(Debug, Clone)]
pub(crate) enum Sender {
    Direct(nowd_link::Sender),
    Relay(RelaySender),
}

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error(transparent)]
    Direct(#[from] LinkError),
    #[error(transparent)]
    Relay(#[from] RelayError),
}

impl Way {
    /// How long the other end may leave something unanswered.
    pub(crate) const fn silence(&self) -> Duration {
        match self {
            Self::Direct(options) => options.user_timeout,
            Self::Relay(options) => options.silence,
        }
    }

    /// How long a connection may take to open.
    pub(super) fn connect_timeout(&self) -> Duration {
        match self {
            Self::Direct(options) => options.connect_timeout,
            // Dialling, and the question which nucleus it is.
            Self::Relay(options) => {
                let opened = options.nucleus.as_ref().map(|nucleus| nucleus.open_timeout);
                opened.unwrap_or_default().saturating_add(Duration::from_secs(2))
            }
        }
    }

    /// How long after the end of a connection the next one is opened at the earliest.
    pub(super) const fn settles_in(&self) -> Duration {
        match self {
            Self::Direct(_) => Duration::ZERO,
            Self::Relay(_) => SETTLES_IN,
        }
    }

    /// Whether whoever refused a message for this reason only cannot pass it on now. Then the message does not come back, as one that
    /// was lost; it is not that such messages are refused.
    pub(super) fn is_away(&self, reason: &str) -> bool {
        matches!(self, Self::Relay(_)) && !reason.starts_with(UNAUTHORIZED)
    }

    /// Whether a subscription that is granted may be deaf.
    pub(super) const fn may_be_deaf(&self) -> bool {
        matches!(self, Self::Relay(_))
    }

    /// What a subscription that is lost means, for people: what has happened, without its object.
    pub(super) const fn lost(&self) -> &'static str {
        match self {
            Self::Direct(_) => "the broker has lost",
            Self::Relay(_) => "the nucleus is not connected to AWS, or has lost",
        }
    }

    /// Where that is, for people.
    pub(crate) fn endpoint(&self) -> String {
        match self {
            Self::Direct(options) => format!("{}:{}", options.host, options.port),
            Self::Relay(_) => "AWS IoT Core, through the Greengrass nucleus".into(),
        }
    }

    /// Who takes what is sent, for people.
    pub(super) const fn who(&self) -> &'static str {
        match self {
            Self::Direct(_) => "the broker",
            Self::Relay(_) => "the nucleus",
        }
    }

    /// As the configuration names it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Direct(_) => "direct",
            Self::Relay(_) => "greengrass",
        }
    }
}

impl Line {
    pub(super) async fn open(way: Way) -> Result<Self, LineError> {
        Ok(match way {
            Way::Direct(options) => Self::Direct(Connection::open(&options).await?),
            Way::Relay(options) => Self::Relay(Box::new(Relay::open(options.nucleus).await?)),
        })
    }

    pub(super) fn sender(&self) -> Sender {
        match self {
            Self::Direct(connection) => Sender::Direct(connection.sender()),
            Self::Relay(relay) => Sender::Relay(relay.sender()),
        }
    }

    /// The next event. May be dropped while waiting; nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Event, LineError> {
        Ok(match self {
            Self::Direct(connection) => connection.next().await?,
            Self::Relay(relay) => relay.next().await?,
        })
    }

    /// The loops of its own, for whoever must know whether they stand still.
    pub(super) fn movements(&self) -> Option<[Movement; 2]> {
        match self {
            Self::Direct(connection) => Some(connection.movements()),
            Self::Relay(_) => None,
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Direct(connection) => connection.close().await,
            Self::Relay(relay) => relay.close().await,
        }
    }
}

impl Sender {
    pub(crate) fn publish(&self, publish: Publish) -> Result<Ticket, SendError> {
        match self {
            Self::Direct(sender) => sender.publish(publish),
            Self::Relay(sender) => sender.publish(publish),
        }
    }

    /// Subscribes to requests, and to the gateway's own presence where somebody else may have the last word on it.
    pub(super) fn subscribe(&self, requests: String, presence: String) -> Result<Ticket, SendError> {
        match self {
            Self::Direct(sender) => sender.subscribe(&[requests, presence], Qos::AtLeastOnce),
            Self::Relay(sender) => sender.subscribe(requests),
        }
    }

    /// The longest payload that can be published, in bytes.
    pub(crate) const fn most_payload(&self) -> usize {
        match self {
            Self::Direct(_) => MAX_PAYLOAD_LEN,
            Self::Relay(sender) => sender.most_payload(),
        }
    }

    /// How a message of the gateway to itself is sent. A nucleus keeps `QoS` 1 while it is offline, and sends it when nobody asks any
    /// more; one that is lost says the same.
    pub(super) const fn probe_qos(&self) -> Qos {
        match self {
            Self::Direct(_) => Qos::AtLeastOnce,
            Self::Relay(_) => Qos::AtMostOnce,
        }
    }
}

impl LineError {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Direct(e) => e.kind(),
            Self::Relay(e) => e.kind(),
        }
    }

    pub(super) const fn needs_mending(&self) -> bool {
        match self {
            Self::Direct(e) => e.needs_mending(),
            Self::Relay(e) => e.needs_mending(),
        }
    }

    /// Of a connection of its own.
    pub(super) const fn direct(&self) -> Option<&LinkError> {
        match self {
            Self::Direct(e) => Some(e),
            Self::Relay(_) => None,
        }
    }
}
