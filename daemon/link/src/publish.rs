//! What may be published or subscribed to: checks that MQTT and AWS IoT Core make, made here first, because a broker
//! answers such a mistake by ending the connection.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS as WireQos;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

/// The longest topic or filter, in bytes (AWS IoT Core's limit).
pub const LONGEST_TOPIC: usize = 256;
/// The most filters in one SUBSCRIBE (AWS IoT Core's limit).
pub const MOST_FILTERS: usize = 8;
/// The longest text or data that fits in a property, in bytes.
const LONGEST_PROPERTY: usize = 65_535;

/// Quality of service; `QoS` 2 is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Qos {
    /// `QoS` 0: sent once, not acknowledged.
    AtMostOnce,
    /// `QoS` 1: acknowledged.
    #[default]
    AtLeastOnce,
}

impl From<Qos> for WireQos {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// Where to; at most [`LONGEST_TOPIC`] bytes, no wildcards.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// How it is to be delivered.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// What goes with it.
    pub properties: Properties,
}

/// The MQTT 5 properties in use, of messages in either direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// How long the broker may keep the message; on the wire in seconds, rounded up.
    pub message_expiry: Option<Duration>,
    /// Where the sender awaits an answer.
    pub response_topic: Option<String>,
    /// What ties an answer to its request.
    pub correlation_data: Option<Bytes>,
    /// The payload's media type.
    pub content_type: Option<String>,
}

/// Why a request was not taken. Nothing was sent, and nothing of it will be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has ended.
    #[error("the link is not connected")]
    NotConnected,
    /// Too much waits to be sent already.
    #[error("too many messages wait to be sent on the link")]
    Full,
    /// The packet is above the broker's limit or ours.
    #[error("the packet has {size} bytes, more than the {max} that the broker takes")]
    TooLarge {
        /// The packet's size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// No topic, or not one to publish to.
    #[error("{topic:?} is no topic: it is empty, above 256 bytes or holds a NUL or a wildcard")]
    Topic {
        /// The topic, or as much of it as is worth showing.
        topic: String,
    },
    /// No filter, or too many of them.
    #[error("{filter:?} is no topic filter, or there are not 1 to 8 of them")]
    Filter {
        /// The filter, or as much of it as is worth showing.
        filter: String,
    },
    /// A property that does not fit.
    #[error("the property {property} is too long or holds a NUL")]
    Property {
        /// The property's name.
        property: &'static str,
    },
    /// The broker said at CONNACK that it cannot do this.
    #[error("the broker does not offer {what}")]
    NotOffered {
        /// What was asked.
        what: &'static str,
    },
}

/// A topic to publish to.
pub(crate) fn check_topic(topic: &str) -> Result<(), SendError> {
    if topic.is_empty() || topic.len() > LONGEST_TOPIC || topic.contains(['+', '#', '\0']) {
        return Err(SendError::Topic { topic: excerpt(topic) });
    }
    Ok(())
}

/// A filter to subscribe to: `+` stands for a whole level, `#` for all that follow and only at the end.
pub(crate) fn check_filter(filter: &str) -> Result<(), SendError> {
    let mut levels = filter.split('/').rev();
    let last = levels.next().unwrap_or_default();
    let wrong = filter.is_empty()
        || filter.len() > LONGEST_TOPIC
        || filter.contains('\0')
        || (last.len() > 1 && last.contains(['+', '#']))
        || levels.any(|level| level.contains('#') || (level.len() > 1 && level.contains('+')));
    if wrong { Err(SendError::Filter { filter: excerpt(filter) }) } else { Ok(()) }
}

impl Properties {
    /// As rumqttc has it; nothing if there is nothing.
    pub(crate) fn to_wire(&self) -> Result<Option<PublishProperties>, SendError> {
        check_text("response topic", self.response_topic.as_deref())?;
        check_text("content type", self.content_type.as_deref())?;
        if self.correlation_data.as_ref().is_some_and(|data| data.len() > LONGEST_PROPERTY) {
            return Err(SendError::Property { property: "correlation data" });
        }
        if *self == Self::default() {
            return Ok(None);
        }
        Ok(Some(PublishProperties {
            message_expiry_interval: self.message_expiry.map(whole_seconds),
            response_topic: self.response_topic.clone(),
            correlation_data: self.correlation_data.clone(),
            content_type: self.content_type.clone(),
            ..PublishProperties::default()
        }))
    }

    pub(crate) fn from_wire(wire: PublishProperties) -> Self {
        Self {
            message_expiry: wire.message_expiry_interval.map(|seconds| Duration::from_secs(seconds.into())),
            response_topic: wire.response_topic,
            correlation_data: wire.correlation_data,
            content_type: wire.content_type,
        }
    }
}

fn check_text(property: &'static str, text: Option<&str>) -> Result<(), SendError> {
    if text.is_some_and(|text| text.len() > LONGEST_PROPERTY || text.contains('\0')) {
        return Err(SendError::Property { property });
    }
    Ok(())
}

/// Rounded up: a broker must not drop what may still be in time.
fn whole_seconds(duration: Duration) -> u32 {
    let up = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u32::try_from(up).unwrap_or(u32::MAX)
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_filters() {
        for (text, topic, filter) in [
            ("gate-1/open/app/1", true, true),
            ("/", true, true),
            ("$aws/things", true, true),
            ("", false, false),
            ("a\0b", false, false),
            ("+/+/ack", false, true),
            ("a/#", false, true),
            ("#", false, true),
            ("a/#/b", false, false),
            ("a+/b", false, false),
            ("a/b#", false, false),
            (&"x".repeat(256), true, true),
            (&"x".repeat(257), false, false),
        ] {
            assert_eq!(check_topic(text).is_ok(), topic, "topic {text:?}");
            assert_eq!(check_filter(text).is_ok(), filter, "filter {text:?}");
        }
    }

    #[test]
    fn expiry_is_rounded_up() {
        for (millis, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn a_property_that_would_be_cut_off_is_refused() {
        let properties =
            Properties { correlation_data: Some(vec![0; 65_536].into()), ..Properties::default() };
        assert!(matches!(properties.to_wire(), Err(SendError::Property { .. })));
    }
}
