//! A request to the HTTP interface: its line, its headers, its body.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use nowd_cloud::{Config, Host, Invoker, RouterOptions, guard, router};
use nowd_link::Options;
use nowd_protocol::Level;
use serde_json::Value;
use tower::ServiceExt as _;

/// `data` is a text like an HTTP request: `POST /things/g/methods/m`, headers, an empty line, the body; lines end with a
/// line feed.
pub(crate) fn check(data: &[u8]) {
    let Some(request) = read(data) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    if let Some((code, headers, body)) = runtime.block_on(ask(request)) {
        check_answer(code, &headers, &body);
    }
}

fn read(data: &[u8]) -> Option<Request<Body>> {
    let mut rest = data;
    let mut line = || {
        let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(at);
        rest = after.get(1..).unwrap_or_default();
        line
    };
    let first = std::str::from_utf8(line()).ok()?;
    let (method, uri) = first.split_once(' ')?;
    let mut headers = HeaderMap::new();
    loop {
        let header = line();
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|byte| *byte == b':')?;
        let (name, value) = header.split_at(colon);
        let value = value.get(1..)?.trim_ascii();
        headers.try_append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?).ok()?;
    }
    let body = Bytes::copy_from_slice(rest);
    let mut request = Request::builder().method(method).uri(uri).body(Body::from(body)).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

/// `None`: it is a call. Nothing runs behind the invoker, so nothing would answer it.
async fn ask(request: Request<Body>) -> Option<(StatusCode, HeaderMap, Bytes)> {
    let link = Options::new("", "127.0.0.1", 1);
    let config = Config { most_calls: 4, ..Config::new(link, Level::new("c").unwrap()) };
    let (invoker, _background) = Invoker::new(config).unwrap();
    let options = RouterOptions { compat: true, ..RouterOptions::default() };
    let response: Response<Body> = tokio::select! {
        biased;
        response = guard(router(invoker, options), Host::Loopback).oneshot(request) => response.unwrap(),
        () = tokio::task::yield_now() => return None,
    };
    let (parts, body) = response.into_parts();
    Some((parts.status, parts.headers, to_bytes(body, 1 << 20).await.unwrap()))
}

/// Nothing was published, and every answer says so. The description of the interface is no answer.
fn check_answer(code: StatusCode, headers: &HeaderMap, body: &[u8]) {
    if code == StatusCode::OK {
        assert!(body.starts_with(b"{\n  \"openapi\""), "{code}");
        return;
    }
    // A budget of a millisecond can be over before there is a call.
    let expired = code == StatusCode::SERVICE_UNAVAILABLE;
    assert!(code.is_client_error() || expired, "{code}");
    assert_eq!(headers.get("cache-control").map(HeaderValue::as_bytes), Some(b"no-store".as_slice()));
    // The answer to HEAD has none.
    if body.is_empty() {
        return;
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    let word = |name: &str| body.get(name).and_then(Value::as_str);
    assert_eq!(word("outcome"), Some("not_executed"), "{body}");
    if headers.get("content-type").map(HeaderValue::as_bytes) == Some(b"application/problem+json") {
        assert_eq!(body.get("status"), Some(&Value::from(code.as_u16())), "{body}");
        assert_eq!(
            word("type"),
            word("code").map(|code| format!("tag:nowd.io,2026:{code}")).as_deref(),
            "{body}"
        );
        assert!(word("title").is_some() && word("detail").is_some(), "{body}");
        assert!(!expired || word("code") == Some("expired"), "{body}");
    } else {
        // The public sample's form.
        let status = if expired { "expired" } else { "invalid_request" };
        assert_eq!(word("status"), Some(status), "{body}");
    }
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap();
    super::sentence::check(&message);
}
