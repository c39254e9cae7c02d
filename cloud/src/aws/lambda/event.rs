//! From API Gateway's events to HTTP requests.
//!
//! What was authorised must be what is called, so nothing is normalised: neither dots nor slashes nor spellings. Which
//! events hold the path as the client sent it, and which decode it first, was seen at AWS and is written beside the code; a
//! path is decoded once in all, by the router. (`lambda_http` parses paths as browsers do, which takes `..` away, and panics
//! where that fails: see decision 30.)

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lambda_runtime::Diagnostic;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Literal in what is encoded here; all else is `%XX`. The one spelling that the router takes for every name.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How the names of function URLs' hosts go on after their id. They hand the path over as it was sent, and so do REST APIs,
/// whose events alone name no version. HTTP APIs decode it, and put the stage before it.
const FUNCTION_URL: &str = ".lambda-url.";
/// What `cargo lambda watch` calls itself, which does as a function URL.
const EMULATOR: &str = "localhost";

/// An event of API Gateway (REST API, HTTP API in format 1.0 or 2.0) or of a function URL; of others only so much that
/// they can be told.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    version: Option<String>,
    http_method: Option<String>,
    path: Option<String>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    headers: Option<BTreeMap<String, Option<String>>>,
    multi_value_headers: Option<BTreeMap<String, Option<Vec<String>>>>,
    query_string_parameters: Option<BTreeMap<String, Option<String>>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Option<Vec<String>>>>,
    request_context: Option<Context>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context {
    stage: Option<String>,
    domain_name: Option<String>,
    request_time_epoch: Option<u64>,
    time_epoch: Option<u64>,
    identity: Option<Identity>,
    /// Of a Lambda authorizer this may hold anything.
    authorizer: Option<serde_json::Value>,
    http: Option<Http>,
    connection_id: Option<IgnoredAny>,
    elb: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    user_arn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Http {
    method: Option<String>,
}

/// The format of an event, which its answer must have too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// REST API, and HTTP API where that was asked for.
    One,
    /// HTTP API and function URL.
    Two,
}

/// What of an event is no part of the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) format: Format,
    /// The IAM principal that signed the request, as API Gateway has made sure.
    pub(super) caller: Option<String>,
    /// When API Gateway got it, in milliseconds since 1970.
    pub(super) at: Option<u64>,
}

/// The event is something else than an HTTP request.
#[derive(Debug, thiserror::Error)]
#[error("the event is no HTTP request of API Gateway or of a function URL, and nothing else is served here")]
pub(super) struct NotHttp {}

impl From<NotHttp> for Diagnostic {
    fn from(error: NotHttp) -> Self {
        Self { error_type: "NotHttp".to_owned(), error_message: error.to_string() }
    }
}

impl Event {
    /// Who asks and when.
    pub(super) fn asked(&self) -> Result<Asked, NotHttp> {
        let context = self.request_context.as_ref().ok_or(NotHttp {})?;
        // A load balancer's events look much the same and have no IAM; a WebSocket API's have no path.
        if context.elb.is_some() || context.connection_id.is_some() {
            return Err(NotHttp {});
        }
        let (format, caller, at) = if self.version.as_deref() == Some("2.0") && context.http.is_some() {
            let iam = context.authorizer.as_ref().and_then(|authorizer| authorizer.get("iam"));
            let caller = iam.and_then(|iam| iam.get("userArn")?.as_str()).map(str::to_owned);
            (Format::Two, caller, context.time_epoch)
        } else if self.http_method.is_some() && self.path.is_some() {
            let identity = context.identity.as_ref();
            (Format::One, identity.and_then(|it| it.user_arn.clone()), context.request_time_epoch)
        } else {
            return Err(NotHttp {});
        };
        let caller = caller.filter(|caller| !caller.is_empty());
        Ok(Asked { format, caller, at })
    }

