//! The wire between the cloud side and a gateway: topics, payloads, statuses.
//!
//! This crate says what a message may look like and refuses everything else, on both sides alike. It reads no clock,
//! does no I/O and decides nothing. The rules are those of "The wire" in `docs/SPECIFICATION.md`.

mod level;
mod methods;
mod object;
mod outcome;
mod polled;
mod presence;
mod reply;
mod request;
mod status;
mod topic;

#[cfg(test)]
mod tests;

pub use level::{Level, LevelError};
pub use methods::{MAX_PAGE_LEN, METHODS_METHOD, MethodEntry, MethodsPage, MethodsQuery};
pub use object::ObjectError;
pub use outcome::{CallState, Ending, OUTCOME_METHOD, OutcomeQuery, OutcomeReport};
pub use polled::PolledValue;
pub use presence::Presence;
pub use reply::{ErrorBody, GatewayStamp, Reply, ReplyStatus, Timing};
pub use request::{Dropped, Fault, MAX_CALLER_LEN, MAX_TIMEOUT_MS, NotAfter, Received, Request};
pub use serde_json::value::RawValue;
pub use status::{Outcome, Status};
pub use topic::{PresenceTopic, ReplyTopic, RequestTopic, TopicError};
pub use uuid::Uuid;

/// The largest payload, in bytes: AWS IoT Core's limit.
pub const MAX_PAYLOAD_LEN: usize = 128 * 1024;

/// The longest topic, in bytes: AWS IoT Core's limit.
pub const MAX_TOPIC_LEN: usize = 256;

/// The most levels a topic may have: AWS IoT Core allows 7 slashes.
pub const MAX_TOPIC_LEVELS: usize = 8;
