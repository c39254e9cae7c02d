//! From what a plugin says to what the core takes.

use nowd_core::Ended;
use nowd_plugin::{CallError, Completion, Outcome};
use nowd_protocol::{ErrorBody, RawValue, Status};
use serde_json::Value;

pub(super) fn ended(completion: Completion) -> Ended {
    let outcome = match completion.outcome() {
        Outcome::Executed => nowd_protocol::Outcome::Executed,
        Outcome::NotExecuted => nowd_protocol::Outcome::NotExecuted,
        Outcome::Unknown => nowd_protocol::Outcome::Unknown,
    };
    let (status, response, error) = match completion {
        Completion::Ok(response) => (Status::Ok, Some(response), None),
        Completion::Sent(response) => (Status::Sent, Some(response), None),
        Completion::Failed { error, .. } => (Status::Failed, None, Some(error)),
        Completion::Refused(error) => (Status::Refused, None, Some(error)),
        Completion::Timeout(error) => (Status::Timeout, None, Some(error)),
        Completion::Expired(expired) => {
            (Status::Expired, None, Some(CallError::new("expired", expired.to_string())))
        }
        Completion::InvalidRequest(error) => (Status::InvalidRequest, None, Some(error)),
        Completion::Unavailable(error) => (Status::Unavailable, None, Some(error)),
        Completion::Internal(error) => (Status::Internal, None, Some(error)),
    };
    Ended {
        status,
        outcome,
        response: response.as_ref().and_then(raw),
        error: error.map(|CallError { code, message }| ErrorBody { code, message }),
    }
}

fn raw(response: &Value) -> Option<Box<RawValue>> {
    // A `Value` can always be written as JSON.
    if response.is_null() { None } else { serde_json::value::to_raw_value(response).ok() }
}