    /// The request, without the stage and `base_path`; or, in a sentence, why it cannot be one.
    pub(super) fn request(self, base_path: &str) -> Result<Request<Body>, String> {
        let context = self.request_context.unwrap_or_default();
        let two = self.version.as_deref() == Some("2.0");
        let (method, path) = if two {
            (context.http.unwrap_or_default().method, self.raw_path)
        } else {
            (self.http_method, self.path)
        };
        let method = Method::from_bytes(method.unwrap_or_default().as_bytes())
            .map_err(|_| "the HTTP method is none".to_owned())?;
        let path = path.unwrap_or_default();
        let domain = context.domain_name.unwrap_or_default();
        let as_sent = self.version.is_none() || domain.contains(FUNCTION_URL) || domain == EMULATOR;
        let path = if as_sent {
            path
        } else {
            let stage = context.stage.filter(|stage| stage != "$default").unwrap_or_default();
            encoded(without(&path, &stage))
        };
        let query = if two {
            self.raw_query_string.unwrap_or_default()
        } else {
            query(self.multi_value_query_string_parameters, self.query_string_parameters)
        };
        let mut request = Request::new(body(self.body, self.is_base64_encoded)?);
        *request.method_mut() = method;
        *request.uri_mut() = uri(without(&path, base_path), &query)?;
        *request.headers_mut() = headers(self.multi_value_headers, self.headers)?;
        Ok(request)
    }
}

/// `path` without its first segments, where these are `prefix`; there is one slash between them.
fn without<'a>(path: &'a str, prefix: &str) -> &'a str {
    let prefix = prefix.trim_matches('/');
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(prefix));
    match rest {
        Some("") if !prefix.is_empty() => "/",
        Some(rest) if !prefix.is_empty() && rest.starts_with('/') => rest,
        _ => path,
    }
}

/// A decoded path, encoded again. A slash that was encoded is a separator now; whether it was one for the authoriser too is
/// not known (cloud/README.md).
fn encoded(path: &str) -> String {
    path.split('/')
        .map(|segment| utf8_percent_encode(segment, ENCODED).to_string())
        .collect::<Vec<_>>()
        .join("/")
}

fn uri(path: &str, query: &str) -> Result<Uri, String> {
    let unusable = || {
        "the path or the query holds characters that have to be percent-encoded, or is too long".to_owned()
    };
    // A question mark would begin the query, and what follows a number sign would be dropped.
    if !path.starts_with('/') || path.contains(['?', '#']) || query.contains('#') {
        return Err(unusable());
    }
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    PathAndQuery::try_from(text).map(Uri::from).map_err(|_| unusable())
}

/// The pairs of a query, which came decoded, encoded again. Each value of a name is there.
fn query(
    all: Option<BTreeMap<String, Option<Vec<String>>>>,
    last: Option<BTreeMap<String, Option<String>>>,
) -> String {
    let all = all.unwrap_or_default();
    let last = last.unwrap_or_default();
    let several = all
        .iter()
        .flat_map(|(name, values)| values.iter().flatten().map(move |value| (name.as_str(), value.as_str())));
    let single = last.iter().filter(|(name, _)| !all.contains_key(*name));
    let single = single.map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()));
    let encode = |text| utf8_percent_encode(text, ENCODED).to_string();
    let pairs = several.chain(single).map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A header that cannot be one is an error: without it the request would be another one.
fn headers(
    all: Option<BTreeMap<String, Option<Vec<String>>>>,
    last: Option<BTreeMap<String, Option<String>>>,
) -> Result<HeaderMap, String> {
    let all = all.unwrap_or_default();
    let last = last.unwrap_or_default();
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let wrong = || format!("the header {:?} cannot be one", name.chars().take(40).collect::<String>());
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        headers.try_append(name, value).map(drop).map_err(|_| "there are too many headers".to_owned())
    };
    for (name, values) in &all {
        values.iter().flatten().try_for_each(|value| add(name, value))?;
    }
    for (name, value) in last.iter().filter(|(name, _)| !all.contains_key(*name)) {
        value.iter().try_for_each(|value| add(name, value))?;
    }
    Ok(headers)
}

fn body(text: Option<String>, base64: Option<bool>) -> Result<Body, String> {
    let text = text.unwrap_or_default();
    if base64 != Some(true) {
        return Ok(Body::from(text));
    }
    let bytes =
        BASE64_STANDARD.decode(text).map_err(|_| "the event's body is not base64, as it says".to_owned())?;
    Ok(Body::from(bytes))
}

#[cfg(test)]
mod tests;
