//! Presence: whether a gateway is connected, by which session, and since when.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::object::{self, ObjectError};

/// What a gateway says of itself, retained; as last will with `online: false`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the session is connected.
    pub online: bool,
    /// The connection: new for each, so that an old will can be told from a new one.
    pub session: Uuid,
    /// The start of the gateway's process.
    pub incarnation: Uuid,
    /// When the session began: the gateway's steady clock, in microseconds.
    pub since: u64,
    /// The gateway's version.
    #[serde(default)]
    pub version: String,
    /// A hash over the methods on offer: another one means that a list of them is stale.
    #[serde(default)]
    pub methods: String,
}

impl Presence {
    /// Reads a presence. Unknown fields are ignored. An empty payload, which clears a retained message, is none.
    pub fn parse(payload: &[u8]) -> Result<Self, ObjectError> {
        object::parse(payload)
    }

    /// The payload that states this presence.
    #[must_use]
    pub fn payload(&self) -> String {
        // Plain fields: serialising cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
