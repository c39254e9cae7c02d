//! The HTTP interface: a call in, its answer out, the same JSON shape for everything.
//!
//! It knows neither the server that runs it nor how callers are authorised: whoever wraps it puts a [`Caller`] into the
//! request's extensions. What it refuses by itself was never published, and says so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use crate::clock::{BootInstant, until};
use crate::invoker::{CallRequest, Form, Invoker};
use crate::record::Recorder;

mod access;
mod body;
mod compat;
mod exchange;
mod guard;
mod idempotency;
mod openapi;
mod plain;
mod problem;
mod query;
mod questions;
mod response;

pub use access::{Access, Policy, PolicyError, Targets};
#[cfg(feature = "aws")]
pub(crate) use exchange::{is_traceparent, refuse};
pub use guard::{Host, guard};
#[cfg(feature = "aws")]
pub(crate) use questions::PRESENCE_METHOD;

use exchange::Exchange;
use problem::{Kind, Refusal};

/// What the HTTP interface offers.
#[derive(Clone)]
pub struct RouterOptions {
    /// The budget of a call that names none.
    pub default_timeout: Duration,
    /// The largest budget that a call may name, 1 ms to one hour. API Gateway gives up after 29 s.
    pub max_timeout: Duration,
    /// Offers the public sample's `GET /invoke` too. It has 1 s to 60 s of its own.
    pub compat: bool,
    /// Which gateways are served.
    pub targets: Targets,
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
            targets: Targets::default(),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// When; the start of this machine, if it was before.
    pub at: BootInstant,
    /// How long before the start of this machine it was. Budgets are shorter by this.
    pub before: Duration,
}

/// When whoever runs the router stops waiting for its answer; to be put into the request's extensions. A call's deadline
/// is half a second earlier at the latest, so that its answer is there by then.
#[derive(Debug, Clone, Copy)]
pub struct AnswerBy(pub BootInstant);

struct Shared {
    invoker: Invoker,
    options: RouterOptions,
}

/// The HTTP interface before `invoker`.
pub fn router(invoker: Invoker, options: RouterOptions) -> Router {
    // A route for GET takes HEAD too, whose answer would be lost: who only wants to look must move nothing.
    let question = |handler: MethodRouter<Arc<Shared>>| {
        let other = || async { response::only("GET") };
        handler.head(other).fallback(other)
    };
    let description = openapi::text(&options);
    let mut router = Router::new()
        .route("/openapi.json", question(get(|| async move { response::document(description) })))
        .route("/things/{target}", question(get(questions::presence)))
        .route("/things/{target}/methods", question(get(questions::methods)))
        .route("/things/{target}/calls/{id}", question(get(questions::outcome)))
        .route(
            "/things/{target}/methods/{method}",
            post(invoke).fallback(|| async { response::only("POST") }),
        );
    if options.compat {
        router = router.route("/invoke", question(get(compat::invoke)));
    }
    router.fallback(no_route).with_state(Arc::new(Shared { invoker, options }))
}

async fn no_route(State(shared): State<Arc<Shared>>) -> Response {
    let sample = if shared.options.compat { ", GET /invoke " } else { " " };
    let message = format!(
        "there is nothing at this path; there are POST /things/{{target}}/methods/{{method}}, GET /things/{{target}}, \
         GET /things/{{target}}/methods, GET /things/{{target}}/calls/{{id}}{sample}and GET /openapi.json"
    );
    response::refusal(Kind::NoSuchPath, &message)
}

async fn invoke(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut exchange = Exchange::begin(&shared, &request);
    let call = read(&shared.options, &mut exchange, request).await;
    exchange.end(call, response::answer).await
}

async fn read(
    options: &RouterOptions,
    exchange: &mut Exchange,
    request: Request,
) -> Result<CallRequest, Refusal> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let target = plain::level(path, 1, "target")?;
    exchange.target = Some(target.clone());
    let method = plain::level(path, 3, "method")?;
    exchange.allow(&target, &method)?;
    let timeout = query::timeout_ms(parts.uri.query(), options.max_timeout)?;
    let budget = exchange.budget(timeout.unwrap_or(options.default_timeout))?;
    if let Some(id) = idempotency::id(&parts.headers, exchange.caller.as_deref(), &target)? {
        exchange.id = id;
    }
    let body = until(exchange.deadline(budget), body::parameters(body)).await.ok_or_else(|| {
        Refusal::expired("the request's body was not complete before the deadline; nothing was sent")
    })?;
    Ok(exchange.call(target, method, body?, budget, Form::Native))
}

#[cfg(test)]
mod tests;
