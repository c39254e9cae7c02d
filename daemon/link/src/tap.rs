//! Listens in on what the broker sends, for one packet only: DISCONNECT.
//!
//! rumqttc drops a DISCONNECT that has a reason and no properties, although brokers may so shorten it; a person could then
//! not be told that another connection has come with the same client id. Nothing is changed on the way, and nothing is kept but the reason code.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::dial::Stream;

/// The first byte of DISCONNECT.
const DISCONNECT: u8 = 0xE0;

/// The reason of a DISCONNECT that has come in; 0 as long as there is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reason(Arc<AtomicU8>);

impl Reason {
    /// The reason code, if there was one other than "normal".
    pub(crate) fn code(&self) -> Option<u8> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            code => Some(code),
        }
    }
}

/// A stream that is listened in on.
pub(crate) struct Tap {
    inner: Box<dyn Stream>,
    framer: Framer,
    reason: Reason,
}

impl Tap {
    pub(crate) fn new(inner: Box<dyn Stream>, reason: Reason) -> Self {
        Self { inner, framer: Framer::default(), reason }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        if let Some(code) = self.framer.feed(new) {
            self.reason.0.store(code, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Where in the stream of packets the next byte stands.
#[derive(Debug, Default)]
struct Framer {
    /// The first byte of the packet that is being read.
    first: u8,
    part: Part,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    First,
    /// The remaining length, 7 bits a byte: what it is so far, and how far the next byte is shifted.
    Length {
        so_far: usize,
        shift: u32,
    },
    Body {
        left: usize,
        begun: bool,
    },
    /// Not MQTT any more: rumqttc will say so.
    Lost,
}

impl Framer {
    /// Reads on; the reason code of the DISCONNECT in these bytes, if there is one.
    fn feed(&mut self, mut bytes: &[u8]) -> Option<u8> {
        let mut reason = None;
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.part {
                Part::First => {
                    self.first = byte;
                    self.part = Part::Length { so_far: 0, shift: 0 };
                    bytes = rest;
                }
                Part::Length { so_far, shift } => {
                    let length = so_far | (usize::from(byte & 0x7F) << shift);
                    self.part = match (byte & 0x80 != 0, length) {
                        (true, _) if shift == 21 => Part::Lost,
                        (true, so_far) => Part::Length { so_far, shift: shift + 7 },
                        (false, 0) => Part::First,
                        (false, left) => Part::Body { left, begun: false },
                    };
                    bytes = rest;
                }
                Part::Body { left, begun } => {
                    if self.first == DISCONNECT && !begun {
                        reason = Some(byte);
                    }
                    let taken = left.min(bytes.len());
                    self.part = match left - taken {
                        0 => Part::First,
                        left => Part::Body { left, begun: true },
                    };
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                Part::Lost => break,
            }
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reason_of_a_disconnect_is_heard_however_the_bytes_are_cut() {
        let mut publish = vec![0x30, 0x81, 0x01];
        publish.extend([DISCONNECT; 129]);
        let pings = [0xD0, 0, 0xD0, 0];
        let cases: [(&[&[u8]], Option<u8>); 5] = [
            (&[&publish, &pings], None),
            (&[&publish, &pings, &[DISCONNECT, 1, 0x8E]], Some(0x8E)),
            (&[&[DISCONNECT, 2, 0x8B, 0], &pings], Some(0x8B)),
            (&[&[DISCONNECT, 0], &pings], None),
            (&[&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, DISCONNECT, 1, 0x8E]], None),
        ];
        for (packets, expected) in cases {
            let bytes = packets.concat();
            for size in 1..=bytes.len() {
                let mut framer = Framer::default();
                let mut heard = None;
                for chunk in bytes.chunks(size) {
                    heard = framer.feed(chunk).or(heard);
                }
                assert_eq!(heard, expected, "{bytes:?} in pieces of {size}");
            }
        }
    }
}
