//! The response of a method that the gateway reads by itself.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::reply::ErrorBody;

/// The last value that was read, and how old it is.
#[derive(Debug, Clone, Serialize)]
pub struct PolledValue<'a> {
    /// What the method gave back.
    pub value: &'a RawValue,
    /// How long ago its read began, in milliseconds, rounded up: the value is no older.
    pub age_ms: u64,
    /// Why it could not be read since; absent if the last read was good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

impl PolledValue<'_> {
    /// The response that says this.
    #[must_use]
    pub fn response(&self) -> Box<RawValue> {
        // Structs of plain fields: serialising cannot fail.
        to_raw_value(self).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }
}
