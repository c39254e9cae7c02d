//! Writes answers as HTTP responses.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use nowd_protocol::{ErrorBody, RawValue, Status, Timing, Uuid};
use serde::Serialize;

use crate::invoker::{Answer, Elapsed};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

#[derive(Serialize)]
struct Payload<'a> {
    id: Uuid,
    status: &'a str,
    outcome: &'a str,
    response: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<Times>,
}

/// In microseconds.
#[derive(Serialize)]
struct Times {
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Timing>,
}

/// The answer to a call.
pub(crate) fn answer(answer: &Answer) -> Response<Body> {
    let code = StatusCode::from_u16(answer.status.http(answer.outcome));
    write(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer)
}

/// A request that is no call. Nothing was published.
pub(crate) fn refusal(code: StatusCode, word: &str, message: &str) -> Response<Body> {
    let mut answer = Answer::own(Uuid::new_v4(), Status::InvalidRequest, message);
    answer.error = Some(ErrorBody { code: word.to_owned(), message: message.to_owned() });
    write(code, &answer)
}

fn write(code: StatusCode, answer: &Answer) -> Response<Body> {
    let timing = &answer.timing;
    let body = Payload {
        id: answer.id,
        status: answer.status.as_str(),
        outcome: answer.outcome.as_str(),
        response: &answer.response,
        error: answer.error.as_ref(),
        timing: (!timing.total.is_zero()).then(|| Times {
            total: micros(timing.total),
            network: timing.network().map(micros),
            gateway: timing.gateway,
        }),
    };
    let mut response = json(code, &body);
    if !timing.total.is_zero()
        && let Ok(value) = HeaderValue::from_str(&server_timing(timing))
    {
        response.headers_mut().insert(SERVER_TIMING, value);
    }
    response
}

/// A response with this body, not to be stored by anybody.
pub(crate) fn json(code: StatusCode, body: &impl Serialize) -> Response<Body> {
    // Plain fields: serialising cannot fail.
    let text = serde_json::to_string(body).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Where the time went, in milliseconds, as browsers and curl users read it.
fn server_timing(timing: &Elapsed) -> String {
    let mut parts = vec![part("total", micros(timing.total))];
    if let Some(network) = timing.network() {
        parts.push(part("network", micros(network)));
    }
    if let Some(Timing { queue, plugin, total }) = timing.gateway {
        parts.extend([part("gateway", total), part("queue", queue), part("plugin", plugin)]);
    }
    parts.join(", ")
}

fn part(name: &str, micros: u64) -> String {
    format!("{name};dur={}.{:03}", micros / 1_000, micros % 1_000)
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
