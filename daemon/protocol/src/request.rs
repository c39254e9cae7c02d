//! The request: what it must hold, what is answered with `invalid_request`, and what is dropped without an answer.
//!
//! Only a message whose topic and id prove where an answer would go is answered. Everything else is [`Dropped`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::object::{self, ObjectError};
use crate::topic::{RequestTopic, TopicError};

/// The largest `timeout`, in milliseconds: an hour.
pub const MAX_TIMEOUT_MS: u64 = 60 * 60 * 1_000;

/// The longest `caller` and `traceparent`, in bytes: an IAM ARN may have 2,048.
pub const MAX_CALLER_LEN: usize = 2_048;

/// Timestamps end with the year 9999.
const MAX_TIMESTAMP_MS: u64 = 253_402_300_799_999;

/// A request as its topic and payload state it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it came and where the reply goes.
    pub topic: RequestTopic,
    /// When the caller made it: milliseconds since the epoch, by the caller's clock.
    pub timestamp: Option<u64>,
    /// The method's parameters, as they were sent.
    pub request: Box<RawValue>,
    /// The original budget in milliseconds.
    pub timeout: Option<u64>,
    /// The deadline in the gateway's own clock.
    pub not_after: Option<NotAfter>,
    /// Which sending of the same call this is, from 1.
    pub attempt: u32,
    /// Who asked, as the cloud side asserts.
    pub caller: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A deadline in the clock of the gateway that will judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NotAfter {
    /// The start of the process whose clock it is.
    pub incarnation: Uuid,
    /// That process's steady clock, in microseconds.
    pub at: u64,
}

/// A message that proves where its answer would go: a good request, or one with a fault to be answered.
#[derive(Debug, Clone)]
pub enum Received {
    /// A request to be judged.
    Request(Request),
    /// To be answered with `invalid_request`.
    Faulty(RequestTopic, Fault),
}

/// A field is not what the wire allows; the answer is `invalid_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be {expected}")]
pub struct Fault {
    /// The field's name.
    pub field: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

/// Why a message is dropped without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// The topic is none of ours.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The payload is no JSON object.
    #[error(transparent)]
    Payload(#[from] ObjectError),
    /// There is no `id`.
    #[error("`id` is missing")]
    NoId,
    /// `id` is no string.
    #[error("`id` is not a string")]
    IdNotAString,
    /// `id` is not the topic's.
    #[error("`id` is not the id in the topic")]
    IdDiffers,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    timeout: Option<&'a RawValue>,
    #[serde(borrow)]
    not_after: Option<&'a RawValue>,
    #[serde(borrow)]
    attempt: Option<&'a RawValue>,
    #[serde(borrow)]
    caller: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
}

impl Received {
    /// Reads a message.
    pub fn parse(topic: &str, payload: &[u8]) -> Result<Self, Dropped> {
        let topic = RequestTopic::parse(topic)?;
        let fields: Fields<'_> = object::parse(payload)?;
        check_id(fields.id, topic.id)?;
        Ok(match parse_fields(&fields) {
            Ok(partial) => Self::Request(partial.into_request(topic)),
            Err(fault) => Self::Faulty(topic, fault),
        })
    }
}

fn check_id(id: Option<&RawValue>, expected: Uuid) -> Result<(), Dropped> {
    let id = id.ok_or(Dropped::NoId)?;
    let id: Cow<'_, str> = serde_json::from_str::<CowStr<'_>>(id.get()).map_err(|_| Dropped::IdNotAString)?.0;
    let mut canonical = Uuid::encode_buffer();
    if *expected.hyphenated().encode_lower(&mut canonical) == *id { Ok(()) } else { Err(Dropped::IdDiffers) }
}

/// A string that is borrowed where it holds no escape.
#[derive(Deserialize)]
struct CowStr<'a>(#[serde(borrow)] Cow<'a, str>);

struct Partial {
    timestamp: Option<u64>,
    request: Box<RawValue>,
    timeout: Option<u64>,
    not_after: Option<NotAfter>,
    attempt: u32,
    caller: Option<String>,
    traceparent: Option<String>,
}

impl Partial {
    fn into_request(self, topic: RequestTopic) -> Request {
        let Self { timestamp, request, timeout, not_after, attempt, caller, traceparent } = self;
        Request { topic, timestamp, request, timeout, not_after, attempt, caller, traceparent }
    }
}

fn parse_fields(fields: &Fields<'_>) -> Result<Partial, Fault> {
    let timestamp = fields.timestamp.map(timestamp).transpose()?;
    let timeout =
        field(fields.timeout, "timeout", "a whole number of milliseconds from 1 to 3600000", |ms: &u64| {
            (1..=MAX_TIMEOUT_MS).contains(ms)
        })?;
    let not_after = field(
        fields.not_after,
        "not_after",
        "an object of `incarnation` (UUID) and `at` (microseconds, a whole number)",
        |_: &NotAfter| fields.not_after.is_some_and(|raw| raw.get().starts_with('{')),
    )?;
    let attempt = field(fields.attempt, "attempt", "a whole number from 1", |n: &u32| *n >= 1)?.unwrap_or(1);
    let short = |text: &String| text.len() <= MAX_CALLER_LEN;
    let caller = field(fields.caller, "caller", "a string of at most 2048 bytes", short)?;
    let traceparent = field(fields.traceparent, "traceparent", "a string of at most 2048 bytes", short)?;
    let request = match fields.request {
        Some(raw) => raw.to_owned(),
        None => RawValue::NULL.to_owned(),
    };
    Ok(Partial { timestamp, request, timeout, not_after, attempt, caller, traceparent })
}

fn field<T: serde::de::DeserializeOwned>(
    raw: Option<&RawValue>,
    field: &'static str,
    expected: &'static str,
    allowed: impl FnOnce(&T) -> bool,
) -> Result<Option<T>, Fault> {
    let Some(raw) = raw else { return Ok(None) };
    match serde_json::from_str(raw.get()) {
        Ok(value) if allowed(&value) => Ok(Some(value)),
        Ok(_) | Err(_) => Err(Fault { field, expected }),
    }
}

/// The public sample sends the milliseconds as a string.
fn timestamp(raw: &RawValue) -> Result<u64, Fault> {
    let fault = Fault {
        field: "timestamp",
        expected: "milliseconds since 1970, as a whole number or a string of digits",
    };
    let text = raw.get();
    let digits = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault);
    }
    digits.parse().ok().filter(|ms| *ms <= MAX_TIMESTAMP_MS).ok_or(fault)
}

impl Request {
    /// The payload that states this request.
    #[must_use]
    pub fn payload(&self) -> String {
        self.write(self.timestamp.map(Timestamp::Number))
    }

    /// The payload in the form of the public sample, whose `timestamp` is a string; the rest is kept beside it.
    #[must_use]
    pub fn compat_payload(&self) -> String {
        self.write(self.timestamp.map(|ms| Timestamp::Text(ms.to_string())))
    }

    fn write(&self, timestamp: Option<Timestamp>) -> String {
        let payload = Payload {
            id: self.topic.id,
            timestamp,
            request: &self.request,
            timeout: self.timeout,
            not_after: self.not_after,
            attempt: (self.attempt != 1).then_some(self.attempt),
            caller: self.caller.as_deref(),
            traceparent: self.traceparent.as_deref(),
        };
        // Only a map with keys that are no strings, or a failing Serialize, could make this fail; there is neither.
        serde_json::to_string(&payload).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    request: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<NotAfter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Timestamp {
    Number(u64),
    Text(String),
}
