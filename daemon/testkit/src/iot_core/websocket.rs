//! MQTT over WebSocket: binary messages to and from the broker's TCP port.
//!
//! Cuts as awkwardly as the standard allows: what the broker sends is split and merged at random, never at packets. Never
//! looks at what passes, but for the client id of the first packet.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::mqtt::Connecting;
use super::server::Answer;
use super::sigv4::Wrong;
use super::{Counted, Shared, locked};

/// What the broker sends is read in pieces of at most this many bytes.
const PIECE: usize = 16 * 1024;
/// The largest WebSocket message: an MQTT packet of 128 KiB with room to spare.
const LARGEST: usize = 256 * 1024;

/// Whether the request asks for MQTT over WebSocket.
pub(crate) fn is_wanted(parts: &Parts) -> Result<(), Wrong> {
    let lists = |name: header::HeaderName, wanted: &str| {
        let values = parts.headers.get_all(name);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    let checks = [
        (parts.method == http::Method::GET, "the method is not GET"),
        (lists(header::CONNECTION, "upgrade"), "the header connection does not say upgrade"),
        (lists(header::UPGRADE, "websocket"), "the header upgrade does not say websocket"),
        (lists(header::SEC_WEBSOCKET_VERSION, "13"), "the WebSocket version is not 13"),
        (lists(header::SEC_WEBSOCKET_PROTOCOL, "mqtt"), "the subprotocol is not mqtt"),
        (parts.headers.contains_key(header::SEC_WEBSOCKET_KEY), "there is no WebSocket key"),
    ];
    checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, wrong)| Err(Wrong(wrong)))
}

/// Yes, to what [`is_wanted`].
pub(crate) fn switching(parts: &Parts) -> Response<Answer> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).map_or(b"".as_slice(), |key| key.as_bytes());
    let accept = derive_accept_key(key);
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_PROTOCOL, "mqtt"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ] {
        response.headers_mut().insert(name, value.parse().expect("base64 and words are header values"));
    }
    response
}

/// Carries one WebSocket until either end closes it.
pub(crate) async fn pipe<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    shared: &Arc<Shared>,
) -> std::io::Result<()> {
    let _open = Counted::new(&shared.open);
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let broker = TcpStream::connect(("127.0.0.1", shared.broker)).await?;
    broker.set_nodelay(true)?;
    let (mut from_broker, mut to_broker) = broker.into_split();
    let (mut to_client, mut from_client) = socket.split();
    let up = async {
        let mut connecting = Connecting::default();
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) => {
                    if let Some(id) = connecting.client_id(&bytes) {
                        locked(&shared.state).came(id);
                    }
                    if to_broker.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                // Pings are answered by the library, and a closing message is the last of the stream.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
                // MQTT is binary.
                Message::Text(_) => return,
            }
        }
    };
    let down = async {
        let mut kept = Vec::with_capacity(PIECE);
        let mut piece = vec![0; PIECE];
        while let Ok(len @ 1..) = from_broker.read(&mut piece).await {
            kept.extend_from_slice(piece.get(..len).unwrap_or_default());
            let cut = fastrand::usize(1..=kept.len());
            to_client.feed(Message::binary(kept.drain(..cut).collect::<Vec<_>>())).await?;
            // The rest travels with whatever has come meanwhile.
            if let Ok(len) = from_broker.try_read(&mut piece) {
                kept.extend_from_slice(piece.get(..len).unwrap_or_default());
            }
            if !kept.is_empty() {
                to_client.feed(Message::binary(std::mem::take(&mut kept))).await?;
            }
            to_client.flush().await?;
        }
        to_client.send(Message::Close(None)).await
    };
    tokio::select! {
        () = up => Ok(()),
        ended = down => ended.map_err(|error: Error| std::io::Error::other(error)),
    }
}
