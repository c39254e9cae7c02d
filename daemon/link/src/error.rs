//! What can go wrong with a link, told so that a person knows whether there is something to mend.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{StateError, mqttbytes};

use crate::options::Options;

/// Why a connection could not be opened, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The options make no connection.
    #[error("the link cannot be opened: {what}")]
    Options {
        /// What is wrong with them.
        what: &'static str,
    },
    /// Plain TCP to another machine.
    #[error("plain TCP to {host} is refused because it is not on this machine; configure TLS")]
    PlainNotLoopback {
        /// The broker's host.
        host: String,
    },
    /// The broker's name has no address.
    #[error("the name {host:?} of the broker was not resolved; check it and the name server")]
    Resolve {
        /// The broker's host.
        host: String,
        /// What the resolver said; nothing when it found no address.
        #[source]
        source: Option<io::Error>,
    },
    /// No TCP connection.
    #[error("the broker at {address} cannot be reached")]
    Dial {
        /// The last address tried.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// [`crate::Options::connect_timeout`] has passed.
    #[error("the broker at {host}:{port} did not answer within {} ms", .after.as_millis())]
    ConnectTimeout {
        /// The broker's host.
        host: String,
        /// The broker's port.
        port: u16,
        /// The bound.
        after: Duration,
    },
    /// TLS failed because of the broker's certificate or its protocol.
    #[error("TLS with {host} failed: {problem}")]
    Tls {
        /// The broker's host.
        host: String,
        /// What that means here.
        problem: &'static str,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// The broker does not want our client certificate.
    #[error("the broker rejected this gateway's certificate ({alert}); register and activate it there")]
    CertificateRejected {
        /// The TLS alert.
        alert: String,
    },
    /// CONNACK said no.
    #[error("the broker refused the connection: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// The broker closed before CONNACK, as AWS IoT Core does when the policy does not allow the client id.
    #[error(
        "the broker closed the connection instead of accepting it; check that its policy allows this client id"
    )]
    ClosedAtConnect,
    /// The broker said why it ends the connection.
    #[error("the broker ended the connection: {reason}")]
    Disconnected {
        /// Why.
        reason: Disconnect,
    },
    /// The connection broke.
    #[error("the connection to the broker was lost")]
    Lost {
        /// What the kernel said; nothing when the broker just closed it.
        #[source]
        source: Option<io::Error>,
    },
    /// Something was left unanswered.
    #[error("the broker left {what} unanswered for {} ms", .after.as_millis())]
    Silent {
        /// What it should have answered.
        what: &'static str,
        /// The bound, [`crate::Options::user_timeout`].
        after: Duration,
    },
    /// A packet above [`crate::Options::max_packet_size`] came in.
    #[error("the broker sent a packet of {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// The packet's size in bytes.
        size: usize,
        /// The limit in bytes.
        max: u32,
    },
    /// The broker sent something that is not MQTT 5.
    #[error("the broker broke the protocol: {what}")]
    Protocol {
        /// What was wrong.
        what: String,
    },
    /// A bug in this program.
    #[error("the link failed inside: {what}; this is a bug")]
    Internal {
        /// What happened.
        what: String,
    },
    /// This side has ended the connection.
    #[error("the link is closed")]
    Closed,
}

impl LinkError {
    /// Whether the broker turned down who we are: the certificate, or what its policy allows.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::CertificateRejected { .. } | Self::ClosedAtConnect => true,
            Self::Refused { refusal } => !matches!(refusal, Refusal::Busy | Refusal::Other(_)),
            Self::Disconnected { reason } => matches!(reason, Disconnect::NotAuthorised),
            Self::Options { .. }
            | Self::PlainNotLoopback { .. }
            | Self::Resolve { .. }
            | Self::Tls { .. }
            | Self::Internal { .. }
            | Self::Dial { .. }
            | Self::ConnectTimeout { .. }
            | Self::Lost { .. }
            | Self::Silent { .. }
            | Self::TooLarge { .. }
            | Self::Protocol { .. }
            | Self::Closed => false,
        }
    }

    /// Whether waiting will not help: a person must mend a setting, a certificate, a policy or a name. The daemon
    /// tries again all the same; it only says so more loudly.
    #[must_use]
    pub const fn needs_mending(&self) -> bool {
        let is_ours = matches!(
            self,
            Self::Options { .. }
                | Self::PlainNotLoopback { .. }
                | Self::Resolve { .. }
                | Self::Tls { .. }
                | Self::Internal { .. }
                | Self::Disconnected { reason: Disconnect::TakenOver }
        );
        is_ours || self.is_refusal()
    }
}

impl LinkError {
    /// One word for it, for counting: there are few, and they do not change.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Options { .. } | Self::PlainNotLoopback { .. } => "options",
            Self::Resolve { .. } => "name",
            Self::Dial { .. } => "unreachable",
            Self::ConnectTimeout { .. } => "timeout",
            Self::Tls { .. } => "tls",
            Self::CertificateRejected { .. } => "certificate",
            Self::Refused { .. } | Self::ClosedAtConnect => "refused",
            Self::Disconnected { reason: Disconnect::TakenOver } => "taken_over",
            Self::Disconnected { .. } => "ended_by_broker",
            Self::Lost { .. } => "lost",
            Self::Silent { .. } => "silent",
            Self::TooLarge { .. } | Self::Protocol { .. } => "protocol",
            Self::Internal { .. } => "internal",
            Self::Closed => "closed",
        }
    }
}

