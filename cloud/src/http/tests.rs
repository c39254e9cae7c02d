use axum::http::Method;
use nowd_link::Options;
use serde_json::{Value, json};
use tower::ServiceExt as _;

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

/// What every refusal looks like.
fn assert_refused(body: &Value, message: &str, of: &str) {
    assert_eq!(
        (&body["status"], &body["outcome"]),
        (&json!("invalid_request"), &json!("not_executed")),
        "{of}"
    );
    assert!(Uuid::parse_str(body["id"].as_str().unwrap()).is_ok());
    let found = body["error"]["message"].as_str().unwrap();
    assert!(found.contains(message), "{of}: {found}");
}

#[tokio::test]
async fn bad_names_and_timeouts_are_refused_in_one_sentence() {
    let long = "x".repeat(129);
    let far = format!("/things/{}/methods/{}", "t".repeat(120), "m".repeat(120));
    let table = [
        ("/things/a%2Fb/methods/m", "the target cannot be used: a topic level holds '/'"),
        ("/things/a%2bb/methods/m", "the target cannot be used: a topic level holds '+'"),
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
        ("/things/%ff/methods/m", "the path is not UTF-8"),
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
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["cache-control"], "no-store");
        assert_refused(&body, message, uri);
    }
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let large = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_LEN));
    let almost = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_LEN - 10));
    let table: &[(&[u8], &str)] = &[
        (b"{", "the body is not JSON"),
        (b"{} {}", "the body is not JSON"),
        (b"'a'", "the body is not JSON"),
        (b"NaN", "the body is not JSON"),
        (b"1e999", "the body is not JSON"),
        (b"\"\\ud800\"", "the body is not JSON"),
        (b"\xff", "the body is not UTF-8"),
        (deep.as_bytes(), "the body is not JSON: recursion limit"),
        (large.as_bytes(), "the body is above 131072 bytes"),
        (almost.as_bytes(), "the request is too large"),
    ];
    for (payload, message) in table {
        let (code, _, body) = ask(Method::POST, "/things/g/methods/m", payload.to_vec()).await;
        assert_eq!(code, 400, "{message}");
        assert_refused(&body, message, message);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_no_call() {
    let never = Body::new(NeverEnding);
    let (code, _, body) = ask(Method::POST, "/things/g/methods/m?timeout=20", never).await;
    assert_eq!(
        (code.as_u16(), &body["status"], &body["outcome"]),
        (503, &json!("expired"), &json!("not_executed"))
    );
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
    for (method, uri, code, word) in [
        (Method::GET, "/", 404, "no_such_path"),
        (Method::POST, "/things/g/methods/", 404, "no_such_path"),
        (Method::POST, "/things/g/methods/m/x", 404, "no_such_path"),
        (Method::GET, "/things/g/methods/m", 405, "method_not_allowed"),
        (Method::DELETE, "/things/g/methods/m", 405, "method_not_allowed"),
        (Method::OPTIONS, "/things/g/methods/m", 405, "method_not_allowed"),
        (Method::POST, "/invoke", 405, "method_not_allowed"),
        (Method::HEAD, "/invoke?request=open&method=m&target=g", 405, ""),
    ] {
        let (found, _, body) = ask(method.clone(), uri, "").await;
        assert_eq!(found, code, "{method} {uri}");
        if !word.is_empty() {
            assert_refused(&body, "", uri);
            assert_eq!(body["error"]["code"], word);
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
        ("request=open&method=m&target=".into(), "a topic level is empty"),
        (format!("{good}&timeout=0"), "seconds from 1 to 60, not \"0\""),
        (format!("{good}&timeout=61"), "seconds from 1 to 60, not \"61\""),
        (format!("{good}&timeout=1.5"), "seconds from 1 to 60, not \"1.5\""),
        (format!("{good}&target=h"), "`target` stands twice"),
        (format!("{good}&x=1"), "there is no query parameter \"x\""),
    ] {
        let (code, _, body) = ask(Method::GET, &format!("/invoke?{query}"), "").await;
        assert_eq!(code, 400, "{query}");
        assert_refused(&body, message, &query);
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
    }
}

#[tokio::test]
async fn a_question_about_methods_that_is_none_is_refused() {
    for (uri, message) in [
        ("/things/a%2Fb/methods", "the target cannot be used: a topic level holds '/'"),
        ("/things/%ff/methods", "the path is not UTF-8"),
        ("/things/g/methods?timeout=0", "from 1 to 29000, not \"0\""),
        ("/things/g/methods?after=a&after=b", "`after` stands twice"),
        (
            "/things/g/methods?before=a",
            "no query parameter \"before\"; `timeout` and `after` are all there are",
        ),
    ] {
        let (code, _, body) = ask(Method::GET, uri, "").await;
        assert_eq!(code, 400, "{uri}");
        assert_refused(&body, message, uri);
    }
    let (code, _, _) = ask(Method::POST, "/things/g/methods", "").await;
    assert_eq!(code, 405);
}
