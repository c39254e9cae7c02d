//! What an HTTP answer says of a call: nowd's own, of either form, or somebody else's.
//!
//! An answer that does not say what became of the call means `unknown`. There is one exception: API Gateway says in a header
//! which error of its own it is, and some of those come before anything is called.

use axum::http::response::Parts;
use nowd_protocol::{Outcome, Status};
use serde_json::Value;

use crate::cli::Exit;

/// Errors of API Gateway (and of the firewall before it) that mean: this caller, with this signature, may not ask this.
const DENIED: [&str; 11] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "ForbiddenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnauthorizedException",
    "UnrecognizedClientException",
];
/// Errors of API Gateway that mean: too many requests, this one was not looked at.
const THROTTLED: [&str; 2] = ["LimitExceededException", "TooManyRequestsException"];
/// The most phases of a `Server-Timing` that are kept.
const MOST_PHASES: usize = 12;

/// An answer, as far as it can be understood.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) code: u16,
    /// As it came; what is not UTF-8 is replaced.
    pub(super) body: String,
    pub(super) said: Said,
    /// Phases of the call and their microseconds.
    pub(super) times: Vec<(String, u64)>,
}

/// What it says of the call.
pub(super) enum Said {
    /// It is nowd's.
    Call {
        status: String,
        outcome: Outcome,
        id: Option<String>,
        error: Option<(String, String)>,
        response: Value,
    },
    /// API Gateway refused it before anything was called.
    Refused { error: String, denied: bool, message: String },
    /// It does not say.
    Nothing { message: String },
}

impl Answer {
    pub(super) fn read(parts: &Parts, bytes: &[u8]) -> Self {
        let code = parts.status.as_u16();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let error = header("x-amzn-errortype");
        // API Gateway's own errors may have nowd's form (`cloud/template.yaml`), but only they have the header.
        let own = if is_denial(code, error) { None } else { call(&body) };
        let said = own.unwrap_or_else(|| foreign(code, error, &body));
        let times = header("server-timing").map(times).unwrap_or_default();
        Self { code, body: String::from_utf8_lossy(bytes).into_owned(), said, times }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match &self.said {
            Said::Call { outcome, .. } => *outcome,
            Said::Refused { .. } => Outcome::NotExecuted,
            Said::Nothing { .. } => Outcome::Unknown,
        }
    }

    /// A word for it, to count by.
    pub(super) fn status(&self) -> String {
        match &self.said {
            Said::Call { status, .. } => status.clone(),
            Said::Refused { .. } | Said::Nothing { .. } => format!("HTTP {}", self.code),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match (&self.said, self.outcome()) {
            (Said::Refused { denied: true, .. }, _) => Exit::Denied,
            (_, Outcome::Executed) => Exit::Ok,
            (_, Outcome::NotExecuted) => Exit::NotExecuted,
            (_, Outcome::Unknown) => Exit::Unknown,
        }
    }
}

/// nowd's answer: with its own `status`, or as a problem of RFC 9457, whose `status` is a number and `code` the word.
fn call(body: &Value) -> Option<Said> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let said = Outcome::parse(body.get("outcome")?.as_str()?)?;
    let status = text("status").or_else(|| text("code"))?;
    // A status and an outcome that contradict each other mean nothing, here as everywhere.
    let contradicts = Status::parse(&status).and_then(Status::outcome).is_some_and(|meant| meant != said);
    let outcome = if contradicts { Outcome::Unknown } else { said };
    let inner = |name: &str| body.get("error").and_then(|error| error.get(name)).and_then(Value::as_str);
    let message = inner("message").map(str::to_owned).or_else(|| text("detail")).or_else(|| text("title"));
    let error = message.map(|message| (inner("code").unwrap_or(&status).to_owned(), message));
    let response = body.get("response").cloned().unwrap_or_default();
    Some(Said::Call { status, outcome, id: text("id"), error, response })
}

fn foreign(code: u16, error: Option<&str>, body: &Value) -> Said {
    let message = ["message", "Message", "detail"].iter().find_map(|name| body.get(name)?.as_str());
    let message = message.unwrap_or_default().to_owned();
    let denied = is_denial(code, error);
    let error = error.map(name_of).unwrap_or_default();
    if denied || (code == 429 && THROTTLED.contains(&error)) {
        return Said::Refused { error: error.to_owned(), denied, message };
    }
    Said::Nothing { message }
}

/// Whether API Gateway refused this caller before anything was called.
fn is_denial(code: u16, error: Option<&str>) -> bool {
    matches!(code, 401 | 403) && error.is_some_and(|error| DENIED.contains(&name_of(error)))
}

/// An address may follow the error's name.
fn name_of(error: &str) -> &str {
    error.split(':').next().unwrap_or_default()
}

/// `total;dur=1.234, network;dur=0.9` in microseconds.
fn times(text: &str) -> Vec<(String, u64)> {
    let phase = |part: &str| {
        let mut fields = part.split(';').map(str::trim);
        let name = fields.next().filter(|name| is_name(name))?;
        let dur = fields.find_map(|field| field.strip_prefix("dur="))?;
        Some((name.to_owned(), micros(dur)?))
    };
    text.split(',').filter_map(phase).take(MOST_PHASES).collect()
}

fn is_name(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Milliseconds with decimals.
fn micros(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(part.parse().ok()?)
}

#[cfg(test)]
mod tests;
