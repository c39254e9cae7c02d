//! `GET /things/{target}/calls/{id}`: what became of an earlier call, as the gateway knows it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use nowd_protocol::{OUTCOME_METHOD, OutcomeQuery};

use super::{Answer, Shared, invalid, level, no_method, query, response, traceparent};
use crate::clock::BootInstant;
use crate::http::Caller;
use crate::invoker::CallRequest;

pub(super) async fn report(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let received = BootInstant::now();
    // A route for GET takes HEAD too, whose answer would be lost.
    if request.method() != Method::GET {
        return no_method().await;
    }
    let answer = match read(&shared, received, path, &request) {
        Ok(call) => shared.invoker.invoke(call).await,
        Err(answer) => *answer,
    };
    response::answer(&answer)
}

fn read(
    shared: &Shared,
    received: BootInstant,
    path: Result<Path<(String, String)>, PathRejection>,
    request: &Request,
) -> Result<CallRequest, Box<Answer>> {
    let Path((target, id)) =
        path.map_err(|_| invalid("the path is not UTF-8 after percent-decoding".into()))?;
    let target = level("target", target).map_err(invalid)?;
    let method = level("method", OUTCOME_METHOD.to_owned()).map_err(invalid)?;
    let id = id.parse().map_err(|_| invalid("the id of a call is a UUID, as its answer said it".into()))?;
    let timeout = query::timeout_ms(request.uri().query(), shared.options.max_timeout).map_err(invalid)?;
    Ok(CallRequest {
        received,
        caller: request.extensions().get::<Caller>().map(|caller| caller.0.clone()),
        traceparent: traceparent(request.headers()),
        ..CallRequest::new(
            target,
            method,
            OutcomeQuery { id }.payload(),
            timeout.unwrap_or(shared.options.default_timeout),
        )
    })
}
