use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, StatusCode};
use nowd_link::Options;
use nowd_protocol::{Level, MAX_PAYLOAD_LEN, Uuid};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::exchange::traceparent;
use super::*;
use crate::invoker::Config;

/// A router whose invoker does nothing: what is answered was never a call.
fn idle() -> Router {
    let link = Options::new("", "127.0.0.1", 1);
    let config = Config { most_calls: 4, ..Config::new(link, Level::new("c").unwrap()) };
    let (invoker, background) = Invoker::new(config).unwrap();
    std::mem::forget(background);
    router(invoker, RouterOptions { compat: true, ..RouterOptions::default() })
}

async fn ask(method: Method, uri: &str, body: impl Into<Body>) -> (StatusCode, HeaderMap, Value) {
    let request = Request::builder().method(method).uri(uri).body(body.into()).unwrap();
    let response = until(BootInstant::now().saturating_add(Duration::from_secs(10)), idle().oneshot(request))
        .await
        .expect("it was taken for a call")
        .unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// What every refusal looks like: a problem, and a call that was none.
fn assert_problem(code: StatusCode, body: &Value, word: &str, message: &str, of: &str) {
    assert_eq!((&body["code"], &body["outcome"]), (&json!(word), &json!("not_executed")), "{of}: {body}");
    assert_eq!(body["type"], json!(format!("tag:nowd.io,2026:{word}")), "{of}");
    assert_eq!((&body["status"], &body["error"]["code"]), (&json!(code.as_u16()), &json!(word)), "{of}");
    assert_eq!((&body["response"], body.get("instance")), (&Value::Null, None), "{of}");
    assert!(body["title"].as_str().unwrap().starts_with(char::is_uppercase), "{of}");
    assert!(Uuid::parse_str(body["id"].as_str().unwrap()).is_ok());
    let found = body["detail"].as_str().unwrap();
    assert_eq!(body["error"]["message"], found, "{of}");
    assert!(found.contains(message), "{of}: {found}");
}

/// The sample's form of it.
fn assert_sample_refused(body: &Value, message: &str, of: &str) {
    let expected = (&json!("invalid_request"), &json!("not_executed"));
    assert_eq!((&body["status"], &body["outcome"]), expected, "{of}");
    let found = body["error"]["message"].as_str().unwrap();
    assert!(found.contains(message), "{of}: {found}");
}

#[tokio::test]
async fn bad_names_and_timeouts_are_refused_in_one_sentence() {
    let long = "x".repeat(129);
    let far = format!("/things/{}/methods/{}", "t".repeat(120), "m".repeat(120));
    let table = [
        ("/things/a%2Fb/methods/m", "the target cannot be used: a topic level holds '/'"),
        ("/things/a%2Bb/methods/m", "the target cannot be used: a topic level holds '+'"),
        ("/things/a%23/methods/m", "the target cannot be used: a topic level holds '#'"),
        ("/things/a%00/methods/m", "the target cannot be used: a topic level holds '\\0'"),
        ("/things/$aws/methods/m", "the target cannot be used: a topic level starts with `$`"),
        ("/things/%24aws/methods/m", "the target cannot be used: a topic level starts with `$`"),
        ("/things/g/methods/a%2Fb", "the method cannot be used: a topic level holds '/'"),
        ("/things/g/methods/%24x", "the method cannot be used: a topic level starts with `$`"),
        (&*format!("/things/{long}/methods/m"), "the target cannot be used: a topic level is 129 bytes long"),
        (&*format!("/things/g/methods/{long}"), "the method cannot be used: a topic level is 129 bytes long"),
        (&*far, "too long together"),
        ("/things//methods/m", "the target cannot be used: a topic level is empty"),
        ("/things/%FF/methods/m", "the path is not UTF-8"),
        ("/things/%C0%AE%C0%AE/methods/m", "the path is not UTF-8"),
        ("/things/./methods/m", "the target cannot be used: it is `.` or holds `..`"),
        ("/things/../methods/m", "the target cannot be used: it is `.` or holds `..`"),
        ("/things/g/methods/a..b", "the method cannot be used: it is `.` or holds `..`"),
        ("/things/%2E%2E/methods/m", "the target cannot be used: it is `.` or holds `..`"),
        ("/things/%2e/methods/m", "the target cannot be used: it is `.` or holds `..`"),
        ("/things/%67/methods/m", "and where it has to be: \"g\""),
        ("/things/a%3ab/methods/m", "and where it has to be: \"a%3Ab\""),
        ("/things/g;v=1/methods/m", "and where it has to be: \"g%3Bv%3D1\""),
        ("/things/g/methods/m;v=1", "spells the method in an unusual way"),
        ("/things/g%01/methods/m", "a topic level holds '\\u{1}', for which a broker may end"),
        ("/things/g%EF%BF%BF/methods/m", "a topic level holds '\\u{ffff}', for which a broker may end"),
        ("/things/g/methods/m?timeout=1.5", "from 1 to 29000, not \"1.5\""),
        ("/things/g/methods/m?timeout=0", "from 1 to 29000, not \"0\""),
        ("/things/g/methods/m?timeout=-1", "from 1 to 29000, not \"-1\""),
        ("/things/g/methods/m?timeout=abc", "from 1 to 29000, not \"abc\""),
        ("/things/g/methods/m?timeout=1e9", "from 1 to 29000, not \"1e9\""),
        ("/things/g/methods/m?timeout=1000000000", "from 1 to 29000, not \"1000000000\""),
        ("/things/g/methods/m?timeout=99999999999999999999999", "from 1 to 29000"),
        ("/things/g/methods/m?timeout=%2B5", "from 1 to 29000, not \"+5\""),
        ("/things/g/methods/m?timeout=", "from 1 to 29000, not \"\""),
        ("/things/g/methods/m?timeout=1&timeout=2", "stands twice"),
        ("/things/g/methods/m?timout=1", "there is no query parameter \"timout\""),
        ("/things/g/methods/m?timeout=%ff", "the query is not UTF-8"),
    ];
    for (uri, message) in table {
        let (code, headers, body) = ask(Method::POST, uri, "{}").await;
        assert_eq!(code, 400, "{uri}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["cache-control"], "no-store");
        assert_problem(code, &body, "invalid_request", message, uri);
    }
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let almost = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_LEN - 10));
    let table: &[(&[u8], &str)] = &[
        (b"{", "the body is not JSON"),
        (b"{} {}", "the body is not JSON"),
        (b"'a'", "the body is not JSON"),
        (b"NaN", "the body is not JSON"),
        (b"1e999", "the body is not JSON"),
        (b"\"\\ud800\"", "the body is not JSON"),
        (b"\xff", "the body is not UTF-8"),
        (deep.as_bytes(), "the body is nested deeper than 64 levels"),
        (almost.as_bytes(), "the request is too large"),
    ];
    for (payload, message) in table {
        let (code, _, body) = ask(Method::POST, "/things/g/methods/m", payload.to_vec()).await;
        assert_eq!(code, 400, "{message}");
        assert_eq!(body.get("instance"), None, "{message}");
        let found = body["detail"].as_str().unwrap();
        assert!(found.contains(message), "{message}: {found}");
        assert_eq!((&body["code"], &body["outcome"]), (&json!("invalid_request"), &json!("not_executed")));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    for size in [MAX_PAYLOAD_LEN + 1, 1 << 20] {
        let (code, _, body) = ask(Method::POST, "/things/g/methods/m", vec![b' '; size]).await;
        assert_eq!(code, 413);
        assert_problem(code, &body, "content_too_large", "the body is above 131072 bytes", "large");
    }
    // One that does not say how long it is.
    let body = Body::new(Endless);
    let (code, _, body) = ask(Method::POST, "/things/g/methods/m", body).await;
    assert_problem(code, &body, "content_too_large", "the body is above 131072 bytes", "endless");
}

struct Endless;

impl axum::body::HttpBody for Endless {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(vec![b' '; 4096].into()))))
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_no_call() {
    let never = Body::new(NeverEnding);
    let (code, _, body) = ask(Method::POST, "/things/g/methods/m?timeout=20", never).await;
    assert_eq!(
        (code.as_u16(), &body["code"], &body["outcome"]),
        (503, &json!("expired"), &json!("not_executed"))
    );
    assert!(body["detail"].as_str().unwrap().contains("body was not complete before the deadline"));
}

