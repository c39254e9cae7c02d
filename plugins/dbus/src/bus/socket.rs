//! A Unix socket whose messages are bounded in length before anything is taken for them: a message says at its start how
//! long it is, and zbus would take that much memory.
//!
//! What it never does: pass file descriptors, which nobody here has a use for; the bus keeps messages that have some.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nowd_plugin::service::MAX_MESSAGE_LEN;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::Message;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use super::link::ConnectError;
use crate::address::BusAddress;

/// The fixed part of a message's header: byte order, length of the body, length of the header's fields.
const FIXED_LEN: usize = 16;

/// A message is longer than is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {len} bytes came, and at most {MAX_MESSAGE_LEN} are taken")]
struct TooLong {
    len: u64,
}

/// What a plugin did, if that is why reading ended.
pub(super) fn too_long(error: &zbus::Error) -> Option<String> {
    let zbus::Error::InputOutput(error) = error else { return None };
    error.get_ref()?.downcast_ref::<TooLong>().map(ToString::to_string)
}

/// Connects to the socket of a bus.
pub(super) async fn connect(bus: &BusAddress) -> Result<Bounded, ConnectError> {
    let address = bus.resolved().ok_or(ConnectError::NoUnixSocket)?;
    let Transport::Unix(unix) = address.transport() else { return Err(ConnectError::NoUnixSocket) };
    let path = match unix.path() {
        UnixSocket::File(path) => path.clone(),
        UnixSocket::Abstract(name) => {
            let mut path = std::ffi::OsString::from("\0");
            path.push(name);
            PathBuf::from(path)
        }
        // Where a bus makes its socket, not where it is.
        _ => return Err(ConnectError::NoUnixSocket),
    };
    let stream = UnixStream::connect(path).await.map_err(zbus::Error::from)?;
    Ok(Bounded(stream))
}

/// A connected socket.
#[derive(Debug)]
pub(super) struct Bounded(UnixStream);

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.0.into_split();
        Split::new(Reader(Bytes(read)), Writer(write))
    }
}

#[derive(Debug)]
pub(super) struct Reader(Bytes);

/// Reads bytes, and has messages made of them.
#[derive(Debug)]
struct Bytes(OwnedReadHalf);

#[async_trait]
impl ReadHalf for Bytes {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((self.0.read(buffer).await?, Vec::new()))
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.0.recvmsg(buffer).await
    }

    async fn receive_message(
        &mut self,
        seq: u64,
        received: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        while received.len() < FIXED_LEN {
            let mut bytes = [0; FIXED_LEN];
            let missing = bytes.get_mut(received.len()..).unwrap_or_default();
            let (count, _) = self.0.recvmsg(missing).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            received.extend(missing.iter().take(count));
        }
        let len = message_len(received).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        if len > u64::try_from(MAX_MESSAGE_LEN).unwrap_or(u64::MAX) {
            return Err(io::Error::other(TooLong { len }).into());
        }
        self.0.receive_message(seq, received, descriptors).await
    }
}

/// How long the message will be that begins so, but for some bytes of padding.
fn message_len(start: &[u8]) -> Option<u64> {
    let number = |at: usize| {
        let bytes: [u8; 4] = start.get(at..at.checked_add(4)?)?.try_into().ok()?;
        match start.first()? {
            b'l' => Some(u32::from_le_bytes(bytes)),
            b'B' => Some(u32::from_be_bytes(bytes)),
            _ => None,
        }
    };
    let (body, fields) = (u64::from(number(4)?), u64::from(number(12)?));
    Some(body.saturating_add(fields).saturating_add(u64::try_from(FIXED_LEN).ok()?))
}

#[derive(Debug)]
pub(super) struct Writer(OwnedWriteHalf);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if !descriptors.is_empty() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        self.0.write(buffer).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_at_its_start_how_long_it_is() {
        let start = |order: u8, body: [u8; 4], fields: [u8; 4]| {
            let mut start = vec![order, 1, 0, 1];
            start.extend(body);
            start.extend([1, 0, 0, 0]);
            start.extend(fields);
            start
        };
        assert_eq!(message_len(&start(b'l', [2, 1, 0, 0], [8, 0, 0, 0])), Some(16 + 258 + 8));
        assert_eq!(message_len(&start(b'B', [0, 0, 1, 2], [0, 0, 0, 8])), Some(16 + 258 + 8));
        assert_eq!(message_len(&start(b'l', [255; 4], [255; 4])), Some(16 + 2 * 0xffff_ffff));
        assert_eq!(message_len(&start(b'x', [0; 4], [0; 4])), None);
        assert_eq!(message_len(b"l"), None);
    }
}
