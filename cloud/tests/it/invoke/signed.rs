//! Signed calls, over TLS.

use nowd_testkit::Ca;
use serde_json::{Value, json};

use super::front::{Canned, Front, Received};
use super::{invoke, invoke_with, scratch};
use crate::sign::botocore;

const EXECUTED: Canned = (
    "200 OK\r\nContent-Type: application/json\r\nServer-Timing: total;dur=1.500",
    r#"{"id":"i","status":"ok","outcome":"executed","response":1}"#,
);
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", SECRET)];
const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLE+/=tc764==";

/// As botocore would have signed it at the time that it names.
fn expected_signature(url: &str, request: &Received, token: Option<&str>) -> Value {
    let date = request.header("x-amz-date").unwrap();
    let signed = request.header("authorization").unwrap().split("SignedHeaders=").nth(1).unwrap();
    let signed: Vec<_> = signed.split(',').next().unwrap().split(';').collect();
    let headers: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| signed.contains(&name.as_str()) && !name.starts_with("x-amz-"))
        .collect();
    let origin = url.strip_suffix("/Prod").unwrap();
    let target = request.line.split(' ').nth(1).unwrap();
    json!({
        "kind": "headers", "method": "POST", "url": format!("{origin}{target}"), "headers": headers, "body": request.body,
        "service": "execute-api", "region": "eu-central-1", "access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET,
        "token": token, "unix_seconds": unix_seconds(date),
    })
}

