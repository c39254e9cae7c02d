//! The little of MQTT that the stand-in must know: who connects, and how to publish one message.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest CONNECT that is waited for.
const LARGEST_CONNECT: usize = 64 * 1024;

/// The first bytes of a connection, until they name the client.
#[derive(Debug, Default)]
pub(crate) struct Connecting {
    bytes: Vec<u8>,
    done: bool,
}

impl Connecting {
    /// The client id, once, as soon as these bytes complete it.
    pub(crate) fn client_id(&mut self, bytes: &[u8]) -> Option<String> {
        if self.done {
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        let id = client_id(&self.bytes);
        self.done = id.is_some() || self.bytes.len() > LARGEST_CONNECT;
        id
    }
}

/// The client id of a CONNECT, which may be incomplete after it.
fn client_id(mut connect: &[u8]) -> Option<String> {
    let rest = &mut connect;
    if take(rest, 1)? != [0x10] {
        return None;
    }
    number(rest)?;
    text(rest)?;
    let version = *take(rest, 1)?.first()?;
    take(rest, 3)?;
    if version == 5 {
        let properties = number(rest)?;
        take(rest, properties)?;
    }
    Some(String::from_utf8_lossy(text(rest)?).into_owned())
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(first)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let &[high, low] = take(bytes, 2)? else { return None };
    take(bytes, usize::from(u16::from_be_bytes([high, low])))
}

/// A variable byte integer.
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let byte = *take(bytes, 1)?.first()?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A message and its MQTT 5 properties.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) utf8: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation_data: Option<Vec<u8>>,
    pub(crate) user_properties: Vec<(String, String)>,
}

/// A connection of one's own, for one message.
#[derive(Debug)]
pub(crate) struct Publisher(TcpStream);

impl Publisher {
    /// Connected as `id`.
    pub(crate) async fn connect(broker: u16, id: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", broker)).await?;
        stream.set_nodelay(true)?;
        let mut publisher = Self(stream);
        // MQTT 5, clean start, no keep-alive, no properties.
        let body = [b"\x00\x04MQTT\x05\x02\x00\x00\x00".to_vec(), string(id.as_bytes())].concat();
        publisher.write(0x10, &body).await?;
        publisher.answer(0x20).await?;
        Ok(publisher)
    }

    /// Publishes. If it is to be acknowledged, says whether the broker had somebody to give it to.
    pub(crate) async fn publish(&mut self, message: &Outgoing, qos1: bool) -> std::io::Result<bool> {
        let mut properties = Vec::new();
        let mut property = |id: u8, value: Vec<u8>| properties.extend([vec![id], value].concat());
        if message.utf8 {
            property(0x01, vec![1]);
        }
        if let Some(text) = &message.content_type {
            property(0x03, string(text.as_bytes()));
        }
        if let Some(text) = &message.response_topic {
            property(0x08, string(text.as_bytes()));
        }
        if let Some(bytes) = &message.correlation_data {
            property(0x09, string(bytes));
        }
        for (name, value) in &message.user_properties {
            property(0x26, [string(name.as_bytes()), string(value.as_bytes())].concat());
        }
        let mut body = string(message.topic.as_bytes());
        if qos1 {
            body.extend([0, 1]);
        }
        body.extend(length(properties.len()));
        body.extend(properties);
        body.extend_from_slice(&message.payload);
        self.write(if qos1 { 0x32 } else { 0x30 }, &body).await?;
        if !qos1 {
            return Ok(true);
        }
        let acknowledged = self.answer(0x40).await?;
        // Packet id, then a reason; 16: no matching subscribers.
        Ok(acknowledged.get(2) != Some(&16))
    }

    async fn write(&mut self, kind: u8, body: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&[&[kind], length(body.len()).as_slice(), body].concat()).await
    }

    /// The body of the next packet, which must be of this kind and short.
    async fn answer(&mut self, kind: u8) -> std::io::Result<Vec<u8>> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).await?;
        if head[0] != kind || head[1] >= 0x80 {
            return Err(std::io::Error::other(format!("the broker answered {head:02x?}")));
        }
        let mut body = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut body).await?;
        Ok(body)
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("headers and queries are shorter than 64 KiB");
    [&len.to_be_bytes(), bytes].concat()
}

/// A variable byte integer.
fn length(mut len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(len % 0x80).expect("this is below 128");
        len /= 0x80;
        if len == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