/// Why CONNACK said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not authorised.
    #[error("not authorised; check the policy and the certificate")]
    NotAuthorised,
    /// The client id.
    #[error("it does not accept this client id")]
    ClientId,
    /// User name or password.
    #[error("it does not accept this user name or password")]
    Credentials,
    /// MQTT 5.
    #[error("it does not speak MQTT 5")]
    Version,
    /// The will: its topic, size, retain flag or `QoS`.
    #[error("it does not accept the last will")]
    Will,
    /// Busy, limited or away for now.
    #[error("it is busy or unavailable for now")]
    Busy,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<ConnectReturnCode> for Refusal {
    fn from(code: ConnectReturnCode) -> Self {
        use ConnectReturnCode as Code;
        match code {
            Code::NotAuthorized | Code::Banned => Self::NotAuthorised,
            Code::BadClientId | Code::ClientIdentifierNotValid => Self::ClientId,
            Code::BadUserNamePassword | Code::BadAuthenticationMethod => Self::Credentials,
            Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => Self::Version,
            Code::TopicNameInvalid
            | Code::PayloadFormatInvalid
            | Code::RetainNotSupported
            | Code::QoSNotSupported => Self::Will,
            Code::ServiceUnavailable
            | Code::ServerUnavailable
            | Code::ServerBusy
            | Code::QuotaExceeded
            | Code::ConnectionRateExceeded => Self::Busy,
            Code::Success
            | Code::UnspecifiedError
            | Code::MalformedPacket
            | Code::ProtocolError
            | Code::ImplementationSpecificError
            | Code::PacketTooLarge
            | Code::UseAnotherServer
            | Code::ServerMoved => Self::Other(format!("{code:?}")),
        }
    }
}

/// Why the broker says it ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// Another connection came with the same client id.
    #[error("another connection uses the same client id; give each its own")]
    TakenOver,
    /// Not authorised.
    #[error("not authorised; check the policy")]
    NotAuthorised,
    /// It shuts down, is busy or limits us.
    #[error("it is shutting down, busy or limiting this gateway")]
    Busy,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Disconnect {
    pub(crate) fn new(code: DisconnectReasonCode, text: Option<&str>) -> Self {
        use DisconnectReasonCode as Code;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "29 codes, of which few mean anything to a person"
        )]
        match code {
            Code::SessionTakenOver => Self::TakenOver,
            Code::NotAuthorized => Self::NotAuthorised,
            Code::ServerBusy
            | Code::ServerShuttingDown
            | Code::MessageRateTooHigh
            | Code::QuotaExceeded
            | Code::ConnectionRateExceeded
            | Code::AdministrativeAction => Self::Busy,
            other => {
                Self::Other(text.map_or_else(|| format!("{other:?}"), |text| format!("{other:?}, {text}")))
            }
        }
    }
}

impl LinkError {
    /// What came in is no MQTT 5.
    pub(crate) fn from_bytes(error: mqttbytes::Error) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "27 ways in which bytes are no packet, and one that means something else"
        )]
        match error {
            mqttbytes::Error::PayloadSizeLimitExceeded { pkt_size, max } => {
                Self::TooLarge { size: pkt_size, max }
            }
            other => Self::Protocol { what: other.to_string() },
        }
    }

    /// A packet does not belong where it came.
    pub(crate) fn from_state(error: StateError, options: &Options) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all others mean that a packet came that nobody asked for"
        )]
        match error {
            StateError::AwaitPingResp | StateError::CollisionTimeout => {
                Self::Silent { what: "a ping", after: options.keep_alive }
            }
            other => Self::Protocol { what: other.to_string() },
        }
    }

    /// The stream has failed, or was closed by the other side.
    pub(crate) fn from_stream(error: Option<io::Error>, connected: bool) -> Self {
        match error {
            None if !connected => Self::ClosedAtConnect,
            None => Self::Lost { source: None },
            Some(error) => match rustls_error(&error).and_then(rejected) {
                // TLS 1.3: the verdict on our certificate comes after the handshake.
                Some(alert) => Self::CertificateRejected { alert },
                None if !connected && error.kind() == io::ErrorKind::UnexpectedEof => Self::ClosedAtConnect,
                None => Self::Lost { source: Some(error) },
            },
        }
    }

    /// What a failed handshake means.
    pub(crate) fn from_handshake(error: io::Error, host: &str) -> Self {
        let Some(source) = rustls_error(&error) else {
            return Self::Lost { source: Some(error) };
        };
        if let Some(alert) = rejected(source) {
            return Self::CertificateRejected { alert };
        }
        Self::Tls { host: host.to_owned(), problem: crate::tls::problem(source), source: source.clone() }
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// The alerts by which a broker turns down a client certificate.
fn rejected(error: &rustls::Error) -> Option<String> {
    use rustls::AlertDescription as Alert;
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other errors and alerts mean something else")]
    match error {
        rustls::Error::AlertReceived(
            alert @ (Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            // OpenSSL, when the name of the authority fits and its signature does not.
            | Alert::DecryptError
            | Alert::AccessDenied),
        ) => Some(format!("{alert:?}")),
        _ => None,
    }
}
