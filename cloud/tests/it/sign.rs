//! Signatures against those of botocore, AWS's own library for Python.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::tools::tool;

use aws_credential_types::Credentials;
use axum::http::Request;
use nowd_cloud::aws::sign::{IOT_GATEWAY, PRESIGNED_FOR, Scope, presign_websocket, sign_request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What botocore makes of these cases; `tests/sigv4/botocore_sign.py` says what they hold.
pub(crate) fn botocore(cases: &[Value]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sigv4/botocore_sign.py");
    let mut python = Command::new(tool("python"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    let text = serde_json::to_vec(cases).unwrap();
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "botocore did not sign; its words are above");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Numbers that look random and are the same in each run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *of.get(self.below(of.len())).unwrap()
    }

    /// Text of plain and odd characters.
    fn text(&mut self, longest: usize) -> String {
        let odd = "azAZ09-._~ !\"#$%&'()*+,/:;<=>?@[\\]^`{|}äß€漢😀\u{7f}".chars().collect::<Vec<_>>();
        (0..self.below(longest + 1)).map(|_| odd.get(self.below(odd.len())).unwrap()).collect()
    }

    fn encoded(&mut self, longest: usize) -> String {
        utf8_percent_encode(&self.text(longest), UNRESERVED).to_string()
    }
}

const KEYS: [(&str, &str); 3] = [
    ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ("ASIA0000000000000000", "////++++////++++////++++////++++////++++"),
    ("A", "1"),
];
const TOKENS: [Option<&str>; 3] = [None, Some("plain"), Some("AQoDYXdzEPT//////////wEXAMPLE+/=&%?tc764==")];
const REGIONS: [&str; 3] = ["us-east-1", "eu-central-1", "cn-northwest-1"];

fn credentials((id, secret): (&str, &str), token: Option<&str>) -> Credentials {
    Credentials::new(id, secret, token.map(str::to_owned), None, "test")
}

fn case(
    (id, secret): (&str, &str),
    token: Option<&str>,
    region: &str,
    unix_seconds: u64,
    more: &Value,
) -> Value {
    let mut case = json!({
        "access_key_id": id, "secret_access_key": secret, "token": token, "region": region, "unix_seconds": unix_seconds,
    });
    case.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    case
}

fn at(unix_seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix_seconds)
}

#[test]
fn requests_are_signed_as_botocore_signs_them() {
    let mut seeded = Seeded(6);
    let (mut cases, mut ours) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let (key, token, region) = (seeded.one(&KEYS), seeded.one(&TOKENS), seeded.one(&REGIONS));
        let unix_seconds = u64::try_from(seeded.below(1 << 31)).unwrap();
        let service = seeded.one(&["execute-api", "iotdata", IOT_GATEWAY]);
        let method = seeded.one(&["GET", "POST", "PUT", "DELETE"]);
        let host = seeded.one(&[
            "a1b2c3.execute-api.eu-central-1.amazonaws.com",
            "Upper.Example.COM",
            "localhost:8443",
            "a.example:443",
        ]);
        let mut path = seeded.one(&["", "/Prod", "/a/./b", "/a/../b", "//a//b", "/.", "/a/"]).to_owned();
        for _ in 0..seeded.below(5) {
            path.push('/');
            path += &seeded.encoded(12);
        }
        // botocore drops the slash before a last dot, which RFC 3986 keeps; nobody here makes such paths.
        while path.is_empty() || path.ends_with("/.") || path.ends_with("/..") {
            path.push('/');
        }
        let pairs = seeded.below(4);
        let query: Vec<_> =
            (0..pairs).map(|n| format!("{}{n}={}", seeded.encoded(6), seeded.encoded(12))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let url = format!("https://{host}{path}{query}");
        let body = if seeded.below(3) == 0 { String::new() } else { seeded.text(200) };
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if seeded.below(2) == 0 {
            headers.push(("idempotency-key", "a  key   with spaces".to_owned()));
            headers
                .push(("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()));
            headers.push(("user-agent", "test".to_owned()));
        }
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let mut request = request.body(body.clone()).unwrap();
        sign_request(&mut request, Scope { service, region }, &credentials(key, token), at(unix_seconds))
            .unwrap();
        ours.push((n, url.clone(), request.headers()["authorization"].to_str().unwrap().to_owned()));
        let more = json!({"kind": "headers", "method": method, "url": url, "headers": headers, "body": body, "service": service});
        cases.push(case(key, token, region, unix_seconds, &more));
    }
    for ((n, url, ours), theirs) in ours.iter().zip(botocore(&cases)) {
        assert_eq!(*ours, theirs, "case {n}: {url}");
    }
}

#[test]
fn a_websocket_is_presigned_as_botocore_does_it_and_the_token_follows() {
    let mut seeded = Seeded(7);
    let (mut cases, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let (key, token, region) = (seeded.one(&KEYS), seeded.one(&TOKENS), seeded.one(&REGIONS));
        let unix_seconds = u64::try_from(seeded.below(1 << 31)).unwrap();
        let host =
            seeded.one(&["a1b2c3-ats.iot.eu-central-1.amazonaws.com", "localhost:8443", "127.0.0.1:49152"]);
        let path = presign_websocket(host, region, &credentials(key, token), at(unix_seconds)).unwrap();
        ours.push((format!("https://{host}{path}"), token));
        let more = json!({
            "kind": "query", "method": "GET", "url": format!("https://{host}/mqtt"), "headers": [], "body": "",
            "service": IOT_GATEWAY, "expires": PRESIGNED_FOR.as_secs(),
        });
        // AWS IoT Core wants the token outside what is signed.
        cases.push(case(key, None, region, unix_seconds, &more));
    }
    for ((ours, token), theirs) in ours.iter().zip(botocore(&cases)) {
        let token = token.map(|token| utf8_percent_encode(token, UNRESERVED).to_string());
        let expected = match token {
            Some(token) => format!("{theirs}&X-Amz-Security-Token={token}"),
            None => theirs,
        };
        assert_eq!(*ours, expected);
    }
}
