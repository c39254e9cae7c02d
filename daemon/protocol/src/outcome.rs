//! `nowd.outcome`, the method by which a caller asks what became of an earlier call of its own.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::object::one_line;
use crate::reply::ErrorBody;
use crate::status::Outcome;

/// The method's name.
pub const OUTCOME_METHOD: &str = "nowd.outcome";

/// The method's parameters: which call is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeQuery {
    /// The call's id.
    pub id: Uuid,
}

/// The method's response: what is known of the call.
#[derive(Debug, Clone, Serialize)]
pub struct OutcomeReport {
    /// Where the call stands.
    pub state: CallState,
    /// How it was answered; absent while it has not been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Ending>,
    /// What the plugin said after the deadline, when the answer had been given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<Ending>,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// In its lane, not started.
    Waiting,
    /// Started; the plugin is not done with it. It may have been answered `timeout` already.
    Running,
    /// Over.
    Ended,
    /// The gateway knows of no such call of this caller: it never came, or was forgotten, or somebody else made it.
    NotKnown,
}

/// How a call ended.
#[derive(Debug, Clone, Serialize)]
pub struct Ending {
    /// A word of the status table.
    pub status: String,
    /// What is known of the physical world.
    pub outcome: Outcome,
    /// The error, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// What the method gave back, while it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Box<RawValue>>,
}

impl OutcomeQuery {
    /// Reads the parameters.
    pub fn parse(request: &RawValue) -> Result<Self, serde_json::Error> {
        // A derived `Deserialize` would take an array for a struct as well.
        if !request.get().starts_with('{') {
            return Err(serde::de::Error::custom("expected an object with the call's `id`"));
        }
        serde_json::from_str(request.get()).map_err(|e| serde::de::Error::custom(one_line(&e)))
    }

    /// The parameters that ask this.
    #[must_use]
    pub fn payload(&self) -> Box<RawValue> {
        raw(self)
    }
}

impl OutcomeReport {
    /// A report that says no more than where the call stands.
    #[must_use]
    pub const fn bare(state: CallState) -> Self {
        Self { state, answer: None, late: None }
    }

    /// The response that says this.
    #[must_use]
    pub fn response(&self) -> Box<RawValue> {
        raw(self)
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    // Structs of plain fields: serialising cannot fail.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
