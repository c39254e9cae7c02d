//! Questions: `GET /things/{target}`, whether a gateway is there, which the cloud side knows; and two that the gateway
//! itself answers: `GET /things/{target}/methods`, which methods the caller may call, and
//! `GET /things/{target}/calls/{id}`, what became of an earlier call.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use nowd_protocol::{Level, METHODS_METHOD, MethodsQuery, OUTCOME_METHOD, OutcomeQuery, RawValue};

use super::exchange::Exchange;
use super::problem::Refusal;
use super::{Shared, plain, query, response};
use crate::invoker::{CallRequest, Form};

/// What stands for the question whether a gateway is there, where access is judged and in records.
pub(crate) const PRESENCE_METHOD: &str = "nowd.presence";

pub(super) async fn presence(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let payload = |_: &str, query: Option<&str>| {
        let timeout = query::timeout_ms(query, shared.options.max_timeout)?;
        Ok((RawValue::NULL.to_owned(), timeout))
    };
    ask(&shared, request, PRESENCE_METHOD, Form::Presence, payload).await
}

pub(super) async fn methods(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let payload = |_: &str, query: Option<&str>| {
        let (timeout, after) = query::timeout_ms_and_after(query, shared.options.max_timeout)?;
        Ok((MethodsQuery { after }.payload(), timeout))
    };
    ask(&shared, request, METHODS_METHOD, Form::Native, payload).await
}

pub(super) async fn outcome(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let payload = |path: &str, query: Option<&str>| {
        let id = plain::segment(path, 3, "call")?;
        let id = id.parse().map_err(|_| "the id of a call is a UUID, as its answer said it".to_owned())?;
        let timeout = query::timeout_ms(query, shared.options.max_timeout)?;
        Ok((OutcomeQuery { id }.payload(), timeout))
    };
    ask(&shared, request, OUTCOME_METHOD, Form::Native, payload).await
}

/// What is asked, and how long the answer may take where that was said.
type Asked = (Box<RawValue>, Option<Duration>);

async fn ask(
    shared: &Arc<Shared>,
    request: Request,
    method: &'static str,
    form: Form,
    payload: impl FnOnce(&str, Option<&str>) -> Result<Asked, String>,
) -> Response {
    let mut exchange = Exchange::begin(shared, &request);
    let call = call(shared, &mut exchange, &request, method, form, payload);
    drop(request);
    // What became of a question is not asked.
    exchange.end(call, |answer, kind, _| response::answer(answer, kind, None)).await
}

fn call(
    shared: &Shared,
    exchange: &mut Exchange,
    request: &Request,
    method: &'static str,
    form: Form,
    payload: impl FnOnce(&str, Option<&str>) -> Result<Asked, String>,
) -> Result<CallRequest, Refusal> {
    let path = request.uri().path();
    let method = Level::new(method).map_err(|error| error.to_string())?;
    exchange.method = Some(method.clone());
    let target = plain::level(path, 1, "target")?;
    exchange.allow(&target, &method)?;
    let (payload, timeout) = payload(path, request.uri().query())?;
    let budget = exchange.budget(timeout.unwrap_or(shared.options.default_timeout))?;
    Ok(exchange.call(target, method, payload, budget, form))
}
