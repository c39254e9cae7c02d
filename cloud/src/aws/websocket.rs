//! MQTT over a WebSocket to AWS IoT Core, signed with Signature Version 4.
//!
//! Each connection is signed anew, with the credentials of that moment. The signed URL is a secret for as long as it is
//! valid: it is never logged, and no error holds it.

mod stream;

use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use nowd_link::{Connection, LinkError, Options, Protocol, Stream, dial};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::{ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::credentials::{Aws, RegionError};
use super::sign::{SignError, presign_websocket, region_of};
use crate::clock::{BootInstant, until, wall_clock};
use crate::invoker::{Dial, Dialling};
use stream::Bytes;

/// The port of `wss:`; signatures and the `Host` header name any other.
const HTTPS_PORT: u16 = 443;
/// MQTT's name as a WebSocket subprotocol.
const SUBPROTOCOL: &str = "mqtt";
/// The largest message taken from the broker, in bytes: the link's largest packet, and some of the next one.
const LARGEST_MESSAGE: usize = 256 * 1024;
/// What is read or written at once, in bytes.
const BUFFER: usize = 16 * 1024;
/// How much of a refusal's text is shown, in characters.
const LONGEST_TEXT: usize = 200;

/// Dials AWS IoT Core over a WebSocket. `host`, `port` and `tls` of the options it is given name the endpoint.
#[derive(Debug, Clone)]
pub struct WebSocket {
    aws: Arc<Aws>,
}

/// No WebSocket was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// There are no credentials.
    #[error(
        "no AWS credentials were found; a function has those of its role, elsewhere set a profile or the environment"
    )]
    Credentials {
        /// What the SDK said.
        #[source]
        source: CredentialsError,
    },
    /// There is no region.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The URL could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// There was no connection to speak HTTP on, or no MQTT on the WebSocket.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The signature was not accepted, or what it allows is not enough.
    #[error(
        "{endpoint} refused the WebSocket (403{text}); check that the role allows iot:Connect, that the region is the \
         endpoint's, that the credentials have not expired, and this machine's clock"
    )]
    Forbidden {
        /// The endpoint.
        endpoint: String,
        /// What it said about it: empty, or a colon, a space and at most 200 characters.
        text: String,
    },
    /// Another answer than a WebSocket.
    #[error(
        "{endpoint} answered {status}{text} instead of opening a WebSocket; is it the endpoint of AWS IoT Core?"
    )]
    Status {
        /// The endpoint.
        endpoint: String,
        /// The HTTP status code.
        status: u16,
        /// As above.
        text: String,
    },
    /// The other side does not speak MQTT on this WebSocket.
    #[error(
        "{endpoint} opened a WebSocket, but does not offer the subprotocol mqtt; is it the endpoint of AWS IoT Core?"
    )]
    Subprotocol {
        /// The endpoint.
        endpoint: String,
    },
    /// The handshake failed otherwise.
    #[error("the WebSocket with {endpoint} could not be opened: {problem}")]
    Handshake {
        /// The endpoint.
        endpoint: String,
        /// What was wrong.
        problem: String,
    },
}

impl WebSocket {
    /// Dials with these credentials. The endpoint's name holds its region; where it does not, theirs is meant.
    #[must_use]
    pub fn new(aws: Arc<Aws>) -> Self {
        Self { aws }
    }

    async fn open(&self, options: &Options) -> Result<Connection, WebSocketError> {
        let endpoint = authority(options);
        // Neither needs the other; the first that fails ends it.
        let credentials =
            async { self.aws.credentials().await.map_err(|source| WebSocketError::Credentials { source }) };
        let dialled = async { Ok(dial(options, Protocol::Http).await?) };
        let (credentials, stream) = tokio::try_join!(credentials, dialled)?;
        let named = region_of(&options.host).ok();
        let region = named.as_deref().map_or_else(|| self.aws.region(), Ok)?;
        let path = presign_websocket(&endpoint, region, &credentials, wall_clock())?;
        let stream = upgrade(stream, endpoint, &path).await?;
        Ok(Connection::over(Box::new(stream), options).await?)
    }
}

impl Dial for WebSocket {
    fn dial(&self, options: Options) -> Dialling {
        let this = self.clone();
        Box::pin(async move {
            let deadline = BootInstant::now().saturating_add(options.connect_timeout);
            let late = || LinkError::ConnectTimeout {
                host: options.host.clone(),
                port: options.port,
                after: options.connect_timeout,
            };
            Ok(until(deadline, this.open(&options)).await.ok_or_else(late)??)
        })
    }
}

/// What the URL and the `Host` header say.
fn authority(options: &Options) -> String {
    let host = if options.host.contains(':') { format!("[{}]", options.host) } else { options.host.clone() };
    if options.port == HTTPS_PORT { host } else { format!("{host}:{}", options.port) }
}

/// Makes a WebSocket of the connection.
async fn upgrade(stream: Box<dyn Stream>, endpoint: String, path: &str) -> Result<Bytes, WebSocketError> {
    let request = Request::get(format!("wss://{endpoint}{path}"))
        .header("Host", &endpoint)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key())
        .header("Sec-WebSocket-Protocol", SUBPROTOCOL)
        .body(());
    let Ok(request) = request else {
        let problem = "it is no host name".to_owned();
        return Err(WebSocketError::Handshake { endpoint, problem });
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(LARGEST_MESSAGE)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(Bytes::new(socket)),
        Err(error) => Err(refusal(error, endpoint)),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of the many errors few mean anything to a person")]
fn refusal(error: WsError, endpoint: String) -> WebSocketError {
    match error {
        WsError::Http(response) => refused(&response, endpoint),
        WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(
            SubProtocolError::NoSubProtocol | SubProtocolError::InvalidSubProtocol,
        )) => WebSocketError::Subprotocol { endpoint },
        WsError::Io(source) => LinkError::Lost { source: Some(source) }.into(),
        other => WebSocketError::Handshake { endpoint, problem: other.to_string() },
    }
}

fn refused(response: &Response<Option<Vec<u8>>>, endpoint: String) -> WebSocketError {
    let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default());
    let text: String = body.trim().chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect();
    // A server may repeat what it was asked.
    let secret = body.to_ascii_lowercase().contains("x-amz-");
    let text = if text.is_empty() || secret { String::new() } else { format!(": {text}") };
    match response.status().as_u16() {
        403 => WebSocketError::Forbidden { endpoint, text },
        status => WebSocketError::Status { endpoint, status, text },
    }
}

#[cfg(test)]
mod tests;
