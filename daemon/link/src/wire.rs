//! MQTT packets over a stream of ours. rumqttc makes them of bytes, and bytes of them.
//!
//! rumqttc's own loop wants to connect by itself: its TLS drags in outdated crates, and it sets no socket options. It also writes each
//! packet for itself. Here all that waits goes out at once, and reading never waits for writing.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use rumqttc::v5::Incoming;
use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

use crate::dial::Stream;
use crate::error::{Disconnect, LinkError};

/// How much is read at once, at most, and at least: many messages share one piece of memory, which is free again when the last of them is.
const CHUNK: usize = 8 * 1024;
const LEAST: usize = 1024;
/// The first byte of DISCONNECT.
const DISCONNECT: u8 = 0xE0;

/// What has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Something came in.
    Read,
    /// All that waited has gone out.
    Written,
}

/// Why nothing moves any more: the stream has failed, or the other side has closed it.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) Option<io::Error>);

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(Some(error))
    }
}

/// A stream, and what was read from it and not yet used, or is to be written to it.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    input: BytesMut,
    output: BytesMut,
    /// Something has been written that may still lie in the stream's own buffer.
    flushing: bool,
    /// The largest packet that is taken, and that the broker takes; in bytes.
    max_incoming: u32,
    max_outgoing: Option<u32>,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Stream>, max_incoming: u32) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            flushing: false,
            max_incoming,
            max_outgoing: None,
        }
    }

    /// The broker has said what it takes.
    pub(crate) const fn set_max_outgoing(&mut self, max: Option<u32>) {
        self.max_outgoing = max;
    }

    /// How many bytes are to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Adds a packet to what is to be written.
    pub(crate) fn put(&mut self, packet: &Packet) -> Result<(), mqttbytes::Error> {
        packet.write(&mut self.output, self.max_outgoing).map(|_| ())
    }

    /// The next whole packet of what was read; nothing if there is none yet.
    pub(crate) fn packet(&mut self) -> Result<Option<Incoming>, LinkError> {
        match self.input.get(..2) {
            // rumqttc knows neither of the two short forms that MQTT 5 allows: a reason alone, and none at all.
            Some(&[DISCONNECT, 0]) => return Err(LinkError::Lost { source: None }),
            Some(&[DISCONNECT, 1]) => {
                let Some(&code) = self.input.get(2) else { return Ok(None) };
                return Err(match DisconnectReasonCode::try_from(code) {
                    Ok(code) => LinkError::Disconnected { reason: Disconnect::new(code, None) },
                    Err(error) => LinkError::from_bytes(error),
                });
            }
            _ => {}
        }
        match Packet::read(&mut self.input, Some(self.max_incoming)) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(more)) => {
                // No packet above the limit comes as far as here.
                self.input.reserve(more);
                Ok(None)
            }
            Err(error) => Err(LinkError::from_bytes(error)),
        }
    }

    /// Writes if it is to `write`, reads if it is to `read`, and says what has come of it. Waits for ever if it is to do neither.
    /// May be dropped while it waits: nothing is lost.
    pub(crate) async fn moved(&mut self, read: bool, write: bool) -> Result<Moved, Broken> {
        poll_fn(|cx| {
            if write
                && (!self.output.is_empty() || self.flushing)
                && let Poll::Ready(written) = self.poll_write(cx)
            {
                return Poll::Ready(written.map(|()| Moved::Written).map_err(Broken::from));
            }
            if read { self.poll_read(cx).map_ok(|()| Moved::Read) } else { Poll::Pending }
        })
        .await
    }

    /// Writes all that waits.
    pub(crate) async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_write(cx)).await.map_err(Broken::from)
    }

    /// Writes all that waits, and says that nothing follows.
    pub(crate) async fn close(&mut self) -> Result<(), Broken> {
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.output.is_empty() {
            match stream.as_mut().poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.flushing = true;
                    self.output.advance(written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        stream.poll_flush(cx).map_ok(|()| self.flushing = false)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.input.capacity() - self.input.len() < LEAST {
            self.input.reserve(CHUNK);
        }
        match pin!(self.stream.read_buf(&mut self.input)).poll(cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(Broken(None))),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}
