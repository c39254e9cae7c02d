//! The public sample's own interface, `GET /invoke`, for callers that know no other.
//!
//! Its answers are the sample's, with status, outcome and id beside. Sample devices publish no presence, so none is
//! demanded: only a gateway that is known to have left is `offline`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use nowd_protocol::{ErrorBody, Level, RawValue, ReplyStatus, Status, Uuid};
use serde::Serialize;

use super::query::{pairs, shown, whole};
use super::{Caller, Shared, level, no_method, traceparent};
use crate::clock::BootInstant;
use crate::invoker::{Answer, CallRequest, Form};

/// The sample's timeouts, in seconds.
const DEFAULT_TIMEOUT_S: u64 = 10;
const MAX_TIMEOUT_S: u64 = 60;

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

pub(crate) async fn invoke(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let received = BootInstant::now();
    // A route for GET takes HEAD too; who only wants to look must move nothing.
    if request.method() != Method::GET {
        return no_method().await;
    }
    let (parts, _) = request.into_parts();
    let answer = match read(parts.uri.query()) {
        Ok(asked) => {
            let call = CallRequest {
                received,
                caller: parts.extensions.get::<Caller>().map(|caller| caller.0.clone()),
                traceparent: traceparent(&parts.headers),
                form: Form::Compat,
                ..CallRequest::new(asked.target, asked.method, asked.request, asked.budget)
            };
            shared.invoker.invoke(call).await
        }
        Err(message) => Answer::own(Uuid::new_v4(), Status::InvalidRequest, message),
    };
    write(&answer)
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
        target: level("target", target.ok_or_else(|| missing("target"))?)?,
        method: level("method", method.ok_or_else(|| missing("method"))?)?,
        request: serde_json::value::to_raw_value(&text).map_err(|error| error.to_string())?,
        budget: Duration::from_secs(seconds),
    })
}

fn write(answer: &Answer) -> Response<Body> {
    let http = answer.status.http(answer.outcome);
    let late = matches!(answer.status, ReplyStatus::Known(Status::NoReply | Status::Timeout));
    let (code, result) = match http {
        200..=299 => (200, "ok"),
        _ if late => (500, "timeout"),
        _ => (http, answer.status.as_str()),
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
