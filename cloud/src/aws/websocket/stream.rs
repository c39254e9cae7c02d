//! A WebSocket as a stream of bytes: binary messages, whose boundaries mean nothing to MQTT.
//!
//! Neither side promises one packet for each message. Pings are answered by the WebSocket itself, whenever it is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink as _, Stream as _};
use nowd_link::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Bytes as Content, Error, Message};

/// The bytes in a WebSocket's binary messages. What is written is a message for each write, sent with the next flush.
pub(super) struct Bytes {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// What of the last message has not been read.
    unread: Content,
}

impl Bytes {
    pub(super) fn new(socket: WebSocketStream<Box<dyn Stream>>) -> Self {
        Self { socket, unread: Content::new() }
    }
}

impl AsyncRead for Bytes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(context)).transpose().map_err(failed)? {
                Some(Message::Binary(content)) => self.unread = content,
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Some(Message::Text(_)) => {
                    let problem = "the broker sent text, but MQTT is binary";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, problem)));
                }
                Some(Message::Close(why)) => {
                    if let Some(why) = why {
                        tracing::debug!(code = %why.code, "the broker closes the WebSocket");
                    }
                    return Poll::Ready(Ok(()));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Ready means that nothing that was written before is held up, so what waits here is bounded.
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(failed)?;
        let message = Message::Binary(Content::copy_from_slice(bytes));
        Pin::new(&mut self.socket).start_send(message).map_err(failed)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context).map_err(failed)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of the many errors few are the network's")]
fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}
