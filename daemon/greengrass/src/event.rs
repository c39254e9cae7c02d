//! What the nucleus says by itself.
//!
//! Read when it is asked for, so that what waits is bytes and bounded. Numbers and booleans may be texts. What cannot be
//! read is told as such, and is the end of nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::error::Refusal;
use crate::table::{Subscription, Topic};

/// Something that the nucleus says by itself, on a subscription of ours.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A configuration has changed; ask for it anew.
    ConfigurationChanged {
        /// On which subscription.
        subscription: Subscription,
        /// Whose configuration; may be empty.
        component: String,
        /// What has changed in it; empty for all of it.
        key_path: Vec<String>,
    },
    /// A deployment wants to give us this configuration, and waits for [`crate::Client::report_validity`].
    Validate {
        /// On which subscription.
        subscription: Subscription,
        /// Which deployment; empty where the nucleus is too old to say so.
        deployment: String,
        /// All of the configuration that there would be.
        configuration: Value,
    },
    /// A deployment is about to replace components, perhaps this one: [`crate::Client::defer_update`] asks it to wait.
    BeforeUpdate {
        /// On which subscription.
        subscription: Subscription,
        /// Which deployment.
        deployment: String,
        /// Whether the nucleus restarts for it.
        nucleus_restarts: bool,
    },
    /// The deployment has done so.
    AfterUpdate {
        /// On which subscription.
        subscription: Subscription,
        /// Which deployment.
        deployment: String,
    },
    /// A message from AWS IoT Core.
    Message {
        /// On which subscription.
        subscription: Subscription,
        /// The message.
        message: Message,
    },
    /// The nucleus has ended a subscription of ours.
    Ended {
        /// Which.
        subscription: Subscription,
        /// Its reason, where it gave one.
        refusal: Option<Refusal>,
    },
    /// The nucleus said something on a subscription that cannot be read.
    Unreadable {
        /// On which subscription.
        subscription: Subscription,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A message from AWS IoT Core. Nucleus lite hands on topic and payload only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it; nothing where the nucleus does not say so.
    pub retain: Option<bool>,
    /// Keys and values.
    pub user_properties: Vec<(String, String)>,
    /// Seconds that were left to it.
    pub expiry: Option<u32>,
    /// What the answer is to repeat.
    pub correlation_data: Option<Vec<u8>>,
    /// Where the answer is to go.
    pub response_topic: Option<String>,
    /// What the payload is, as a MIME type.
    pub content_type: Option<String>,
}

impl Event {
    /// What `payload` says on a subscription to `topic`.
    #[must_use]
    pub fn read(subscription: Subscription, topic: Topic, payload: &[u8]) -> Self {
        let event = serde_json::from_slice::<Value>(payload)
            .map_err(|_| "it is not JSON")
            .and_then(|value| of(subscription, topic, &value));
        event.unwrap_or_else(|what| Self::Unreadable { subscription, what })
    }

    /// The subscription that it came on.
    #[must_use]
    pub const fn subscription(&self) -> Subscription {
        match self {
            Self::ConfigurationChanged { subscription, .. }
            | Self::Validate { subscription, .. }
            | Self::BeforeUpdate { subscription, .. }
            | Self::AfterUpdate { subscription, .. }
            | Self::Message { subscription, .. }
            | Self::Ended { subscription, .. }
            | Self::Unreadable { subscription, .. } => *subscription,
        }
    }
}

fn of(subscription: Subscription, topic: Topic, value: &Value) -> Result<Event, &'static str> {
    match topic {
        Topic::Configuration => {
            let event = part(value, "configurationUpdateEvent")?;
            let keys = event.get("keyPath").and_then(Value::as_array);
            Ok(Event::ConfigurationChanged {
                subscription,
                component: text(event, "componentName").unwrap_or_default(),
                key_path: keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            })
        }
        Topic::Validation => {
            let event = part(value, "validateConfigurationUpdateEvent")?;
            Ok(Event::Validate {
                subscription,
                // Older nuclei do not name it, and take any name in the report.
                deployment: text(event, "deploymentId").unwrap_or_default(),
                configuration: event.get("configuration").cloned().unwrap_or_default(),
            })
        }
        Topic::ComponentUpdates => {
            if let Ok(event) = part(value, "preUpdateEvent") {
                let nucleus_restarts = event.get("isGgcRestarting").and_then(boolean).unwrap_or(false);
                return Ok(Event::BeforeUpdate {
                    subscription,
                    deployment: deployment(event)?,
                    nucleus_restarts,
                });
            }
            let event = part(value, "postUpdateEvent")?;
            Ok(Event::AfterUpdate { subscription, deployment: deployment(event)? })
        }
        Topic::IotCore => Ok(Event::Message { subscription, message: message(part(value, "message")?)? }),
    }
}

fn message(value: &Value) -> Result<Message, &'static str> {
    let pairs = value.get("userProperties").and_then(Value::as_array).into_iter().flatten();
    Ok(Message {
        topic: text(value, "topicName").ok_or("it has no topicName")?,
        payload: bytes(value, "payload")?.unwrap_or_default(),
        retain: value.get("retain").and_then(boolean),
        user_properties: pairs.filter_map(|pair| Some((text(pair, "key")?, text(pair, "value")?))).collect(),
        expiry: value.get("messageExpiryIntervalSeconds").and_then(number),
        correlation_data: bytes(value, "correlationData")?,
        response_topic: text(value, "responseTopic"),
        content_type: text(value, "contentType"),
    })
}

fn part<'a>(value: &'a Value, name: &str) -> Result<&'a Value, &'static str> {
    value.get(name).filter(|part| part.is_object()).ok_or("it is not of the kind that was subscribed to")
}

fn deployment(event: &Value) -> Result<String, &'static str> {
    text(event, "deploymentId").ok_or("it has no deploymentId")
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn bytes(value: &Value, name: &str) -> Result<Option<Vec<u8>>, &'static str> {
    let encoded = value.get(name).and_then(Value::as_str);
    encoded.map(|text| STANDARD.decode(text)).transpose().map_err(|_| "its bytes are not base64")
}

fn boolean(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn number(value: &Value) -> Option<u32> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests;
