//! Signature Version 4: the presigned path of MQTT over WebSocket.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SessionTokenMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;

/// A request cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("the connection cannot be signed: {what}")]
pub struct SignError {
    what: String,
}

/// Path and query of `wss://{endpoint}/mqtt`, signed.
pub(crate) fn presign_websocket(
    endpoint: &str,
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<String, SignError> {
    let wrong = |what: &dyn std::fmt::Display| SignError { what: what.to_string() };
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.session_token_mode = SessionTokenMode::Exclude;
    settings.expires_in = Some(Duration::from_secs(60));
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("iotdevicegateway")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| wrong(&error))?;
    let url = format!("https://{endpoint}/mqtt");
    let request =
        SignableRequest::new("GET", &url, [("host", endpoint)].into_iter(), SignableBody::Bytes(&[]))
            .map_err(|error| wrong(&error))?;
    let (instructions, _) = sign(request, &params.into()).map_err(|error| wrong(&error))?.into_parts();
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs = instructions.params().iter().map(|(name, value)| format!("{name}={}", encode(value)));
    let mut query = pairs.collect::<Vec<_>>().join("&");
    if let Some(token) = credentials.session_token() {
        query.push_str("&X-Amz-Security-Token=");
        query.push_str(&encode(token));
    }
    Ok(format!("/mqtt?{query}"))
}
