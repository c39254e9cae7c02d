//! A Unix socket whose messages are bounded in length before anything is taken for them: a message says at its start how
//! long it is, and zbus would take that much memory.
//!
//! What it never does: pass file descriptors, which nobody here has a use for; the bus keeps messages that have some.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::path::PathBuf;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};
use zbus::Message;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use super::BusAddress;

/// The fixed part of a message's header: byte order, length of the body, length of the header's fields.
const FIXED_LEN: usize = 16;

/// Where in it the lengths stand.
const BODY_LEN: Range<usize> = 4..8;
const FIELDS_LEN: Range<usize> = 12..16;

/// The longest header of a message that comes without its body; one that has a longer one is passed over whole.
const LONGEST_HEADER: u64 = 4096;

/// How much of a message that nobody wants is read at a time: little, since others wait for the thread.
const CHUNK_LEN: usize = 16 * 1024;

/// How much is taken from the socket at once where less is asked for: most messages whole, since each look at it costs as much as a
/// message.
const AHEAD_LEN: usize = 4 * 1024;

/// What becomes of a message that is longer than is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Longer {
    /// It ends the connection, so that whoever waits for it hears so at once: for one's own connection to somebody.
    EndsConnection,
    /// It comes without its body, so that it can be answered, and nobody else feels it: where anybody may have sent it.
    LosesItsBody,
}

/// A message is longer than is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {len} bytes came, and at most {most} are taken")]
struct TooLong {
    len: u64,
    most: u64,
}

/// What somebody sent, if that is why reading ended.
#[must_use]
pub fn too_long(error: &zbus::Error) -> Option<String> {
    let zbus::Error::InputOutput(error) = error else { return None };
    error.get_ref()?.downcast_ref::<TooLong>().map(ToString::to_string)
}

/// Whether the message was longer than is borne, and has come without its body.
#[must_use]
pub fn lost_its_body(message: &Message) -> bool {
    let body = message.body();
    body.is_empty() && !body.signature().to_string().is_empty()
}

impl BusAddress {
    /// The start of a connection whose messages are at most `most` bytes long. `None` where the bus is not reached over a Unix
    /// socket.
    ///
    /// # Errors
    /// The bus is not there.
    pub async fn bounded(
        &self,
        most: usize,
        longer: Longer,
    ) -> Result<Option<Builder<'static>>, zbus::Error> {
        let Some(path) = self.resolved().as_ref().and_then(socket) else { return Ok(None) };
        let stream = UnixStream::connect(path).await?;
        let most = most.try_into().unwrap_or(u64::MAX);
        Ok(Some(Builder::socket(Bounded::of(stream, most, longer)?)))
    }
}

fn socket(address: &zbus::Address) -> Option<PathBuf> {
    let Transport::Unix(unix) = address.transport() else { return None };
    if let UnixSocket::File(path) = unix.path() {
        return Some(path.clone());
    }
    // Others say where a bus makes its socket, not where it is.
    let UnixSocket::Abstract(name) = unix.path() else { return None };
    let mut path = OsString::from("\0");
    path.push(name);
    Some(PathBuf::from(path))
}

/// A connected socket.
#[derive(Debug)]
struct Bounded {
    reads: Bytes,
    writes: Writer,
    most: u64,
    longer: Longer,
}

impl Bounded {
    fn of(stream: UnixStream, most: u64, longer: Longer) -> io::Result<Self> {
        let stream = stream.into_std()?;
        let reads = Receiver::from_owned_fd_unchecked(stream.try_clone()?.into())?;
        let reads = Bytes { socket: reads, ahead: vec![0; AHEAD_LEN].into(), unread: 0..0 };
        Ok(Self { reads, writes: Writer(stream), most, longer })
    }
}

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        Split::new(Reader { bytes: self.reads, most: self.most, longer: self.longer }, self.writes)
    }
}

#[derive(Debug)]
struct Reader {
    bytes: Bytes,
    most: u64,
    longer: Longer,
}

/// Reads bytes, and has messages made of them.
#[derive(Debug)]
struct Bytes {
    /// Read as a pipe is, which anything can be, so that the thread is woken only when there is something to read: a `UnixStream`
    /// also wakes it whenever the other side has taken what was written, which is hardly ever waited for.
    socket: Receiver,
    /// What was taken from the socket, and the part of it that nobody has asked for yet.
    ahead: Box<[u8]>,
    unread: Range<usize>,
}

