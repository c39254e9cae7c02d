//! The HTTP interface: a call in, its answer out, the same JSON shape for everything.
//!
//! It knows neither the server that runs it nor how callers are authorised: whoever wraps it puts a [`Caller`] into the
//! request's extensions. What it refuses by itself was never published, and says so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use nowd_protocol::{Level, MAX_PAYLOAD_LEN, RawValue, Status, Uuid};

use crate::clock::{BootInstant, until};
use crate::invoker::{Answer, CallRequest, Invoker};
use crate::record::Recorder;

mod access;
mod compat;
mod guard;
mod idempotency;
mod query;
mod questions;
mod response;

pub use access::{Access, Policy, PolicyError};
pub use guard::{Host, guard};

/// What the HTTP interface offers.
#[derive(Clone)]
pub struct RouterOptions {
    /// The budget of a call that names none.
    pub default_timeout: Duration,
    /// The largest budget that a call may name, 1 ms to one hour. API Gateway gives up after 29 s.
    pub max_timeout: Duration,
    /// Offers the public sample's `GET /invoke` too. It has 1 s to 60 s of its own.
    pub compat: bool,
    /// Who may ask what.
    pub access: Access,
    /// Takes a record of each request that asked something of a gateway.
    pub recorder: Option<Recorder>,
}

impl fmt::Debug for RouterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterOptions").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            default_timeout: Duration::from_secs(2),
            max_timeout: Duration::from_secs(29),
            compat: false,
            access: Access::Everybody,
            recorder: None,
        }
    }
}

/// Who asks, as whoever runs the router has made sure; to be put into the request's extensions.
#[derive(Debug, Clone)]
pub struct Caller(pub String);

/// When the request reached the first of our servers, if that was before the router; to be put into its extensions. Budgets
/// count from here.
#[derive(Debug, Clone, Copy)]
pub struct Arrived(pub BootInstant);

/// When whoever runs the router stops waiting for its answer; to be put into the request's extensions. A call's deadline
/// is never later, and its answer is there by then.
#[derive(Debug, Clone, Copy)]
pub struct AnswerBy(pub BootInstant);

struct Shared {
    invoker: Invoker,
    options: RouterOptions,
}

/// The HTTP interface before `invoker`.
pub fn router(invoker: Invoker, options: RouterOptions) -> Router {
    let mut router = Router::new()
        .route("/things/{target}/methods", get(questions::methods))
        .route("/things/{target}/methods/{method}", post(invoke))
        .route("/things/{target}/calls/{id}", get(questions::outcome));
    if options.compat {
        router = router.route("/invoke", get(compat::invoke));
    }
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(Arc::new(Shared { invoker, options }))
}

async fn no_route() -> Response {
    let message = "there is nothing at this path; there are POST /things/{target}/methods/{method}, \
                   GET /things/{target}/methods and GET /things/{target}/calls/{id}";
    response::refusal(StatusCode::NOT_FOUND, "no_such_path", message)
}

async fn no_method() -> Response {
    let message = "this path does not take this HTTP method; calls are made with POST, and methods and earlier calls \
                   asked for with GET";
    response::refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

async fn invoke(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let received = BootInstant::now();
    let answer = match read(&shared.options, received, path, request).await {
        Ok(call) => shared.invoker.invoke(call).await,
        Err(answer) => *answer,
    };
    response::answer(&answer)
}

async fn read(
    options: &RouterOptions,
    received: BootInstant,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<CallRequest, Box<Answer>> {
    let Path((target, method)) =
        path.map_err(|_| invalid("the path is not UTF-8 after percent-decoding".to_owned()))?;
    let target = level("target", target).map_err(invalid)?;
    let method = level("method", method).map_err(invalid)?;
    let (parts, body) = request.into_parts();
    let timeout = query::timeout_ms(parts.uri.query(), options.max_timeout).map_err(invalid)?;
    let budget = timeout.unwrap_or(options.default_timeout);
    let body = until(received.saturating_add(budget), parameters(body)).await.ok_or_else(|| {
        let message = "the request's body was not complete before the deadline; nothing was sent";
        Box::new(Answer::own(Uuid::new_v4(), Status::Expired, message))
    })?;
    let caller = parts.extensions.get::<Caller>().map(|caller| caller.0.clone());
    Ok(CallRequest {
        received,
        id: idempotency::id(&parts.headers, caller.as_deref(), &target).map_err(invalid)?,
        caller,
        traceparent: traceparent(&parts.headers),
        ..CallRequest::new(target, method, body.map_err(invalid)?, budget)
    })
}

fn invalid(message: String) -> Box<Answer> {
    Box::new(Answer::own(Uuid::new_v4(), Status::InvalidRequest, message))
}

fn level(name: &str, text: String) -> Result<Level, String> {
    Level::new(text).map_err(|error| format!("the {name} cannot be used: {error}"))
}

/// The body as the method's parameters.
async fn parameters(body: Body) -> Result<Box<RawValue>, String> {
    let bytes = to_bytes(body, MAX_PAYLOAD_LEN)
        .await
        .map_err(|_| format!("the body is above {MAX_PAYLOAD_LEN} bytes or was cut off"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "the body is not UTF-8".to_owned())?;
    if text.trim_ascii().is_empty() {
        return Ok(RawValue::NULL.to_owned());
    }
    // A RawValue may be nested without end and hold numbers that nobody can read; what a gateway would stumble over is
    // refused here.
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        return Err(format!("the body is not JSON: {error}"));
    }
    serde_json::from_str(text).map_err(|error| format!("the body is not JSON: {error}"))
}

/// The W3C trace context, if it is one.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let lengths = text.split('-').map(str::len);
    (lengths.eq([2, 32, 16, 2]) && text.split('-').all(hex)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
