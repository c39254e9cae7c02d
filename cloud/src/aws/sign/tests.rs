use aws_sigv4::http_request::{PercentEncodingMode, SessionTokenMode, SignatureLocation, SigningSettings};
use axum::http::request::Builder;
use percent_encoding::CONTROLS;
use serde::Deserialize;

use super::*;

/// AWS's own cases; the file says where they come from.
const VECTORS: &str = include_str!("../../../tests/sigv4/vectors.json");

#[derive(Deserialize)]
struct Suite {
    access_key_id: String,
    secret_access_key: String,
    region: String,
    service: String,
    unix_seconds: u64,
    expiration_in_seconds: u64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    /// A header that the suite's signers add to what they sign.
    x_amz_content_sha256: Option<String>,
    token: Option<String>,
    #[serde(default)]
    omit_session_token: bool,
    header_signature: String,
    query_signature: String,
}

impl Suite {
    fn credentials(&self, token: Option<&str>) -> Credentials {
        let token = token.map(str::to_owned);
        Credentials::new(&self.access_key_id, &self.secret_access_key, token, None, "test")
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.unix_seconds)
    }

    fn scope(&self) -> Scope<'_> {
        Scope { service: &self.service, region: &self.region }
    }
}

impl Case {
    fn request(&self) -> Request<String> {
        let target = utf8_percent_encode(&self.target, CONTROLS).to_string();
        let uri = format!("https://example.amazonaws.com{target}");
        let add = |builder: Builder, (name, value): &(String, String)| builder.header(name, value);
        let builder = Request::builder().method(self.method.as_str()).uri(uri);
        self.headers.iter().fold(builder, add).body(self.body.clone()).unwrap()
    }

    /// The suite's paths are the names of things, encoded once in the signature; those of our services are URLs.
    fn path(&self) -> PercentEncodingMode {
        let plain = self.target.is_ascii() && !self.target.split('?').next().unwrap().contains('%');
        if plain { PercentEncodingMode::Double } else { PercentEncodingMode::Single }
    }
}

fn suite() -> Suite {
    serde_json::from_str(VECTORS).unwrap()
}

#[test]
fn signatures_in_headers_are_those_of_awss_suite() {
    let suite = suite();
    for case in &suite.cases {
        if case.omit_session_token {
            // Only asked of presigned URLs.
            continue;
        }
        let mut request = case.request();
        if let Some(hash) = &case.x_amz_content_sha256 {
            request.headers_mut().insert("x-amz-content-sha256", hash.parse().unwrap());
        }
        let credentials = suite.credentials(case.token.as_deref());
        sign_headers(&mut request, suite.scope(), &credentials, suite.now(), case.path()).unwrap();
        let found = request.headers()["authorization"].to_str().unwrap();
        let expected = format!("Signature={}", case.header_signature);
        assert!(found.ends_with(&expected), "{}: {found}, not {expected}", case.name);
        let token = request.headers().get("x-amz-security-token").map(|value| value.to_str().unwrap());
        assert_eq!(token, case.token.as_deref(), "{}", case.name);
        assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
    }
    assert_eq!(suite.cases.len(), 29);
}

#[test]
fn signatures_in_queries_are_those_of_awss_suite() {
    let suite = suite();
    for case in &suite.cases {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(suite.expiration_in_seconds));
        settings.percent_encoding_mode = case.path();
        if case.omit_session_token {
            settings.session_token_mode = SessionTokenMode::Exclude;
        }
        let credentials = suite.credentials(case.token.as_deref());
        let added =
            instructions(&case.request(), suite.scope(), &credentials, suite.now(), settings).unwrap();
        let query = presigned_query(&added);
        let expected = format!("X-Amz-Signature={}", case.query_signature);
        assert!(query.contains(&expected), "{}: {query}, not {expected}", case.name);
    }
}

#[test]
fn a_signature_is_made_anew() {
    let suite = suite();
    let credentials = suite.credentials(None);
    let mut request = suite.cases[0].request();
    let sign = |request: &mut Request<String>, credentials: &Credentials| {
        sign_request(request, suite.scope(), credentials, suite.now()).unwrap();
    };
    sign(&mut request, &credentials);
    let first = request.headers().clone();
    sign(&mut request, &suite.credentials(Some("token")));
    assert_ne!(request.headers(), &first);
    sign(&mut request, &credentials);
    assert_eq!(request.headers(), &first);
    assert!(!format!("{:?}", request.headers()).contains("Signature"), "{:?}", request.headers());
}