#[async_trait]
impl ReadHalf for Bytes {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((self.take(buffer).await?, Vec::new()))
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.bytes.recvmsg(buffer).await
    }

    async fn receive_message(
        &mut self,
        seq: u64,
        received: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        loop {
            self.bytes.fill(FIXED_LEN, received).await?;
            let start = Start::of(received).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            let len = start.header.saturating_add(start.body);
            if len <= self.most {
                // A short one whole: less is asked for piece by piece.
                if let Some(len) = usize::try_from(len).ok().filter(|len| *len <= AHEAD_LEN) {
                    self.bytes.fill(len, received).await?;
                }
                return self.bytes.receive_message(seq, received, descriptors).await;
            }
            let error = TooLong { len, most: self.most };
            match self.longer {
                Longer::EndsConnection => return Err(io::Error::other(error).into()),
                Longer::LosesItsBody => tracing::debug!("{error}"),
            }
            if start.header > LONGEST_HEADER {
                self.bytes.skip(len, received).await?;
                continue;
            }
            let header = usize::try_from(start.header).unwrap_or(usize::MAX);
            self.bytes.fill(header, received).await?;
            let mut head: Vec<u8> = received.drain(..header).collect();
            self.bytes.skip(start.body, received).await?;
            if let Some(body_len) = head.get_mut(BODY_LEN) {
                body_len.fill(0);
            }
            return self.bytes.receive_message(seq, &mut head, descriptors).await;
        }
    }
}

impl Bytes {
    /// As much as there is; nothing at the end. May be dropped while waiting.
    async fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            if buffer.len() >= self.ahead.len() {
                return self.socket.read(buffer).await;
            }
            self.unread = 0..self.socket.read(&mut self.ahead).await?;
        }
        let mut unread = self.ahead.get(self.unread.clone()).unwrap_or_default();
        let count = io::Read::read(&mut unread, buffer)?;
        self.unread.start = self.unread.start.saturating_add(count);
        Ok(count)
    }

    /// Receives until there are so many bytes.
    async fn fill(&mut self, len: usize, received: &mut Vec<u8>) -> io::Result<()> {
        while received.len() < len {
            let wanted = len.saturating_sub(received.len());
            if self.unread.is_empty() {
                self.unread = 0..self.socket.read(&mut self.ahead).await?;
            }
            let unread = self.ahead.get(self.unread.clone()).unwrap_or_default();
            let taken = unread.get(..wanted).unwrap_or(unread);
            if taken.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(taken);
            self.unread.start = self.unread.start.saturating_add(taken.len());
        }
        Ok(())
    }

    /// At least one byte.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.take(buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    /// Passes over so many bytes, of which some have been received.
    async fn skip(&mut self, len: u64, received: &mut Vec<u8>) -> io::Result<()> {
        let here = received.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        received.drain(..here);
        let mut left = len.saturating_sub(here.try_into().unwrap_or(u64::MAX));
        let mut chunk = vec![0; CHUNK_LEN];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_LEN);
            let count = self.read(chunk.get_mut(..wanted).unwrap_or_default()).await?;
            left = left.saturating_sub(count.try_into().unwrap_or(u64::MAX));
            // A long message comes as fast as it is read.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// How long the parts of a message are.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    header: u64,
    body: u64,
}

impl Start {
    /// Of a message that begins so. The body begins at a multiple of eight.
    fn of(start: &[u8]) -> Option<Self> {
        let number = |at: Range<usize>| {
            let bytes: [u8; 4] = start.get(at)?.try_into().ok()?;
            match start.first()? {
                b'l' => Some(u64::from(u32::from_le_bytes(bytes))),
                b'B' => Some(u64::from(u32::from_be_bytes(bytes))),
                _ => None,
            }
        };
        let fixed = u64::try_from(FIXED_LEN).ok()?;
        let header = number(FIELDS_LEN)?.saturating_add(fixed).next_multiple_of(8);
        Some(Self { header, body: number(BODY_LEN)? })
    }
}

/// Who drops it says so to the other side.
#[derive(Debug)]
struct Writer(net::UnixStream);

impl Writer {
    /// Waits until the other side takes more.
    async fn has_room(&self) -> io::Result<()> {
        Sender::from_owned_fd_unchecked(self.0.try_clone()?.into())?.writable().await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It fails for what has ended anyway.
        self.0.shutdown(Shutdown::Write).unwrap_or_default();
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if !descriptors.is_empty() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        loop {
            match (&self.0).write(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.has_room().await?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

#[cfg(test)]
mod tests;
