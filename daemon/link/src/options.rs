//! What one connection is told before it is opened. Nothing here touches the network.

use std::sync::Arc;
use std::time::Duration;

use crate::error::LinkError;
use crate::tls::Tls;

/// AWS IoT Core offers MQTT on this port too, where it is chosen by ALPN.
pub(crate) const HTTPS_PORT: u16 = 443;

/// How to reach the broker, and what to tell it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The MQTT client id. A second connection with the same id ends the first.
    pub client_id: String,
    /// The broker's name or address; the name that its certificate must bear.
    pub host: String,
    /// The broker's TCP port. On 443 the protocol is chosen by ALPN (`x-amzn-mqtt-ca`).
    pub port: u16,
    /// TLS; without it the link is plain TCP, which is only for loopback (see `allow_plain`).
    pub tls: Option<Arc<Tls>>,
    /// Allows plain TCP to a broker on another machine: everybody on the way reads and writes commands.
    pub allow_plain: bool,
    /// Time between two pings, 5 s to 65535 s (AWS IoT Core: 30 s to 1200 s); the broker may choose another.
    pub keep_alive: Duration,
    /// Bound of [`crate::Connection::open`] as a whole: name, TCP, TLS, CONNACK.
    pub connect_timeout: Duration,
    /// How long the other side may leave anything unanswered (TCP data, PUBACK, SUBACK, PINGRESP) before the
    /// connection is ended; 100 ms or more. It is found out within one and a quarter of this time.
    pub user_timeout: Duration,
    /// What the broker publishes should the connection end without a word.
    pub will: Option<Will>,
    /// The largest packet taken or sent, in bytes; the broker's own limit counts as well.
    pub max_packet_size: u32,
    /// How many `QoS` 1 messages the broker may have waiting for our acknowledgement, 1 or more.
    pub receive_maximum: u16,
    /// How many of our `QoS` 1 messages may wait for the broker's acknowledgement, 1 or more.
    pub inflight: u16,
}

/// The last will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// What is published, at most 65535 bytes. It goes out with `QoS` 1.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
}

impl Options {
    /// The usual values for a broker at `host` and `port`: no TLS, no will, keep-alive 30 s, 10 s to connect, 10 s for
    /// an answer, packets up to 160 KiB, 64 messages from the broker and 1,024 to it under way.
    #[must_use]
    pub fn new(client_id: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self {
            client_id: client_id.into(),
            host: host.into(),
            port,
            tls: None,
            allow_plain: false,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            user_timeout: Duration::from_secs(10),
            will: None,
            max_packet_size: 160 * 1024,
            receive_maximum: 64,
            inflight: 1_024,
        }
    }

    /// Refuses what the wire cannot carry.
    pub(crate) fn check(&self) -> Result<(), LinkError> {
        let seconds = self.keep_alive.as_secs();
        let wrong = if self.host.is_empty() {
            "the broker's host is empty"
        } else if self.port == 0 {
            "the broker's port is 0"
        } else if self.client_id.is_empty() || too_long(self.client_id.len()) || self.client_id.contains('\0')
        {
            "the client id is empty, longer than 65535 bytes or holds a NUL"
        } else if !(5..=u64::from(u16::MAX)).contains(&seconds) {
            "the keep-alive is not within 5 s and 65535 s"
        } else if self.user_timeout < Duration::from_millis(100) || self.connect_timeout.is_zero() {
            "the user timeout is below 100 ms or the connect timeout is zero"
        } else if self.receive_maximum == 0 || self.inflight == 0 || self.max_packet_size == 0 {
            "the receive maximum, the number of messages in flight or the packet size is 0"
        } else if self.will.as_ref().is_some_and(|will| {
            too_long(will.payload.len()) || crate::publish::check_topic(&will.topic).is_err()
        }) {
            "the will's topic is not a topic, or its payload is above 65535 bytes"
        } else {
            return Ok(());
        };
        Err(LinkError::Options { what: wrong })
    }
}

fn too_long(bytes: usize) -> bool {
    u16::try_from(bytes).is_err()
}
