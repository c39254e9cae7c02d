//! Signatures (SigV4): the URL of a WebSocket to AWS IoT Core, and HTTP requests to API Gateway and AWS IoT.
//!
//! Never reads a clock, never fetches credentials, sends nothing. What it makes is a secret as long as it is valid: nothing
//! here is logged, and no error holds a part of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest, SignatureLocation, SigningError,
    SigningInstructions, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use axum::http::header::{HOST, HeaderName, HeaderValue};
use axum::http::{Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

mod region;

pub use region::region_of;

/// The name of API Gateway's invocations, for [`Scope::service`].
pub const EXECUTE_API: &str = "execute-api";
/// The name of AWS IoT's connections and Direct Messages, for [`Scope::service`].
pub const IOT_GATEWAY: &str = "iotdevicegateway";
/// How long a presigned URL opens a WebSocket, from `now` on: five minutes.
///
/// It is used at once, and signed anew for each connection; a connection that is open stays open. What is beyond the time of a
/// handshake is for a clock that is behind that of AWS.
pub const PRESIGNED_FOR: Duration = Duration::from_secs(300);

/// Literal in a URL's path and query wherever signatures are made; all else is `%XX`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What those between may change or take away. AWS's own SDKs leave the same out.
const UNSIGNED: [&str; 15] = [
    "authorization",
    "baggage",
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
];
/// The year 10000, which a signature cannot name.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_800);

/// What a signature is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// As AWS names it in signatures, such as [`EXECUTE_API`].
    pub service: &'a str,
    /// Such as `eu-central-1`; see [`region_of`].
    pub region: &'a str,
}

/// Why there is no signature. Names no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The endpoint is something else than a host name. It is not shown: it may be a URL that holds a secret.
    #[error("the endpoint is not a host name, such as a1b2c3-ats.iot.eu-central-1.amazonaws.com")]
    Endpoint,
    /// A request for nowhere.
    #[error(
        "the request's URL names no host, such as https://a1b2c3.execute-api.eu-central-1.amazonaws.com/"
    )]
    NoHost,
    /// The host's name does not say where it is.
    #[error("the host name {host:?} does not hold its AWS region; say which it is, such as eu-central-1")]
    NoRegion {
        /// As it was given.
        host: String,
    },
    /// No region has such a name.
    #[error("the AWS region {region:?} must be letters, digits and hyphens, such as eu-central-1")]
    Region {
        /// As it was given.
        region: String,
    },
    /// A header's value that is not text.
    #[error(
        "the value of the header {header} holds other characters than visible ASCII, and cannot be signed"
    )]
    Header {
        /// Its name.
        header: HeaderName,
    },
    /// Key id or session token that cannot be sent.
    #[error("the AWS credentials hold characters that no key id or session token has; get them anew")]
    Credentials,
    /// They were good once.
    #[error("the AWS credentials have expired; get new ones (`aws sso login`, or whatever made them)")]
    Expired,
    /// A clock that shows no date.
    #[error("this machine's clock shows no date between 1970 and 9999; set it")]
    Clock,
    /// The signing library found something else.
    #[error("the request cannot be signed")]
    Refused {
        /// What it found.
        #[source]
        source: SigningError,
    },
}

