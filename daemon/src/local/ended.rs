//! How the end of a call is told to those who watch: what the log has as fields.

use nowd_core::{Record, RecordKind};
use nowd_protocol::{ErrorBody, Timing, Uuid};
use serde::{Deserialize, Serialize};

use crate::clock::wall_ms;

/// One record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CallEnded {
    /// When it was told: milliseconds since 1970 by the gateway's wall clock, right or wrong.
    pub(crate) timestamp: u64,
    /// `call`, `late` (its result came after `timeout` was answered), `repeat` or `safe_action`.
    pub(crate) kind: String,
    pub(crate) id: Uuid,
    pub(crate) method: String,
    pub(crate) client: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) status: String,
    pub(crate) outcome: String,
    pub(crate) error: Option<ErrorBody>,
    /// Microseconds.
    pub(crate) timing: Timing,
}

/// Which moment of a call it is.
pub(crate) const fn kind(record: &Record) -> &'static str {
    match record.kind {
        RecordKind::Answered => "call",
        RecordKind::Late => "late",
        RecordKind::Repeated => "repeat",
        RecordKind::SafeAction => "safe_action",
    }
}

impl CallEnded {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            timestamp: wall_ms(),
            kind: kind(record).into(),
            id: record.id,
            method: record.method.as_ref().into(),
            client: record.client.as_ref().map(|client| client.as_str().to_owned()),
            caller: record.caller.as_deref().map(Into::into),
            traceparent: record.traceparent.as_deref().map(Into::into),
            attempt: record.attempt,
            status: record.status.as_str().into(),
            outcome: record.outcome.as_str().into(),
            error: record.error.clone(),
            timing: record.timing,
        }
    }

    pub(super) fn json(&self) -> String {
        // Texts and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}