#[tokio::test]
async fn who_may_not_is_told_so_before_the_body_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let access = Access::Policy(Policy::load(file.path()).unwrap());
    let link = Options::new("", "127.0.0.1", 1);
    let config = Config { most_calls: 4, ..Config::new(link, Level::new("c").unwrap()) };
    let (invoker, _background) = Invoker::new(config).unwrap();
    let mut request = Request::post("/things/g/methods/m").body(Body::new(NeverEnding)).unwrap();
    request.extensions_mut().insert(Caller("arn:x".into()));
    let options = RouterOptions { access, ..RouterOptions::default() };
    let answer = router(invoker, options).oneshot(request);
    let soon = BootInstant::now().saturating_add(Duration::from_secs(10));
    assert_eq!(until(soon, answer).await.unwrap().unwrap().status(), 403);
}

struct NeverEnding;

impl axum::body::HttpBody for NeverEnding {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_the_same_shape() {
    for (method, uri, code, allow) in [
        (Method::GET, "/", 404, ""),
        (Method::POST, "/things/g/methods/", 404, ""),
        (Method::POST, "/things/g/methods/m/", 404, ""),
        (Method::POST, "/things/g/methods/m/x", 404, ""),
        (Method::POST, "//things/g/methods/m", 404, ""),
        (Method::POST, "/%74hings/g/methods/m", 404, ""),
        (Method::GET, "/things/g/", 404, ""),
        (Method::GET, "/things/", 404, ""),
        (Method::GET, "/things", 404, ""),
        (Method::GET, "/things/g/methods/m", 405, "POST"),
        (Method::DELETE, "/things/g/methods/m", 405, "POST"),
        (Method::OPTIONS, "/things/g/methods/m", 405, "POST"),
        (Method::TRACE, "/things/g/methods/m", 405, "POST"),
        (Method::POST, "/things/g", 405, "GET"),
        (Method::POST, "/things/g/methods", 405, "GET"),
        (Method::HEAD, "/things/g", 405, "GET"),
        (Method::HEAD, "/things/g/methods", 405, "GET"),
        (Method::HEAD, "/things/g/calls/0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c", 405, "GET"),
        (Method::POST, "/invoke", 405, "GET"),
        (Method::HEAD, "/invoke?request=open&method=m&target=g", 405, "GET"),
        (Method::PUT, "/openapi.json", 405, "GET"),
    ] {
        let (found, headers, body) = ask(method.clone(), uri, "").await;
        assert_eq!(found, code, "{method} {uri}");
        let word = if code == 404 { "no_such_path" } else { "method_not_allowed" };
        assert_eq!(headers.get("allow").map_or("", |allow| allow.to_str().unwrap()), allow, "{method} {uri}");
        if method != Method::HEAD {
            let message = if code == 404 { "GET /invoke and GET /openapi.json" } else { "" };
            assert_problem(found, &body, word, message, uri);
        }
    }
}

#[tokio::test]
async fn the_samples_route_refuses_as_well() {
    let good = "request=open&method=m&target=g";
    for (query, message) in [
        (String::new(), "`request` is missing"),
        ("method=m&target=g".into(), "`request` is missing"),
        ("request=open&target=g".into(), "`method` is missing"),
        ("request=open&method=m".into(), "`target` is missing"),
        ("request=open&method=m&target=a%2Fb".into(), "the target cannot be used"),
        ("request=open&method=%24&target=g".into(), "the method cannot be used"),
        ("request=open&method=..&target=g".into(), "the method cannot be used: it is `.` or holds `..`"),
        ("request=open&method=m&target=".into(), "a topic level is empty"),
        (format!("{good}&timeout=0"), "seconds from 1 to 60, not \"0\""),
        (format!("{good}&timeout=61"), "seconds from 1 to 60, not \"61\""),
        (format!("{good}&timeout=1.5"), "seconds from 1 to 60, not \"1.5\""),
        (format!("{good}&target=h"), "`target` stands twice"),
        (format!("{good}&x=1"), "there is no query parameter \"x\""),
    ] {
        let (code, _, body) = ask(Method::GET, &format!("/invoke?{query}"), "").await;
        assert_eq!(code, 400, "{query}");
        assert_sample_refused(&body, message, &query);
        assert_eq!(body["result"], "invalid_request");
        assert!(body["elapsed"].is_string());
    }
}

#[tokio::test]
async fn without_compat_there_is_no_such_route() {
    let link = Options::new("", "127.0.0.1", 1);
    let (invoker, _background) =
        Invoker::new(Config { most_calls: 4, ..Config::new(link, Level::new("c").unwrap()) }).unwrap();
    let request =
        Request::builder().uri("/invoke?request=open&method=m&target=g").body(Body::empty()).unwrap();
    let response = router(invoker, RouterOptions::default()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 404);
}

#[test]
fn trace_contexts() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (text, taken) in [(good, true), ("", false), (&*good.to_uppercase(), false), (&good[..54], false)] {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        assert_eq!(traceparent(&headers).is_some(), taken, "{text}");
        headers.append("traceparent", good.parse().unwrap());
        assert_eq!(traceparent(&headers), None, "there are two");
    }
}

#[tokio::test]
async fn a_question_that_is_none_is_refused() {
    for (uri, message) in [
        ("/things/a%2Fb", "the target cannot be used: a topic level holds '/'"),
        ("/things/g?timeout=0", "from 1 to 29000, not \"0\""),
        ("/things/g?after=a", "no query parameter \"after\"; `timeout` is the only one"),
        ("/things/a%2Fb/methods", "the target cannot be used: a topic level holds '/'"),
        ("/things/%FF/methods", "the path is not UTF-8"),
        ("/things/g/methods?timeout=0", "from 1 to 29000, not \"0\""),
        ("/things/g/methods?after=a&after=b", "`after` stands twice"),
        (
            "/things/g/methods?before=a",
            "no query parameter \"before\"; `timeout` and `after` are all there are",
        ),
        ("/things/g/calls/x", "the id of a call is a UUID"),
        ("/things/g/calls/0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c?after=a", "there is no query parameter"),
    ] {
        let (code, _, body) = ask(Method::GET, uri, "").await;
        assert_eq!(code, 400, "{uri}");
        assert_problem(code, &body, "invalid_request", message, uri);
    }
}
