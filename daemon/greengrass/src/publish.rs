//! What is published to AWS IoT Core through the nucleus.
//!
//! Checks no topic and no size but the frame's: the nucleus does, each in its own way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// How sure a message is to arrive at the nucleus's broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    #[default]
    AtLeastOnce,
}

impl Qos {
    /// As the protocol writes it: a text.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::AtMostOnce => "0",
            Self::AtLeastOnce => "1",
        }
    }
}

/// A message to publish. What stands after `retain` is MQTT 5's; nucleus lite drops it, and so does a classic one whose
/// connection is MQTT 3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// The topic.
    pub topic: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// How sure.
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// Keys and values.
    pub user_properties: Vec<(String, String)>,
    /// Seconds after which a broker drops it.
    pub expiry: Option<u32>,
    /// What the answer is to repeat.
    pub correlation_data: Option<Vec<u8>>,
    /// Where the answer is to go.
    pub response_topic: Option<String>,
    /// What the payload is, as a MIME type.
    pub content_type: Option<String>,
}

impl Publish {
    /// Fields that say nothing are left out, since a nucleus may not know them.
    pub(crate) fn request(&self) -> Value {
        let mut request = Map::new();
        let mut put = |name: &str, value: Value| drop(request.insert(name.to_owned(), value));
        put("topicName", json!(self.topic));
        put("qos", json!(self.qos.text()));
        put("payload", json!(STANDARD.encode(&self.payload)));
        if self.retain {
            put("retain", json!(true));
        }
        if !self.user_properties.is_empty() {
            let pairs = self.user_properties.iter().map(|(key, value)| json!({"key": key, "value": value}));
            put("userProperties", pairs.collect());
        }
        if let Some(seconds) = self.expiry {
            put("messageExpiryIntervalSeconds", json!(seconds));
        }
        if let Some(data) = &self.correlation_data {
            put("correlationData", json!(STANDARD.encode(data)));
        }
        if let Some(topic) = &self.response_topic {
            put("responseTopic", json!(topic));
        }
        if let Some(kind) = &self.content_type {
            put("contentType", json!(kind));
        }
        Value::Object(request)
    }
}