/// `20150830T123600Z`
fn unix_seconds(date: &str) -> u64 {
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..8],
        &date[9..11],
        &date[11..13],
        &date[13..15]
    );
    let time = humantime::parse_rfc3339(&text).unwrap();
    time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn calls_are_signed_as_botocore_would_sign_them() {
    let front = Front::start(EXECUTED);
    let url = front.url();
    let ca = front.ca.file();
    let call = [url.as_str(), "--region", "eu-central-1", "--ca", ca.to_str().unwrap(), "--target", "g 1%"];
    let method = ["--method", "a!b'(c)*~", "--timeout", "3s", "--request", "{\"ä\": 40}"];
    let call = [&call[..], &method].concat();
    let token = [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", TOKEN)];
    invoke_with(&KEYS, &call).await.check(0, &["ok: executed"]);
    invoke_with(&token, &[&call[..], &["--key", "a  key"]].concat()).await.check(0, &["ok: executed"]);
    let five = invoke_with(&token, &[&call[..], &["--count", "5"]].concat()).await;
    five.check(0, &["5 executed", "total                    5     1.50     1.50"]);
    let credentials = format!("[other]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET}\n");
    let file = scratch("credentials", credentials.as_bytes());
    let profile = [("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())];
    invoke_with(&profile, &[&call[..], &["--profile", "other"]].concat()).await.check(0, &["ok: executed"]);
    drop(std::fs::remove_file(file));

    let seen = front.seen();
    assert_eq!(seen.len(), 8);
    // Five calls shared one connection.
    assert_eq!(*front.connections.lock().unwrap(), 4);
    let tokens = |n: usize| (1..=6).contains(&n).then_some(TOKEN);
    let cases: Vec<_> =
        seen.iter().enumerate().map(|(n, request)| expected_signature(&url, request, tokens(n))).collect();
    for (n, (request, expected)) in seen.iter().zip(botocore(&cases)).enumerate() {
        assert_eq!(
            request.line,
            "POST /Prod/things/g%201%25/methods/a%21b%27%28c%29%2A~?timeout=3000 HTTP/1.1"
        );
        assert_eq!(request.header("authorization"), Some(expected.as_str()), "{request:?}");
        assert_eq!(request.header("x-amz-security-token"), tokens(n));
        let signed = match n {
            0 | 7 => "content-type;host;x-amz-date,",
            1 => "content-type;host;idempotency-key;x-amz-date;x-amz-security-token,",
            _ => "content-type;host;x-amz-date;x-amz-security-token,",
        };
        assert!(expected.contains(&format!("SignedHeaders={signed}")), "{expected}");
    }
    assert_eq!(
        seen.iter().filter_map(|request| request.header("idempotency-key")).collect::<Vec<_>>(),
        ["a  key"]
    );
}

#[tokio::test]
async fn what_is_not_nowds_answer_is_unknown_unless_api_gateway_refused_it() {
    let denied = (
        "403 Forbidden\r\nx-amzn-ErrorType: AccessDeniedException",
        r#"{"Message":"not authorized to\u001b it"}"#,
    );
    let timeout = ("504 Gateway Timeout", r#"{"message": "Endpoint request timed out"}"#);
    let endless = ("200 OK", &*" ".repeat(2_000_000).leak());
    for (answer, code, parts) in [
        (
            denied,
            77,
            &["HTTP 403: not executed", "refused it (AccessDeniedException)", "authorized to\\u{1b} it"][..],
        ),
        (timeout, 4, &["HTTP 504: unknown", "does not come from nowd", ": Endpoint request timed out"]),
        (endless, 4, &["no_reply: unknown", "length limit exceeded"]),
    ] {
        let front = Front::start(answer);
        let (url, ca) = (front.url(), front.ca.file());
        let call = [
            url.as_str(),
            "--ca",
            ca.to_str().unwrap(),
            "--target",
            "g",
            "--method",
            "m",
            "--region",
            "eu-central-1",
        ];
        invoke_with(&KEYS, &call).await.check(code, parts);
    }
}

#[tokio::test]
async fn credentials_and_servers_that_are_no_good() {
    let front = Front::start(EXECUTED);
    let (url, ca) = (front.url(), front.ca.file());
    let call = [url.as_str(), "--region", "eu-central-1", "--target", "g", "--method", "m"];
    let trusting = [&call[..], &["--ca", ca.to_str().unwrap()]].concat();
    invoke(&trusting).await.check(77, &["no AWS credentials can be had"]);
    let ended = invoke(&[&trusting[..], &["--profile", "nobody"]].concat()).await;
    ended.check(77, &["no AWS credentials can be had"]);
    let other = Ca::new();
    let ended = invoke_with(&KEYS, &[&call[..], &["--ca", other.file().to_str().unwrap()]].concat()).await;
    ended.check(69, &["cannot be reached: invalid peer certificate"]);
    assert!(!ended.text.contains(SECRET));
    assert!(front.seen().is_empty());
}

#[tokio::test]
async fn credentials_that_expire_are_found_anew_and_what_was_called_is_told_when_there_are_none() {
    let front = Front::start(EXECUTED);
    let (url, ca) = (front.url(), front.ca.file());
    // A process that gives them three times, each time for less than a minute.
    let runs = scratch("runs", b"");
    let give = format!(
        "echo >> {runs}\n[ $(wc -l < {runs}) -le 3 ] || exit 1\n\
         echo '{{\"Version\": 1, \"AccessKeyId\": \"AKIDEXAMPLE\", \"SecretAccessKey\": \"{SECRET}\",'\n\
         date -u -d '50 seconds' '+\"Expiration\": \"%Y-%m-%dT%H:%M:%SZ\"}}'\n",
        runs = runs.display()
    );
    let script = scratch("give", give.as_bytes());
    let profile = format!("[profile given]\ncredential_process = /bin/sh {}\n", script.display());
    let config = scratch("config", profile.as_bytes());
    let env = [("AWS_CONFIG_FILE", config.to_str().unwrap()), ("PATH", "/usr/bin:/bin")];
    let call = [url.as_str(), "--region", "eu-central-1", "--ca", ca.to_str().unwrap(), "--profile", "given"];
    let call = [&call[..], &["--target", "g", "--method", "m", "--count", "9"]].concat();
    let ended = invoke_with(&env, &call).await;
    ended.check(3, &["2 calls in ", "2 executed", "no AWS credentials can be had"]);
    assert!(!ended.text.contains(SECRET), "{}", ended.text);
    assert_eq!(front.seen().len(), 2);
    for file in [runs, script, config] {
        drop(std::fs::remove_file(file));
    }
}