#[test]
fn the_host_is_as_it_will_be_sent() {
    let suite = suite();
    for (url, expected) in [
        ("https://Example.COM/", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("https://example.com:8443/", "example.com:8443"),
        ("http://localhost:80/", "localhost"),
        ("https://[::1]:8443/", "[::1]:8443"),
    ] {
        let mut request = Request::get(url).body(b"").unwrap();
        sign_request(&mut request, suite.scope(), &suite.credentials(None), suite.now()).unwrap();
        assert_eq!(request.headers()["host"], expected);
    }
}

#[test]
fn what_cannot_be_signed_is_said_in_words_and_without_secrets() {
    let suite = suite();
    let good = suite.credentials(Some("t0ken"));
    let presign = |endpoint: &str, credentials: &Credentials, now| {
        presign_websocket(endpoint, "eu-central-1", credentials, now)
            .map_err(|error| format!("{error} {error:?}"))
    };
    let now = suite.now();
    assert!(presign("localhost:8443", &good, now).is_ok());
    let bad_token = suite.credentials(Some("t0ken\n"));
    let bad_key = Credentials::new("AKID\r\nX: y", "s3cret", None, None, "test");
    let old = Credentials::new("AKID", "s3cret", None, Some(now), "test");
    let (early, late) = (UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + END_OF_TIME);
    let endpoint = "is not a host name";
    for (host, credentials, now, expected) in [
        ("", &good, now, endpoint),
        ("https://a.example", &good, now, endpoint),
        ("a.example/", &good, now, endpoint),
        ("a.example/mqtt?", &good, now, endpoint),
        ("a.example#", &good, now, endpoint),
        ("me:s3cret@", &good, now, endpoint),
        ("a b", &good, now, endpoint),
        (":443", &good, now, endpoint),
        ("a.example", &bad_token, now, "characters that no key id"),
        ("a.example", &bad_key, now, "characters that no key id"),
        ("a.example", &old, now, "have expired"),
        ("a.example", &good, early, "clock shows no date"),
        ("a.example", &good, late, "clock shows no date"),
    ] {
        let error = presign(host, credentials, now).unwrap_err();
        assert!(error.contains(expected), "{host}: {error}");
        assert!(!error.contains("t0ken") && !error.contains("s3cret"), "{error}");
    }
    for region in ["", "eu central", "eu/central", "eu\n"] {
        let error = presign_websocket("a.example", region, &good, now).unwrap_err();
        assert!(error.to_string().contains("must be letters, digits and hyphens"), "{error}");
    }
    let mut request = Request::get("/relative").body("").unwrap();
    let error = sign_request(&mut request, suite.scope(), &good, now).unwrap_err();
    assert!(error.to_string().contains("names no host"), "{error}");
    let mut request = Request::get("https://a.example").header("x-name", "ä").body("").unwrap();
    let error = sign_request(&mut request, suite.scope(), &good, now).unwrap_err();
    assert!(error.to_string().contains("the header x-name holds"), "{error}");
}

#[test]
fn regions() {
    for (host, region) in [
        ("a1b2c3.execute-api.eu-central-1.amazonaws.com", Some("eu-central-1")),
        ("A1B2C3.Execute-API.EU-Central-1.AmazonAWS.com.", Some("eu-central-1")),
        ("a1b2c3.execute-api.us-gov-west-1.amazonaws.com:443", Some("us-gov-west-1")),
        ("a1b2c3.execute-api.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
        ("a1b2c3.execute-api.us-east-1.api.aws", Some("us-east-1")),
        ("a1b2c3-vpce-0a1b2c.execute-api.us-east-1.amazonaws.com", Some("us-east-1")),
        ("vpce-0a1b-2c3d.execute-api.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
        ("vpce-0a1b-2c3d-us-east-1a.execute-api.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
        ("a1b2c3-ats.iot.ap-southeast-2.amazonaws.com:8443", Some("ap-southeast-2")),
        ("a1b2c3.ats.iot.cn-northwest-1.amazonaws.com.cn", Some("cn-northwest-1")),
        ("data.iot-fips.us-west-2.amazonaws.com", Some("us-west-2")),
        ("api.example.com", None),
        ("localhost:8080", None),
        ("", None),
        ("execute-api.eu-central-1.amazonaws.com", None),
        (".execute-api.eu-central-1.amazonaws.com", None),
        ("a1b2c3.execute-api.eu-central.amazonaws.com", None),
        ("a1b2c3.execute-api.eu-1.amazonaws.com", None),
        ("a1b2c3.execute-api.eu--1.amazonaws.com", None),
        ("a1b2c3.execute-api.eu-central-1.amazonaws.com.evil.example", None),
        ("a1b2c3.execute-api.eu-central-1.amazonaws.com@evil.example", None),
        ("bucket.s3.eu-central-1.amazonaws.com", None),
    ] {
        assert_eq!(region_of(host).ok().as_deref(), region, "{host}");
    }
    let error = region_of("api.example.com").unwrap_err().to_string();
    assert_eq!(
        error,
        "the host name \"api.example.com\" does not hold its AWS region; say which it is, such as eu-central-1"
    );
}
