//! Direct Messaging: `POST /connections/{clientId}/messages`.
//!
//! The service delivers past all subscriptions, which no broker offers; so this publishes to the topic, and the client
//! must have a subscription that takes it, as a gateway has. Whether the client is connected, and whether it acknowledged,
//! is what mosquitto's log says, for clients however they came.

use std::sync::PoisonError;
use std::time::Duration;

use data_encoding::BASE64;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use tokio::time::sleep;

use super::mqtt::{Outgoing, Publisher};
use super::server::{Answer, json, refusal};
use super::sigv4::at_most_one;
use super::{Shared, keep, locked};

/// A message larger than this is refused.
const LARGEST_PAYLOAD: usize = 128 * 1024;
const LONGEST_CLIENT_ID: usize = 128;
const LONGEST_TOPIC: usize = 256;
const MOST_SLASHES: usize = 7;
/// Seconds to wait for the client's acknowledgement.
const TIMEOUTS: std::ops::RangeInclusive<u64> = 1..=15;
const DEFAULT_TIMEOUT: u64 = 5;
/// How often the log is looked at.
const PAUSE: Duration = Duration::from_millis(1);

/// A direct message that was signed well and well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectMessage {
    /// The MQTT client that it is for.
    pub client_id: String,
    /// Its topic.
    pub topic: String,
    /// Whether the client's acknowledgement is waited for.
    pub confirmation: bool,
    /// For how many seconds, if the request says so.
    pub timeout: Option<u64>,
}

/// What a test wants of the next direct message that is signed well and well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectAnswer {
    /// Not delivered, and answered with this status and AWS's code for it.
    Refused(u16),
    /// Delivered if there is whom to deliver it to, and answered with this status all the same.
    Delivered(u16),
    /// Delivered likewise, then the connection is cut instead of an answer.
    Cut,
    /// Delivered likewise, and never answered.
    Silent,
}

/// A request that is answered with an error.
struct Denied(StatusCode, &'static str);

impl Denied {
    const fn invalid(why: &'static str) -> Self {
        Self(StatusCode::BAD_REQUEST, why)
    }
}

/// Answers one request, which is signed well.
pub(crate) async fn answer(parts: &Parts, body: &[u8], shared: &Shared) -> std::io::Result<Response<Answer>> {
    let (wanted, message) = match read(parts, body) {
        Ok(read) => read,
        Err(Denied(status, why)) => return Ok(denied(status, why)),
    };
    let programmed = {
        let mut state = locked(&shared.state);
        keep(&mut state.direct_messages, wanted.clone());
        state.direct_answers.pop_front()
    };
    let answer = match programmed {
        Some(DirectAnswer::Refused(status)) => return Ok(status_of(status)),
        other => other,
    };
    let delivered = deliver(&wanted, &message, answer.is_none(), shared).await;
    match answer {
        Some(DirectAnswer::Refused(status) | DirectAnswer::Delivered(status)) => Ok(status_of(status)),
        Some(DirectAnswer::Cut) => Err(std::io::Error::other("cut as the test said")),
        Some(DirectAnswer::Silent) => std::future::pending().await,
        None => Ok(match delivered {
            Ok(()) => taken(),
            Err(Denied(status, why)) => denied(status, why),
        }),
    }
}

fn read(parts: &Parts, body: &[u8]) -> Result<(DirectMessage, Outgoing), Denied> {
    let client_id = parts.uri.path().strip_prefix("/connections/");
    let client_id = client_id.and_then(|rest| rest.strip_suffix("/messages"));
    let client_id = client_id.and_then(|id| percent_decode_str(id).decode_utf8().ok());
    let Some(client_id) = client_id.filter(|id| !id.is_empty()) else {
        return Err(Denied(StatusCode::NOT_FOUND, "there is nothing here"));
    };
    if parts.method != Method::POST {
        return Err(Denied(StatusCode::METHOD_NOT_ALLOWED, "messages are posted"));
    }
    if client_id.len() > LONGEST_CLIENT_ID || client_id.starts_with('$') {
        return Err(Denied::invalid("this is no client id"));
    }
    if body.len() > LARGEST_PAYLOAD {
        return Err(Denied(StatusCode::PAYLOAD_TOO_LARGE, "the payload is larger than 128 KiB"));
    }
    let query = |name| {
        at_most_one(parts.uri.query().unwrap_or_default(), name).map_err(|wrong| Denied::invalid(wrong.0))
    };
    let topic = query("topic")?.filter(|topic| is_topic(topic)).ok_or(Denied::invalid("this is no topic"))?;
    let response_topic = query("responseTopic")?;
    if response_topic.as_deref().is_some_and(|topic| !is_topic(topic)) {
        return Err(Denied::invalid("the response topic is no topic"));
    }
    let confirmation = match query("confirmation")?.as_deref() {
        Some("true") => true,
        Some("false") | None => false,
        Some(_) => return Err(Denied::invalid("confirmation is neither true nor false")),
    };
    let timeout = query("timeout")?.map(|text| text.parse().unwrap_or(u64::MAX));
    if confirmation && timeout.is_some_and(|seconds| !TIMEOUTS.contains(&seconds)) {
        return Err(Denied::invalid("timeout is not from 1 to 15"));
    }
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let decoded = |name, why| {
        let decode = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| Denied::invalid(why));
        header(name).map(decode).transpose()
    };
    let user = decoded("x-amz-mqtt5-user-properties", "the user properties are no base64")?;
    let outgoing = Outgoing {
        topic: topic.clone(),
        payload: body.to_vec(),
        utf8: header("x-amz-mqtt5-payload-format-indicator") == Some("UTF8_DATA"),
        content_type: query("contentType")?,
        response_topic,
        correlation_data: decoded("x-amz-mqtt5-correlation-data", "the correlation data are no base64")?,
        user_properties: user.map(|json| user_properties(&json)).transpose()?.unwrap_or_default(),
    };
    Ok((DirectMessage { client_id: client_id.into_owned(), topic, confirmation, timeout }, outgoing))
}