/// Path and query of `wss://{endpoint}/mqtt`, signed for AWS IoT Core: whoever holds it can connect as `credentials` until
/// [`PRESIGNED_FOR`] after `now`.
///
/// `endpoint` is what the `Host` header will say: a host name, with `:port` unless it is 443. A session token is appended
/// after signing, which is AWS IoT Core's rule; the payload's hash is that of nothing.
pub fn presign_websocket(
    endpoint: &str,
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<String, SignError> {
    let uri = format!("https://{endpoint}/mqtt").parse().ok().filter(|uri| is_just(uri, endpoint));
    let uri: Uri = uri.ok_or(SignError::Endpoint)?;
    let request = Request::get(uri).body([]).map_err(|_| SignError::NoHost)?;
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.session_token_mode = SessionTokenMode::Exclude;
    settings.expires_in = Some(PRESIGNED_FOR);
    let scope = Scope { service: IOT_GATEWAY, region };
    Ok(format!("/mqtt?{}", presigned_query(&instructions(&request, scope, credentials, now, settings)?)))
}

/// Signs an HTTP request in its headers: adds `authorization`, `x-amz-date`, `host` if it is missing, and
/// `x-amz-security-token` where the credentials have a session token, and replaces those that are there.
///
/// The URL must be absolute and percent-encoded as it will be sent. Every header that is there is signed with it, but for those
/// that proxies change. The path is normalised and encoded once more in the signature, as all services but S3 want it.
/// Good for 5 minutes (API Gateway) to 15.
pub fn sign_request<B: AsRef<[u8]>>(
    request: &mut Request<B>,
    scope: Scope<'_>,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<(), SignError> {
    sign_headers(request, scope, credentials, now, PercentEncodingMode::Double)
}

fn sign_headers<B: AsRef<[u8]>>(
    request: &mut Request<B>,
    scope: Scope<'_>,
    credentials: &Credentials,
    now: SystemTime,
    path: PercentEncodingMode,
) -> Result<(), SignError> {
    if !request.headers().contains_key(HOST) {
        let host = host(request.uri()).ok_or(SignError::NoHost)?;
        request.headers_mut().insert(HOST, host);
    }
    for ours in ["authorization", "x-amz-date", "x-amz-security-token"] {
        request.headers_mut().remove(ours);
    }
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = path;
    let (headers, _) = instructions(request, scope, credentials, now, settings)?.into_parts();
    for header in headers {
        let mut value = HeaderValue::from_str(header.value()).map_err(|_| SignError::Credentials)?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}

/// What is to be added to the request.
fn instructions<B: AsRef<[u8]>>(
    request: &Request<B>,
    scope: Scope<'_>,
    credentials: &Credentials,
    now: SystemTime,
    mut settings: SigningSettings,
) -> Result<SigningInstructions, SignError> {
    let passed = now.duration_since(UNIX_EPOCH).map_err(|_| SignError::Clock)?;
    if passed >= END_OF_TIME {
        return Err(SignError::Clock);
    }
    if credentials.expiry().is_some_and(|expiry| expiry <= now) {
        return Err(SignError::Expired);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if scope.region.is_empty() || !scope.region.bytes().all(plain) {
        return Err(SignError::Region { region: scope.region.to_owned() });
    }
    let sendable = |text: &str| HeaderValue::from_str(text).is_ok();
    if !sendable(credentials.access_key_id()) || !credentials.session_token().is_none_or(sendable) {
        return Err(SignError::Credentials);
    }
    if request.uri().host().is_none_or(str::is_empty) {
        return Err(SignError::NoHost);
    }
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let text = value.to_str().map_err(|_| SignError::Header { header: name.clone() })?;
        headers.push((name.as_str(), text));
    }
    settings.excluded_headers = Some(UNSIGNED.map(Into::into).to_vec());
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(settings)
        .build()
        // Everything that it asks for is there.
        .map_err(|_| SignError::Credentials)?
        .into();
    let body = SignableBody::Bytes(request.body().as_ref());
    SignableRequest::new(request.method().as_str(), request.uri().to_string(), headers.into_iter(), body)
        .and_then(|request| sign(request, &params))
        .map(|output| output.into_parts().0)
        .map_err(|source| SignError::Refused { source })
}

fn presigned_query(instructions: &SigningInstructions) -> String {
    let encoded = |text| utf8_percent_encode(text, ENCODED);
    let params = instructions.params().iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    params.collect::<Vec<_>>().join("&")
}

/// Whether the URL holds this endpoint as it is, and nothing that would hide in it.
fn is_just(uri: &Uri, endpoint: &str) -> bool {
    uri.path() == "/mqtt"
        && uri.query().is_none()
        && !endpoint.contains('@')
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.authority().is_some_and(|authority| authority.as_str() == endpoint)
}

/// As the `Host` header says it.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let host = uri.host()?.to_ascii_lowercase();
    let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let text = match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests;
