use axum::body::to_bytes;
use serde_json::{Value, json};

use super::*;

fn event(value: Value) -> Event {
    serde_json::from_value(value).unwrap()
}

/// As a REST API writes it.
fn rest(method: &str, path: &str) -> Value {
    json!({
        "resource": "/things/{target}/methods/{method}",
        "path": path,
        "httpMethod": method,
        "headers": { "Host": "a1b2c3.execute-api.eu-central-1.amazonaws.com", "X-One": "last" },
        "multiValueHeaders": { "Host": ["a1b2c3.execute-api.eu-central-1.amazonaws.com"], "X-One": ["first", "last"] },
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": { "target": "g", "method": "m" },
        "stageVariables": null,
        "requestContext": {
            "resourcePath": "/things/{target}/methods/{method}",
            "httpMethod": method,
            "path": format!("/Prod{path}"),
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "Prod",
            "requestTimeEpoch": 1_700_000_000_123_u64,
            "identity": { "accessKey": "ASIA", "userArn": "arn:aws:sts::123456789012:assumed-role/ops/ann", "caller": "x:y" },
            "domainName": "a1b2c3.execute-api.eu-central-1.amazonaws.com",
            "apiId": "a1b2c3"
        },
        "body": "{\"percent\":40}",
        "isBase64Encoded": false
    })
}

/// As an HTTP API writes it in format 2.0.
fn http(path: &str, query: &str, stage: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "cookies": ["a=b"],
        "headers": { "host": "a1b2c3.execute-api.eu-central-1.amazonaws.com", "x-one": "first,last" },
        "queryStringParameters": { "timeout": "1,2" },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3",
            "authorizer": { "iam": { "userArn": "arn:aws:iam::123456789012:user/ann", "accessKey": "AKIA", "cognitoIdentity": null } },
            "domainName": "a1b2c3.execute-api.eu-central-1.amazonaws.com",
            "http": { "method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1" },
            "stage": stage,
            "timeEpoch": 1_700_000_000_456_u64
        },
        "body": "eyJwZXJjZW50Ijo0MH0=",
        "isBase64Encoded": true
    })
}

/// As a function URL writes it.
fn function_url(path: &str, query: &str) -> Value {
    let mut event = http(path, query, "$default");
    event["requestContext"]["domainName"] = "a1b2c3.lambda-url.eu-central-1.on.aws".into();
    event
}

/// As `cargo lambda watch` writes it.
fn emulator(path: &str) -> Value {
    let mut event = http(path, "", "$default");
    event["requestContext"]["domainName"] = "localhost".into();
    event["requestContext"]["authorizer"] = Value::Null;
    event["httpMethod"] = "GET".into();
    event
}

fn http_one(path: &str, stage: &str) -> Value {
    let mut event = rest("POST", path);
    event["version"] = "1.0".into();
    event["requestContext"]["stage"] = stage.into();
    event
}

fn uri_of(value: Value) -> Result<String, String> {
    event(value).request("").map(|request| request.uri().to_string())
}

async fn text(request: Request<Body>) -> String {
    String::from_utf8(to_bytes(request.into_body(), 1_000).await.unwrap().into()).unwrap()
}

