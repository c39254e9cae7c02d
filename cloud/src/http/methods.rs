//! `GET /things/{target}/methods`: which methods the caller may call, as the gateway knows it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use nowd_protocol::{METHODS_METHOD, MethodsQuery};

use super::{Answer, Shared, invalid, level, no_method, query, response, traceparent};
use crate::clock::BootInstant;
use crate::http::Caller;
use crate::invoker::CallRequest;

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
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
    path: Result<Path<String>, PathRejection>,
    request: &Request,
) -> Result<CallRequest, Box<Answer>> {
    let Path(target) = path.map_err(|_| invalid("the path is not UTF-8 after percent-decoding".into()))?;
    let target = level("target", target).map_err(invalid)?;
    let method = level("method", METHODS_METHOD.to_owned()).map_err(invalid)?;
    let max = shared.options.max_timeout;
    let (timeout, after) = query::timeout_ms_and_after(request.uri().query(), max).map_err(invalid)?;
    Ok(CallRequest {
        received,
        caller: request.extensions().get::<Caller>().map(|caller| caller.0.clone()),
        traceparent: traceparent(request.headers()),
        ..CallRequest::new(
            target,
            method,
            MethodsQuery { after }.payload(),
            timeout.unwrap_or(shared.options.default_timeout),
        )
    })
}
