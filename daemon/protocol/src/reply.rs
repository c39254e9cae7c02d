//! The reply: how a call ended, what is known of the physical world, and the gateway's clock.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::object::{self, ObjectError};
use crate::status::{Outcome, Status};

/// A reply as its payload states it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The call's id.
    pub id: Uuid,
    /// What the method gave back; `null` where it gave nothing.
    pub response: Box<RawValue>,
    /// How the call ended.
    pub status: ReplyStatus,
    /// What is known of the physical world.
    pub outcome: Outcome,
    /// The error, where there is one.
    pub error: Option<ErrorBody>,
    /// Where the time went in the gateway.
    pub timing: Option<Timing>,
    /// Which attempt is answered; absent in replies of the public sample's devices.
    pub attempt: Option<u32>,
    /// The gateway's clock and version; absent in replies of the public sample's devices.
    pub gateway: Option<GatewayStamp>,
}

/// A status, which may be newer than this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyStatus {
    /// One of the table.
    Known(Status),
    /// Another word, to be judged by the reply's outcome.
    Other(String),
}

impl ReplyStatus {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(status) => status.as_str(),
            Self::Other(word) => word,
        }
    }

    /// The code of an HTTP answer: the table's, or by the outcome.
    #[must_use]
    pub const fn http(&self, outcome: Outcome) -> u16 {
        match (self, outcome) {
            (Self::Known(status), _) => status.http(),
            (Self::Other(_), Outcome::Executed) => 200,
            (Self::Other(_), Outcome::NotExecuted) => 503,
            (Self::Other(_), Outcome::Unknown) => 504,
        }
    }
}

/// An error in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Where the time went in the gateway, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// From receipt to the start of the plugin's work: admission and the wait in the lane.
    pub queue: u64,
    /// The plugin's work: from start to result, or to the deadline.
    pub plugin: u64,
    /// From receipt to the reply.
    pub total: u64,
}

/// The gateway's clock, heard with every reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStamp {
    /// The start of the gateway's process.
    pub incarnation: Uuid,
    /// Its steady clock when it replied, in microseconds.
    pub now: u64,
    /// The same clock, in microseconds, when requests began to come to this process and to no other: when its subscription
    /// was granted on the connection that the reply goes out on. What was sent before may have reached another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

#[derive(Deserialize)]
struct Fields {
    id: Uuid,
    response: Option<Box<RawValue>>,
    status: Option<String>,
    outcome: Option<String>,
    error: Option<ErrorBody>,
    timing: Option<Timing>,
    attempt: Option<u32>,
    gateway: Option<GatewayStamp>,
}

#[derive(Serialize)]
struct Payload<'a> {
    id: Uuid,
    response: &'a RawValue,
    status: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<Timing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a GatewayStamp>,
}

/// Most payloads fit into so much besides the response and the texts of the error.
const USUAL_LEN: usize = 384;

impl Reply {
    /// Reads a reply. Unknown fields are ignored, and a status and outcome that contradict each other are `unknown`.
    ///
    /// A reply with neither is the public sample's, whose devices answer only what they have done: `ok`.
    pub fn parse(payload: &[u8]) -> Result<Self, ObjectError> {
        let fields: Fields = object::parse(payload)?;
        let (status, outcome) = judge(fields.status, fields.outcome.as_deref());
        Ok(Self {
            id: fields.id,
            response: fields.response.unwrap_or_else(|| RawValue::NULL.to_owned()),
            status,
            outcome,
            error: fields.error,
            timing: fields.timing,
            attempt: fields.attempt,
            gateway: fields.gateway,
        })
    }

    /// The payload that states this reply.
    #[must_use]
    pub fn payload(&self) -> String {
        let payload = Payload {
            id: self.id,
            response: &self.response,
            status: self.status.as_str(),
            outcome: self.outcome.as_str(),
            error: self.error.as_ref(),
            timing: self.timing,
            attempt: self.attempt,
            gateway: self.gateway.as_ref(),
        };
        let error =
            self.error.as_ref().map_or(0, |error| error.code.len().saturating_add(error.message.len()));
        let mut json =
            Vec::with_capacity(USUAL_LEN.saturating_add(self.response.get().len()).saturating_add(error));
        // Only a map with keys that are no strings, or a failing Serialize, could make this fail; there is neither.
        match serde_json::to_writer(&mut json, &payload) {
            Ok(()) => String::from_utf8(json).unwrap_or_default(),
            Err(_) => String::new(),
        }
    }
}

fn judge(status: Option<String>, outcome: Option<&str>) -> (ReplyStatus, Outcome) {
    let Some(word) = status else {
        let outcome = match outcome {
            None => Outcome::Executed,
            Some(word) => Outcome::parse(word).unwrap_or(Outcome::Unknown),
        };
        return match outcome {
            Outcome::Executed => (ReplyStatus::Known(Status::Ok), outcome),
            Outcome::NotExecuted | Outcome::Unknown => (ReplyStatus::Other("none".into()), outcome),
        };
    };
    let told = outcome.and_then(Outcome::parse);
    match Status::parse(&word) {
        None => (ReplyStatus::Other(word), told.unwrap_or(Outcome::Unknown)),
        Some(status) => {
            let outcome = match (status.outcome(), told) {
                (Some(fixed), Some(told)) if fixed == told => fixed,
                (Some(fixed), None) if outcome.is_none() => fixed,
                (None, Some(told)) => told,
                (Some(_) | None, _) => Outcome::Unknown,
            };
            (ReplyStatus::Known(status), outcome)
        }
    }
}
