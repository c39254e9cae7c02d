use axum::http::{Response, StatusCode};
use serde_json::json;

use super::*;

fn read(code: u16, error_type: Option<&str>, body: &str) -> Answer {
    let mut response = Response::builder().status(StatusCode::from_u16(code).unwrap());
    if let Some(error_type) = error_type {
        response = response.header("x-amzn-errortype", error_type);
    }
    Answer::read(&response.body(()).unwrap().into_parts().0, body.as_bytes())
}

#[test]
fn what_answers_say() {
    let nowd =
        |status: &str, outcome: &str| json!({"id": "i", "status": status, "outcome": outcome}).to_string();
    let problem = |code: &str, outcome: &str| {
        json!({"type": "about:blank", "title": "t", "status": 503, "code": code, "detail": "why", "outcome": outcome}).to_string()
    };
    let other = r#"{"message":"Internal server error"}"#;
    for (code, error_type, body, status, exit) in [
        (200, None, nowd("ok", "executed"), "ok", Exit::Ok),
        (202, None, nowd("sent", "unknown"), "sent", Exit::Unknown),
        (503, None, nowd("offline", "not_executed"), "offline", Exit::NotExecuted),
        (503, None, problem("offline", "not_executed"), "offline", Exit::NotExecuted),
        (504, None, problem("no_reply", "unknown"), "no_reply", Exit::Unknown),
        (403, None, problem("forbidden", "not_executed"), "forbidden", Exit::NotExecuted),
        (502, None, nowd("failed", "executed"), "failed", Exit::Ok),
        (504, None, nowd("timeout", "executed"), "timeout", Exit::Unknown),
        (200, None, nowd("unheard_of", "executed"), "unheard_of", Exit::Ok),
        (200, None, nowd("ok", "perhaps"), "HTTP 200", Exit::Unknown),
        (200, None, r#"{"outcome":"executed"}"#.into(), "HTTP 200", Exit::Unknown),
        (200, None, String::new(), "HTTP 200", Exit::Unknown),
        (200, None, "[1]".into(), "HTTP 200", Exit::Unknown),
        (200, None, "<html>".into(), "HTTP 200", Exit::Unknown),
        (502, None, other.into(), "HTTP 502", Exit::Unknown),
        (504, Some("InternalServerErrorException"), other.into(), "HTTP 504", Exit::Unknown),
        (403, None, other.into(), "HTTP 403", Exit::Unknown),
        (403, Some("SomethingElse"), other.into(), "HTTP 403", Exit::Unknown),
        (403, Some("MissingAuthenticationTokenException"), other.into(), "HTTP 403", Exit::Denied),
        (403, Some("AccessDeniedException:http://internal/"), other.into(), "HTTP 403", Exit::Denied),
        // As API Gateway says it by `GatewayResponses` of `cloud/template.yaml`.
        (403, Some("ExpiredTokenException"), problem("forbidden", "not_executed"), "HTTP 403", Exit::Denied),
        (429, Some("TooManyRequestsException"), problem("busy", "not_executed"), "busy", Exit::NotExecuted),
        (200, Some("AccessDeniedException"), other.into(), "HTTP 200", Exit::Unknown),
        (500, Some("AccessDeniedException"), other.into(), "HTTP 500", Exit::Unknown),
        (429, Some("TooManyRequestsException"), other.into(), "HTTP 429", Exit::NotExecuted),
        (429, None, other.into(), "HTTP 429", Exit::Unknown),
        (429, None, nowd("busy", "not_executed"), "busy", Exit::NotExecuted),
    ] {
        let answer = read(code, error_type, &body);
        assert_eq!((answer.status().as_str(), answer.exit()), (status, exit), "{code} {error_type:?} {body}");
        assert_eq!(answer.body, body);
    }
}

#[test]
fn errors_of_both_forms() {
    let error = json!({"code": "no_such_path", "message": "why"});
    let old = json!({"id": "i", "status": "invalid_request", "outcome": "not_executed", "error": error});
    let new = json!({"id": "i", "status": 400, "code": "invalid_request", "detail": "longer", "outcome": "not_executed", "error": error});
    for body in [old, new] {
        let Said::Call { status, id, error, response, .. } = read(400, None, &body.to_string()).said else {
            panic!()
        };
        assert_eq!((status.as_str(), id.as_deref()), ("invalid_request", Some("i")));
        assert_eq!((error, response), (Some(("no_such_path".into(), "why".into())), Value::Null));
    }
    let bare = r#"{"status":400,"code":"invalid_request","detail":"why","outcome":"not_executed"}"#;
    let Said::Call { error, .. } = read(400, None, bare).said else { panic!() };
    assert_eq!(error, Some(("invalid_request".into(), "why".into())));
}

#[test]
fn server_timing() {
    let read = |text: &str| times(text);
    let all = read(
        "total;dur=12.345, network;desc=\"x\";dur=7, bad name;dur=1, queue;dur=.5, x;dur=abc, plugin;dur=0.0019,y",
    );
    let expected = [("total", 12_345), ("network", 7_000), ("plugin", 1)];
    assert_eq!(all, expected.map(|(name, micros)| (name.to_owned(), micros)));
    assert_eq!(read("total;dur=99999999999999999999"), []);
    assert_eq!(read(&"a;dur=1,".repeat(100)).len(), MOST_PHASES);
}
