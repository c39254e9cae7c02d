//! From HTTP responses to what API Gateway takes for one.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::event::Format;

/// No response is larger, in bytes: a reply has at most 128 KiB, and a description of the interface less.
const LARGEST: usize = 1024 * 1024;

/// A response, in the format of the event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    status_code: u16,
    headers: BTreeMap<String, String>,
    multi_value_headers: BTreeMap<String, Vec<String>>,
    body: String,
    is_base64_encoded: bool,
    /// There are none; emulators miss it, and a REST API takes no answer with a key that it does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<[String; 0]>,
}

impl Reply {
    pub(super) async fn new(format: Format, response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let all = values(&parts.headers);
        // What stands in both is sent twice.
        let (headers, multi_value_headers, cookies) = match format {
            Format::One => (BTreeMap::new(), all, None),
            Format::Two => {
                let joined = all.into_iter().map(|(name, values)| (name, values.join(", ")));
                (joined.collect(), BTreeMap::new(), Some([]))
            }
        };
        let mut status_code = parts.status.as_u16();
        let bytes = to_bytes(body, LARGEST).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a response could not be read; this is a bug");
            status_code = 500;
            axum::body::Bytes::new()
        });
        let (body, is_base64_encoded) = match String::from_utf8(bytes.into()) {
            Ok(text) => (text, false),
            Err(error) => (BASE64_STANDARD.encode(error.as_bytes()), true),
        };
        Self { status_code, headers, multi_value_headers, body, is_base64_encoded, cookies }
    }
}

fn values(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        all.entry(name.as_str().to_owned())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    all
}