fn is_topic(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= LONGEST_TOPIC
        && !topic.contains(['+', '#', '\0'])
        && topic.matches('/').count() <= MOST_SLASHES
}

/// `[{"name": "value"}, ...]`.
fn user_properties(json: &[u8]) -> Result<Vec<(String, String)>, Denied> {
    serde_json::from_slice::<Vec<std::collections::BTreeMap<String, String>>>(json)
        .map(|objects| objects.into_iter().flatten().collect())
        .map_err(|_| Denied::invalid("the user properties are no list of objects"))
}

async fn deliver(
    wanted: &DirectMessage,
    message: &Outgoing,
    confirm: bool,
    shared: &Shared,
) -> Result<(), Denied> {
    let broken = |_| Denied(StatusCode::INTERNAL_SERVER_ERROR, "there is no broker");
    let id = format!("direct-message-{:016x}", fastrand::u64(..));
    let mut publisher = Publisher::connect(shared.broker, &id).await.map_err(broken)?;
    // What the log says after our own connection was not said before the request.
    let ours = format!(" as {id} (p");
    let within = Duration::from_secs(TIMEOUTS.max().unwrap_or(DEFAULT_TIMEOUT));
    let from = logged(shared, within, |lines| lines.iter().position(|line| line.contains(&ours)))
        .await
        .ok_or(Denied(StatusCode::INTERNAL_SERVER_ERROR, "the broker's log does not grow"))?;
    let connected = logged(shared, Duration::ZERO, |lines| {
        lines.iter().take(from).rev().find_map(|line| connected(line, &wanted.client_id))
    });
    if connected.await != Some(true) {
        return Err(Denied(StatusCode::NOT_FOUND, "the client is not connected"));
    }
    let taken = publisher.publish(message, wanted.confirmation).await.map_err(broken)?;
    if !taken {
        let why = "the client has no subscription for this topic: the stand-in cannot do without";
        return Err(Denied(StatusCode::INTERNAL_SERVER_ERROR, why));
    }
    if !wanted.confirmation || !confirm {
        return Ok(());
    }
    let timeout = Duration::from_secs(wanted.timeout.unwrap_or(DEFAULT_TIMEOUT));
    let acknowledged = logged(shared, timeout, |lines| {
        let rest = lines.get(from..)?;
        let (sent, mid) = rest.iter().enumerate().find_map(|(position, line)| {
            let (_, after) = line.split_once(&format!("Sending PUBLISH to {} (", wanted.client_id))?;
            after.contains(&format!(" '{}', ", wanted.topic)).then_some(())?;
            let mid = after.split(", ").find_map(|field| field.strip_prefix('m'))?;
            Some((position, format!("Received PUBACK from {} (Mid: {mid},", wanted.client_id)))
        })?;
        rest.iter().skip(sent).any(|line| line.contains(&mid)).then_some(())
    });
    acknowledged.await.ok_or(Denied(StatusCode::GATEWAY_TIMEOUT, "the client did not acknowledge in time"))
}

/// What a line of mosquitto's log says of whether `client_id` is connected.
fn connected(line: &str, client_id: &str) -> Option<bool> {
    let (_, said) = line.split_once(": ")?;
    if said.starts_with("New client connected from ") && said.contains(&format!(" as {client_id} (p")) {
        return Some(true);
    }
    // "disconnected", "closed its connection", "has exceeded timeout", "already connected, closing old connection".
    said.strip_prefix("Client ")?.strip_prefix(client_id)?.starts_with(' ').then_some(false)
}

/// Looks at the log until something is found in it, for `within` at most.
async fn logged<T>(
    shared: &Shared,
    within: Duration,
    mut find: impl FnMut(&[String]) -> Option<T>,
) -> Option<T> {
    let look = async {
        loop {
            let log = locked(&shared.log).clone();
            let found = find(&log.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(found) = found {
                return found;
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        found = look => Some(found),
        () = sleep(within) => None,
    }
}

fn taken() -> Response<Answer> {
    let trace = format!("{:032x}", fastrand::u128(..));
    json(StatusCode::OK, &serde_json::json!({ "message": "OK", "traceId": trace }))
}

fn status_of(status: u16) -> Response<Answer> {
    match StatusCode::from_u16(status).expect("a test names an HTTP status") {
        StatusCode::OK => taken(),
        status => denied(status, "as the test said"),
    }
}

fn denied(status: StatusCode, why: &str) -> Response<Answer> {
    let code = match status.as_u16() {
        400 => "InvalidRequestException",
        401 => "UnauthorizedException",
        403 => "ForbiddenException",
        404 => "ResourceNotFoundException",
        405 => "MethodNotAllowedException",
        413 => "RequestEntityTooLargeException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        504 => "GatewayTimeoutException",
        _ => "InternalFailureException",
    };
    refusal(status, code, why)
}
