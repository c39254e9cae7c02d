//! Writes answers as HTTP responses.

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use nowd_protocol::{ErrorBody, Level, RawValue, Timing, Uuid};
use serde::Serialize;

use super::exchange::instance;
use super::problem::{Kind, PROBLEM_JSON, Refusal, names};
use crate::invoker::{Answer, Elapsed};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What went well.
#[derive(Serialize)]
struct Done<'a> {
    id: Uuid,
    status: &'a str,
    outcome: &'a str,
    response: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing: Option<Times>,
}

/// Everything else, as RFC 9457 has it.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    code: String,
    outcome: &'a str,
    id: Uuid,
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

/// The answer to a call, or to a question; `kind` says why it was refused before it was one. Where the call can be asked
/// after, `target` says of whom.
pub(super) fn answer(answer: &Answer, kind: Option<Kind>, target: Option<&Level>) -> Response<Body> {
    let code = kind.map_or_else(|| answer.status.http(answer.outcome), Kind::http);
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let Answer { id, outcome, error, timing, .. } = answer;
    let (id, outcome, response, error) = (*id, outcome.as_str(), &*answer.response, error.as_ref());
    let times = (!timing.total.is_zero()).then(|| Times {
        total: micros(timing.total),
        network: timing.network().map(micros),
        gateway: timing.gateway,
    });
    let mut written = if code.is_success() {
        let status = answer.status.as_str();
        json(code, &Done { id, status, outcome, response, error, timing: times })
    } else {
        let (r#type, word, title) = names(&answer.status, kind);
        let detail = error.map(|error| error.message.as_str());
        let instance = target.map(|target| instance(target, id));
        let status = code.as_u16();
        let problem = Problem {
            r#type,
            title,
            status,
            detail,
            instance,
            code: word,
            outcome,
            id,
            response,
            error,
            timing: times,
        };
        let mut written = json(code, &problem);
        written.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        written
    };
    if !timing.total.is_zero()
        && let Ok(value) = HeaderValue::from_str(&server_timing(timing))
    {
        written.headers_mut().insert(SERVER_TIMING, value);
    }
    written
}

/// A request that is no call. Nothing was published.
pub(super) fn refusal(kind: Kind, message: &str) -> Response<Body> {
    let refusal = Refusal { kind, message: message.to_owned() };
    answer(&refusal.answer(Uuid::new_v4()), Some(kind), None)
}

/// The path takes only this HTTP method.
pub(super) fn only(method: &'static str) -> Response<Body> {
    let message = format!(
        "this path takes {method} and no other HTTP method; calls are made with POST, and questions asked with GET"
    );
    let mut response = refusal(Kind::MethodNotAllowed, &message);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}

/// A response with this body, not to be stored by anybody.
pub(super) fn json(code: StatusCode, body: &impl Serialize) -> Response<Body> {
    // Plain fields: serialising cannot fail.
    let text = serde_json::to_string(body).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A text that is JSON already, and the same for everybody.
pub(super) fn document(text: String) -> Response<Body> {
    let mut response = json(StatusCode::OK, &());
    *response.body_mut() = Body::from(text);
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
