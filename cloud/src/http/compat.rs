//! The public sample's own interface, `GET /invoke`, for callers that know no other.
//!
//! Its answers are the sample's, with status, outcome and id beside. Sample devices publish no presence, so none is
//! demanded: only a gateway that is known to have left is `offline`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use nowd_protocol::{ErrorBody, Level, RawValue, ReplyStatus, Status, Uuid};
use serde::Serialize;

use super::Shared;
use super::exchange::Exchange;
use super::plain::name;
use super::problem::Refusal;
use super::query::{pairs, shown, whole};
use crate::invoker::{Answer, CallRequest, Form};

/// The sample's timeouts, in seconds.
pub(super) const DEFAULT_TIMEOUT_S: u64 = 10;
pub(super) const MAX_TIMEOUT_S: u64 = 60;

#[derive(Serialize)]
struct Payload<'a> {
    result: &'a str,
    /// Milliseconds, as a string.
    elapsed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a RawValue>,
    id: Uuid,
    status: &'a str,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorBody>,
}

pub(super) async fn invoke(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let mut exchange = Exchange::begin(&shared, &request);
    let call = call(&mut exchange, request.uri().query());
    drop(request);
    exchange.end(call, |answer, _, _| write(answer)).await
}

fn call(exchange: &mut Exchange, query: Option<&str>) -> Result<CallRequest, Refusal> {
    let Asked { target, method, request, budget } = read(query)?;
    exchange.allow(&target, &method)?;
    let budget = exchange.budget(budget)?;
    Ok(exchange.call(target, method, request, budget, Form::Compat))
}

struct Asked {
    target: Level,
    method: Level,
    request: Box<RawValue>,
    budget: Duration,
}

fn read(query: Option<&str>) -> Result<Asked, String> {
    let [mut target, mut method, mut request, mut timeout] = [const { None::<String> }; 4];
    for (name, value) in pairs(query)? {
        let slot = match name.as_str() {
            "target" => &mut target,
            "method" => &mut method,
            "request" => &mut request,
            "timeout" => &mut timeout,
            _ => return Err(format!("there is no query parameter {}", shown(&name))),
        };
        if slot.replace(value).is_some() {
            return Err(format!("the query parameter `{name}` stands twice"));
        }
    }
    let missing = |name: &str| format!("the query parameter `{name}` is missing");
    let seconds = match timeout {
        None => DEFAULT_TIMEOUT_S,
        Some(text) => whole(&text).filter(|s| (1..=MAX_TIMEOUT_S).contains(s)).ok_or_else(|| {
            format!(
                "`timeout` must be a whole number of seconds from 1 to {MAX_TIMEOUT_S}, not {}",
                shown(&text)
            )
        })?,
    };
    let text = request.ok_or_else(|| missing("request"))?;
    Ok(Asked {
        target: name("target", target.ok_or_else(|| missing("target"))?)?,
        method: name("method", method.ok_or_else(|| missing("method"))?)?,
        request: serde_json::value::to_raw_value(&text).map_err(|error| error.to_string())?,
        budget: Duration::from_secs(seconds),
    })
}

/// The code of a known status: the sample knows 200 and, for what came too late, 500.
pub(super) const fn code(status: Status) -> u16 {
    match status {
        Status::Ok | Status::Sent => 200,
        Status::NoReply | Status::Timeout => 500,
        Status::Failed
        | Status::Refused
        | Status::Expired
        | Status::Resync
        | Status::Busy
        | Status::Locked
        | Status::UnknownMethod
        | Status::InvalidRequest
        | Status::Conflict
        | Status::Forbidden
        | Status::Unavailable
        | Status::Internal
        | Status::Offline => status.http(),
    }
}

fn write(answer: &Answer) -> Response<Body> {
    let (code, result) = match &answer.status {
        ReplyStatus::Known(status) => match (code(*status), *status) {
            (200, _) => (200, "ok"),
            (late, Status::NoReply | Status::Timeout) => (late, "timeout"),
            (code, status) => (code, status.as_str()),
        },
        other @ ReplyStatus::Other(word) => match other.http(answer.outcome) {
            200..=299 => (200, "ok"),
            code => (code, word.as_str()),
        },
    };
    let body = Payload {
        result,
        elapsed: answer.timing.total.as_millis().to_string(),
        response: (code == 200).then_some(&*answer.response),
        id: answer.id,
        status: answer.status.as_str(),
        outcome: answer.outcome.as_str(),
        error: answer.error.as_ref(),
    };
    super::response::json(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body)
}