#[tokio::test]
async fn each_kind_of_event() {
    let rest = event(rest("POST", "/things/g/methods/m"));
    let asked = rest.asked().unwrap();
    let ann = "arn:aws:sts::123456789012:assumed-role/ops/ann";
    assert_eq!(asked, Asked { format: Format::One, caller: Some(ann.into()), at: Some(1_700_000_000_123) });
    let request = rest.request("").unwrap();
    assert_eq!(
        (request.method(), request.uri().to_string().as_str()),
        (&Method::POST, "/things/g/methods/m")
    );
    assert_eq!(request.headers().get_all("x-one").iter().collect::<Vec<_>>(), ["first", "last"]);
    assert_eq!(text(request).await, r#"{"percent":40}"#);

    for value in [
        http("/things/g/methods/m", "timeout=5", "$default"),
        function_url("/things/g/methods/m", "timeout=5"),
    ] {
        let two = event(value);
        let ann = "arn:aws:iam::123456789012:user/ann";
        let asked = two.asked().unwrap();
        assert_eq!(
            asked,
            Asked { format: Format::Two, caller: Some(ann.into()), at: Some(1_700_000_000_456) }
        );
        let request = two.request("").unwrap();
        assert_eq!(request.uri(), "/things/g/methods/m?timeout=5");
        assert_eq!(request.headers()["x-one"], "first,last");
        assert_eq!(text(request).await, r#"{"percent":40}"#);
    }
    let emulator = event(emulator("/things/g"));
    assert_eq!(emulator.asked().unwrap().caller, None);
    assert_eq!(emulator.request("").unwrap().method(), Method::POST);
}

#[test]
fn only_iam_says_who_asks() {
    let mut lambda_authorizer = rest("GET", "/things/g");
    lambda_authorizer["requestContext"]["identity"]["userArn"] = Value::Null;
    lambda_authorizer["requestContext"]["authorizer"] =
        json!({ "iam": { "userArn": "arn:forged" }, "userArn": "arn:forged" });
    let mut empty = rest("GET", "/things/g");
    empty["requestContext"]["identity"]["userArn"] = "".into();
    let mut in_headers = rest("GET", "/things/g");
    in_headers["requestContext"]["identity"] = Value::Null;
    in_headers["headers"]["userArn"] = "arn:forged".into();
    let mut jwt = http("/things/g", "", "$default");
    jwt["requestContext"]["authorizer"] =
        json!({ "jwt": { "claims": { "userArn": "arn:forged" } }, "lambda": { "iam": {} } });
    let mut odd = http("/things/g", "", "$default");
    odd["requestContext"]["authorizer"] = json!({ "iam": "arn:forged" });
    let mut identity = http("/things/g", "", "$default");
    identity["requestContext"]["authorizer"] = Value::Null;
    identity["requestContext"]["identity"] = json!({ "userArn": "arn:forged" });
    for value in [lambda_authorizer, empty, in_headers, jwt, odd, identity] {
        assert_eq!(event(value.clone()).asked().unwrap().caller, None, "{value}");
    }
}

#[test]
fn other_events_are_no_requests() {
    let mut balancer = rest("GET", "/things/g");
    balancer["requestContext"]["elb"] = json!({ "targetGroupArn": "arn:x" });
    let mut socket = rest("GET", "/things/g");
    socket["requestContext"]["connectionId"] = "c".into();
    let mut no_path = rest("GET", "/things/g");
    no_path["path"] = Value::Null;
    let schedule =
        json!({ "version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {} });
    for value in
        [balancer, socket, no_path, schedule, json!({}), json!({ "version": "2.0", "rawPath": "/things/g" })]
    {
        assert!(event(value.clone()).asked().is_err(), "{value}");
    }
}

/// What hostile paths become: an error, or what the authoriser saw, to be decoded once.
#[test]
fn paths_are_neither_normalised_nor_decoded_twice() {
    // Sent as they are by REST APIs and function URLs.
    let sent: &[(&str, Option<&str>)] = &[
        ("/things/g/methods/a%2Fb", Some("/things/g/methods/a%2Fb")),
        ("/things/../admin", Some("/things/../admin")),
        ("/things/%2e%2e/admin", Some("/things/%2e%2e/admin")),
        ("/things/%2525/methods/m", Some("/things/%2525/methods/m")),
        ("//things//g", Some("//things//g")),
        ("/things/g/", Some("/things/g/")),
        ("/things/%00", Some("/things/%00")),
        ("/Prod/things/g", Some("/Prod/things/g")),
        ("/things/a b", None),
        ("/things/a?b", None),
        ("/things/a#b", None),
        ("/things/a\0b", None),
        ("/things/a\r\nX: y", None),
        ("/things/a\u{7f}b", None),
        ("things/g", None),
        ("", None),
        ("http://evil.example/things/g", None),
        ("*", None),
    ];
    for (path, found) in sent {
        for value in [rest("POST", path), function_url(path, ""), emulator(path)] {
            assert_eq!(uri_of(value).ok().as_deref(), *found, "{path:?}");
        }
    }
    // Decoded by HTTP APIs before they are handed over.
    let decoded: &[(&str, &str)] = &[
        ("/things/g/methods/window.set", "/things/g/methods/window.set"),
        ("/things/a b/methods/ü", "/things/a%20b/methods/%C3%BC"),
        ("/things/%2e%2e", "/things/%252e%252e"),
        ("/things/../admin", "/things/../admin"),
        ("/things/a%2Fb", "/things/a%252Fb"),
        ("/things/a?b#c", "/things/a%3Fb%23c"),
        ("/things/a\0b", "/things/a%00b"),
        ("//things//g/", "//things//g/"),
    ];
    for (path, found) in decoded {
        for value in [http(path, "", "$default"), http_one(path, "$default")] {
            assert_eq!(uri_of(value).as_deref(), Ok(*found), "{path:?}");
        }
    }
    let long = format!("/things/{}", "x".repeat(70_000));
    assert!(uri_of(rest("GET", &long)).is_err());
}

#[test]
fn stages_and_base_paths_go() {
    let table: &[(Value, &str, &str)] = &[
        (http("/dev/things/g", "", "dev"), "", "/things/g"),
        (http("/dev/dev/x", "", "dev"), "", "/dev/x"),
        (http("/devices/x", "", "dev"), "", "/devices/x"),
        (http("/dev", "", "dev"), "", "/"),
        (http("/dev/fleet/things/g", "", "dev"), "fleet", "/things/g"),
        (http_one("/dev/things/g", "dev"), "", "/things/g"),
        // A REST API's path never holds the stage.
        (rest("GET", "/Prod/things/g"), "", "/Prod/things/g"),
        (rest("GET", "/fleet/things/g"), "/fleet/", "/things/g"),
        (rest("GET", "/fleet"), "/fleet", "/"),
        (rest("GET", "/things/g"), "/fleet", "/things/g"),
        (rest("GET", "//fleet/things/g"), "/fleet", "//fleet/things/g"),
    ];
    for (value, base, found) in table {
        let request = event(value.clone()).request(base).unwrap();
        assert_eq!(request.uri(), *found, "{value} {base}");
    }
}

#[test]
fn queries_keep_every_value() {
    let mut value = rest("GET", "/x");
    value["multiValueQueryStringParameters"] =
        json!({ "timeout": ["1", "2"], "a b": ["c&d=e+f", "ü"], "none": null });
    value["queryStringParameters"] = json!({ "timeout": "2", "a b": "ü", "only": "here", "empty": null });
    let found = "/x?a%20b=c%26d%3De%2Bf&a%20b=%C3%BC&timeout=1&timeout=2&empty=&only=here";
    assert_eq!(uri_of(value).as_deref(), Ok(found));
    let two = http("/x", "timeout=1&timeout=2&a=%2B+&=&%zz", "$default");
    assert_eq!(uri_of(two).as_deref(), Ok("/x?timeout=1&timeout=2&a=%2B+&=&%zz"));
    for query in ["a#b", "a b", "a\nb"] {
        assert!(uri_of(http("/x", query, "$default")).is_err(), "{query:?}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused_in_words() {
    let set = |pointer: &str, to: Value| {
        let mut value = rest("POST", "/x");
        *value.pointer_mut(pointer).unwrap() = to;
        event(value).request("").map(drop).unwrap_err()
    };
    assert_eq!(set("/httpMethod", "GE T".into()), "the HTTP method is none");
    assert_eq!(set("/httpMethod", "".into()), "the HTTP method is none");
    let wrong = set("/multiValueHeaders", json!({ "Idempotency-Key": ["a\nb"] }));
    assert_eq!(wrong, "the header \"Idempotency-Key\" cannot be one");
    assert_eq!(set("/multiValueHeaders", json!({ "a b": ["c"] })), "the header \"a b\" cannot be one");
    assert_eq!(set("/isBase64Encoded", true.into()), "the event's body is not base64, as it says");
}

#[tokio::test]
async fn bodies() {
    for (body, encoded, found) in
        [(json!(null), json!(false), ""), (json!(""), json!(true), ""), (json!("ü"), json!(null), "ü")]
    {
        let mut value = rest("POST", "/x");
        value["body"] = body;
        value["isBase64Encoded"] = encoded;
        assert_eq!(text(event(value).request("").unwrap()).await, found);
    }
}
