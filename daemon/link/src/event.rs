//! What a connection tells its owner.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS as WireQos;
use rumqttc::v5::mqttbytes::v5::{ConnAck, SubscribeReasonCode};

use crate::options::Options;
use crate::publish::{Properties, Qos};
use crate::sender::Ack;
use crate::tracker::Ticket;

/// Something happened on the connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message came in.
    Message(Message),
    /// The broker took a `QoS` 1 message, or says why not.
    Acked {
        /// Which one.
        ticket: Ticket,
        /// Where it was published.
        topic: String,
        /// The broker's reason, such as `NotAuthorized`.
        result: Result<(), String>,
    },
    /// SUBACK.
    Subscribed {
        /// Which request.
        ticket: Ticket,
        /// Each filter, and what was granted or why not, such as `NotAuthorized`.
        results: Vec<(String, Result<Qos, String>)>,
    },
    /// UNSUBACK.
    Unsubscribed {
        /// Which request.
        ticket: Ticket,
    },
}

/// A message from the broker. Its topic is not empty.
#[derive(Debug)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// What was published.
    pub payload: Bytes,
    /// The broker had kept it: it was published before the subscription.
    pub retain: bool,
    /// The broker may have delivered it before.
    pub dup: bool,
    /// How it was delivered.
    pub qos: Qos,
    /// What came with it.
    pub properties: Properties,
    /// It has been kept for a while because too much waited to be written, or others waited before it.
    pub held: bool,
    /// Present with `QoS` 1: to be used once, when the message is decided.
    pub ack: Option<Ack>,
}

/// What the broker said about itself at CONNACK, joined with our own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many of our `QoS` 1 messages may wait for an acknowledgement.
    pub inflight: u16,
    /// The largest packet that may be sent, in bytes.
    pub max_packet_size: u32,
    /// The best quality of service.
    pub max_qos: Qos,
    /// Whether it keeps retained messages.
    pub retain_available: bool,
    /// The keep-alive that holds, which may not be the one asked for; zero if the broker wants none.
    pub keep_alive: Duration,
}

impl Limits {
    pub(crate) fn new(connack: &ConnAck, options: &Options) -> Self {
        let said = connack.properties.as_ref();
        let keep_alive = said.and_then(|said| said.server_keep_alive);
        Self {
            inflight: said.and_then(|said| said.receive_max).unwrap_or(u16::MAX).min(options.inflight),
            max_packet_size: said
                .and_then(|said| said.max_packet_size)
                .unwrap_or(u32::MAX)
                .min(options.max_packet_size),
            max_qos: match said.and_then(|said| said.max_qos) {
                Some(0) => Qos::AtMostOnce,
                _ => Qos::AtLeastOnce,
            },
            retain_available: said.and_then(|said| said.retain_available) != Some(0),
            keep_alive: keep_alive.map_or(options.keep_alive, |seconds| Duration::from_secs(seconds.into())),
        }
    }
}

/// What was granted for one filter.
pub(crate) fn granted(code: SubscribeReasonCode) -> Result<Qos, String> {
    if let SubscribeReasonCode::Success(qos) = code {
        Ok(if qos == WireQos::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce })
    } else {
        Err(format!("{code:?}"))
    }
}
