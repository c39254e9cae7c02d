//! A Unix socket whose messages are bounded in length before anything is taken for them: a message says at its start how
//! long it is, and zbus would take that much memory.
//!
//! What it never does: pass file descriptors, which nobody here has a use for; the bus keeps messages that have some.

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
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
        Ok(Some(Builder::socket(Bounded { stream, most: most.try_into().unwrap_or(u64::MAX), longer })))
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
    stream: UnixStream,
    most: u64,
    longer: Longer,
}

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.stream.into_split();
        Split::new(Reader { bytes: Bytes::of(read), most: self.most, longer: self.longer }, Writer(write))
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
    socket: OwnedReadHalf,
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
    fn of(socket: OwnedReadHalf) -> Self {
        Self { socket, ahead: vec![0; AHEAD_LEN].into(), unread: 0..0 }
    }

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
            let mut bytes = vec![0; len.saturating_sub(received.len())];
            let count = self.read(&mut bytes).await?;
            received.extend(bytes.iter().take(count));
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

#[derive(Debug)]
struct Writer(OwnedWriteHalf);

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

    const MOST: u64 = 4096;

    fn pair(longer: Longer) -> (Reader, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Bounded { stream: ours, most: MOST, longer }.split().take().0, theirs)
    }

    fn signal(text: &str) -> Message {
        Message::signal("/a", "a.b", "C").build(&text).unwrap()
    }

    #[tokio::test]
    async fn a_long_message_is_refused_before_it_comes() {
        let (mut reader, mut theirs) = pair(Longer::EndsConnection);
        let message = signal("x");
        theirs.write_all(message.data()).await.unwrap();
        let (mut received, mut descriptors) = (Vec::new(), Vec::new());
        let first = reader.receive_message(1, &mut received, &mut descriptors).await.unwrap();
        assert_eq!(first.body().deserialize::<String>().unwrap(), "x");
        // Its first 16 bytes, some of which came with the greeting, and not one more.
        let mut start = message.data().get(..16).unwrap().to_vec();
        start[4..8].copy_from_slice(&100_000_000_u32.to_ne_bytes());
        received.extend(start.drain(..5));
        theirs.write_all(&start).await.unwrap();
        let refused = reader.receive_message(2, &mut received, &mut descriptors).await.unwrap_err();
        let why = too_long(&refused).unwrap();
        assert!(why.starts_with("a message of 1000") && why.ends_with("and at most 4096 are taken"), "{why}");
        assert!(received.capacity() < 1024);
    }

    #[tokio::test]
    async fn a_long_message_loses_its_body() {
        let (mut reader, mut theirs) = pair(Longer::LosesItsBody);
        // Of every length modulo eight, whole or in pieces in what the greeting left.
        let long: Vec<u8> =
            (0..9).flat_map(|more| signal(&"y".repeat(100_000 + more)).data().to_vec()).collect();
        let short = signal("x");
        assert!(
            !lost_its_body(&short) && !lost_its_body(&Message::signal("/a", "a.b", "C").build(&()).unwrap())
        );
        for already in [0, 1, 16, 17, 50_000, 150_000, long.len() + 3] {
            let mut all = long.clone();
            all.extend_from_slice(short.data());
            let rest = all.split_off(already);
            let (mut received, mut descriptors) = (all, Vec::new());
            let write = theirs.write_all(&rest);
            let read = async {
                for _ in 0..9 {
                    let message = reader.receive_message(1, &mut received, &mut descriptors).await.unwrap();
                    assert!(lost_its_body(&message), "{already}: {message:?}");
                    assert_eq!(message.header().member().unwrap().as_str(), "C");
                    assert!(message.body().deserialize::<String>().is_err());
                }
                reader.receive_message(1, &mut received, &mut descriptors).await.unwrap()
            };
            let (message, written) = tokio::join!(read, write);
            written.unwrap();
            assert_eq!(message.body().deserialize::<String>().unwrap(), "x", "{already}");
            assert!(received.is_empty());
        }
        // One whose header is the long part.
        let mut start = short.data().get(..16).unwrap().to_vec();
        start[12..16].copy_from_slice(&10_001_u32.to_ne_bytes());
        start.resize(10_024 + short.body().len(), 0);
        start.extend_from_slice(short.data());
        theirs.write_all(&start).await.unwrap();
        let message = reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.unwrap();
        assert_eq!(message.body().deserialize::<String>().unwrap(), "x");
        // The end of the connection in the middle of one.
        theirs.write_all(long.get(..60_000).unwrap()).await.unwrap();
        drop(theirs);
        assert!(reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await.is_err());
    }

    #[tokio::test]
    async fn abstract_sockets_are_reached() {
        let name = format!("nowd-test-{}", std::process::id());
        let listener = tokio::net::UnixListener::bind(format!("\0{name}")).unwrap();
        let bus = BusAddress::At(format!("unix:abstract={name}"));
        let (connected, accepted) = tokio::join!(bus.bounded(1, Longer::LosesItsBody), listener.accept());
        assert!(connected.unwrap().is_some() && accepted.is_ok());
        let elsewhere = BusAddress::At("tcp:host=localhost,port=1".into());
        assert!(elsewhere.bounded(1, Longer::LosesItsBody).await.unwrap().is_none());
    }

    #[test]
    fn a_message_says_at_its_start_how_long_it_is() {
        let start = |order: u8, body: [u8; 4], fields: [u8; 4]| {
            let mut start = vec![order, 1, 0, 1];
            start.extend(body);
            start.extend([1, 0, 0, 0]);
            start.extend(fields);
            start
        };
        let of = |start: &[u8]| Start::of(start).map(|start| (start.header, start.body));
        assert_eq!(of(&start(b'l', [2, 1, 0, 0], [8, 0, 0, 0])), Some((24, 258)));
        assert_eq!(of(&start(b'B', [0, 0, 1, 2], [0, 0, 0, 9])), Some((32, 258)));
        assert_eq!(of(&start(b'l', [255; 4], [255; 4])), Some((0x1_0000_0010, 0xffff_ffff)));
        assert_eq!(of(&start(b'x', [0; 4], [0; 4])), None);
        assert_eq!(of(b"l"), None);
    }
}
