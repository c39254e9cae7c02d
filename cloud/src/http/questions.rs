//! Questions that the gateway itself answers: `GET /things/{target}/methods`, which methods the caller may call, and
//! `GET /things/{target}/calls/{id}`, what became of an earlier call.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use nowd_protocol::{METHODS_METHOD, MethodsQuery, OUTCOME_METHOD, OutcomeQuery, RawValue};

use super::{Answer, Shared, invalid, level, no_method, query, response, traceparent};
use crate::clock::BootInstant;
use crate::http::Caller;
use crate::invoker::CallRequest;

/// What is asked, and how long the answer may take where that was said.
struct Question {
    target: String,
    method: &'static str,
    payload: Box<RawValue>,
    timeout: Option<Duration>,
}

pub(super) async fn methods(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let read = |query: Option<&str>| {
        let Path(target) = path.map_err(|_| not_utf8())?;
        let (timeout, after) = query::timeout_ms_and_after(query, shared.options.max_timeout)?;
        Ok(Question { target, method: METHODS_METHOD, payload: MethodsQuery { after }.payload(), timeout })
    };
    let call = call(&shared, &request, read);
    answer(&shared, call).await
}

pub(super) async fn outcome(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let read = |query: Option<&str>| {
        let Path((target, id)) = path.map_err(|_| not_utf8())?;
        let id = id.parse().map_err(|_| "the id of a call is a UUID, as its answer said it")?;
        let timeout = query::timeout_ms(query, shared.options.max_timeout)?;
        Ok(Question { target, method: OUTCOME_METHOD, payload: OutcomeQuery { id }.payload(), timeout })
    };
    let call = call(&shared, &request, read);
    answer(&shared, call).await
}

/// The call that a request asks for; nothing for a request of another kind.
fn call(
    shared: &Shared,
    request: &Request,
    read: impl FnOnce(Option<&str>) -> Result<Question, String>,
) -> Option<Result<CallRequest, Box<Answer>>> {
    let received = BootInstant::now();
    // A route for GET takes HEAD too, whose answer would be lost.
    if request.method() != Method::GET {
        return None;
    }
    let call = |question: Question| {
        let target = level("target", question.target)?;
        let method = level("method", question.method.to_owned())?;
        let timeout = question.timeout.unwrap_or(shared.options.default_timeout);
        Ok(CallRequest {
            received,
            caller: request.extensions().get::<Caller>().map(|caller| caller.0.clone()),
            traceparent: traceparent(request.headers()),
            ..CallRequest::new(target, method, question.payload, timeout)
        })
    };
    Some(read(request.uri().query()).and_then(call).map_err(invalid))
}

async fn answer(shared: &Shared, call: Option<Result<CallRequest, Box<Answer>>>) -> Response {
    let answer = match call {
        Some(Ok(call)) => shared.invoker.invoke(call).await,
        Some(Err(answer)) => *answer,
        None => return no_method().await,
    };
    response::answer(&answer)
}

fn not_utf8() -> String {
    "the path is not UTF-8 after percent-decoding".into()
}
