//! The frames of the nucleus's socket, as bytes.
//!
//! ```text
//! u32 whole length | u32 length of headers | u32 CRC of these 8 bytes | headers | payload | u32 CRC of all before
//! header: u8 length, name, u8 type, value
//! ```
//!
//! Big endian; CRC-32 as in zlib. A length is believed only within [`LONGEST_FRAME`], and before anything is allocated.
//! Headers that are not ours are stepped over. Never waits, never panics, knows no operation.

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::error::IpcError;

/// No frame is longer, in bytes: 128 KiB of payload as base64 (174,764) in JSON, with room for everything beside it.
pub const LONGEST_FRAME: usize = 256 * 1024;
/// Two lengths and their checksum.
pub(crate) const PRELUDE: usize = 12;
/// The last checksum.
const TRAILER: usize = 4;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

const KIND: &str = ":message-type";
const FLAGS: &str = ":message-flags";
const STREAM: &str = ":stream-id";
const MODEL: &str = "service-model-type";
const OPERATION: &str = "operation";

/// Flag of a connection that is accepted.
pub(crate) const ACCEPTED: i32 = 1;
/// Flag of the last frame of a stream.
pub(crate) const ENDS_STREAM: i32 = 2;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call, an answer, an event.
    Message,
    /// A refusal.
    Error,
    /// Are you there?
    Ping,
    /// The answer to that.
    PingResponse,
    /// The first frame of a connection.
    Connect,
    /// The answer to that.
    ConnectAck,
    /// The other side says that we break the protocol.
    ProtocolError,
    /// The other side has failed.
    InternalError,
    /// Something else; it is borne.
    Unknown(i32),
}

/// A frame, with those of its headers that mean something here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// `:message-type`.
    pub kind: Kind,
    /// `:message-flags`; 0 where there are none.
    pub flags: i32,
    /// `:stream-id`; 0 is the connection itself.
    pub stream: i32,
    /// `service-model-type`, such as `aws.greengrass#IoTCoreMessage`.
    pub model: Option<String>,
    /// `operation`, which only calls have.
    pub operation: Option<String>,
    /// JSON, or nothing.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether its stream ends with it.
    #[must_use]
    pub const fn ends_stream(&self) -> bool {
        self.flags & ENDS_STREAM != 0
    }

    /// The frame as bytes, in the order in which the known clients write the headers.
    pub fn write(&self) -> Result<Vec<u8>, IpcError> {
        let mut headers = Vec::new();
        number(&mut headers, KIND, self.kind.number());
        number(&mut headers, FLAGS, self.flags);
        number(&mut headers, STREAM, self.stream);
        if self.kind == Kind::Connect {
            text(&mut headers, ":version", "0.1.0")?;
        }
        if let Some(operation) = &self.operation {
            text(&mut headers, OPERATION, operation)?;
        }
        if let Some(model) = &self.model {
            text(&mut headers, ":content-type", "application/json")?;
            text(&mut headers, MODEL, model)?;
        }
        let whole = PRELUDE.saturating_add(headers.len()).saturating_add(self.payload.len()) + TRAILER;
        if whole > LONGEST_FRAME {
            return Err(IpcError::TooLarge { size: size(whole), max: LONGEST_FRAME });
        }
        let mut bytes = Vec::with_capacity(whole);
        bytes.extend(size(whole).to_be_bytes());
        bytes.extend(size(headers.len()).to_be_bytes());
        bytes.extend(CRC.checksum(&bytes).to_be_bytes());
        bytes.append(&mut headers);
        bytes.extend_from_slice(&self.payload);
        bytes.extend(CRC.checksum(&bytes).to_be_bytes());
        Ok(bytes)
    }

    /// A whole frame; what follows it is an error.
    pub fn read(bytes: &[u8]) -> Result<Self, IpcError> {
        let (prelude, rest) = bytes.split_first_chunk().ok_or(BROKEN_LENGTH)?;
        Prelude::read(*prelude)?.frame(*prelude, rest)
    }
}

const BROKEN_LENGTH: IpcError = IpcError::Broken { what: "its lengths contradict each other" };
const BROKEN_HEADER: IpcError = IpcError::Broken { what: "a header is not whole" };
const BROKEN_SUM: IpcError = IpcError::Broken { what: "its checksum is wrong" };

/// The lengths at the beginning of a frame, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prelude {
    /// In bytes, all within [`LONGEST_FRAME`].
    headers: usize,
    payload: usize,
}

impl Prelude {
    pub(crate) fn read(bytes: [u8; PRELUDE]) -> Result<Self, IpcError> {
        let (lengths, sum) = bytes.split_last_chunk::<4>().ok_or(BROKEN_LENGTH)?;
        if CRC.checksum(lengths) != u32::from_be_bytes(*sum) {
            return Err(BROKEN_SUM);
        }
        let mut lengths = lengths;
        let whole = u32::from_be_bytes(take(&mut lengths)?);
        let headers = u32::from_be_bytes(take(&mut lengths)?);
        let length = usize::try_from(whole).unwrap_or(usize::MAX);
        if length > LONGEST_FRAME {
            return Err(IpcError::TooLarge { size: whole, max: LONGEST_FRAME });
        }
        let headers = usize::try_from(headers).map_err(|_| BROKEN_LENGTH)?;
        let payload = length
            .checked_sub(PRELUDE + TRAILER)
            .and_then(|both| both.checked_sub(headers))
            .ok_or(BROKEN_LENGTH)?;
        Ok(Self { headers, payload })
    }

    /// How many bytes follow.
    pub(crate) const fn rest(self) -> usize {
        self.headers + self.payload + TRAILER
    }

    /// The frame that begins with `prelude`, which `self` was read from, and goes on with `rest`.
    pub(crate) fn frame(self, prelude: [u8; PRELUDE], rest: &[u8]) -> Result<Frame, IpcError> {
        if rest.len() != self.rest() {
            return Err(BROKEN_LENGTH);
        }
        let (body, sum) = rest.split_last_chunk::<TRAILER>().ok_or(BROKEN_LENGTH)?;
        let mut digest = CRC.digest();
        digest.update(&prelude);
        digest.update(body);
        if digest.finalize() != u32::from_be_bytes(*sum) {
            return Err(BROKEN_SUM);
        }
        let (headers, payload) = body.split_at_checked(self.headers).ok_or(BROKEN_LENGTH)?;
        frame(headers, payload)
    }
}

fn frame(mut headers: &[u8], payload: &[u8]) -> Result<Frame, IpcError> {
    let (mut kind, mut flags, mut stream) = (None, 0, 0);
    let (mut model, mut operation) = (None, None);
    while !headers.is_empty() {
        let length = usize::from(take::<1>(&mut headers)?[0]);
        let name = take_slice(&mut headers, length)?;
        let value = value(&mut headers)?;
        match (name, value) {
            (name, Value::Number(number)) if name == KIND.as_bytes() => kind = Some(Kind::of(number)),
            (name, Value::Number(number)) if name == FLAGS.as_bytes() => flags = number,
            (name, Value::Number(number)) if name == STREAM.as_bytes() => stream = number,
            (name, Value::Text(text)) if name == MODEL.as_bytes() => model = Some(owned(text)),
            (name, Value::Text(text)) if name == OPERATION.as_bytes() => operation = Some(owned(text)),
            (_, Value::Number(_) | Value::Text(_) | Value::Other) => {}
        }
    }
    let kind = kind.ok_or(IpcError::Broken { what: "it does not say what it is" })?;
    Ok(Frame { kind, flags, stream, model, operation, payload: payload.to_vec() })
}

/// A header's value, of the types that mean something here.
enum Value<'a> {
    Number(i32),
    Text(&'a [u8]),
    Other,
}

fn value<'a>(headers: &mut &'a [u8]) -> Result<Value<'a>, IpcError> {
    let skipped = match take::<1>(headers)?[0] {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => return Ok(Value::Number(i32::from_be_bytes(take(headers)?))),
        5 | 8 => 8,
        6 => usize::from(u16::from_be_bytes(take(headers)?)),
        7 => {
            let length = usize::from(u16::from_be_bytes(take(headers)?));
            return Ok(Value::Text(take_slice(headers, length)?));
        }
        9 => 16,
        _ => return Err(IpcError::Broken { what: "a header is of a type that does not exist" }),
    };
    take_slice(headers, skipped)?;
    Ok(Value::Other)
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], IpcError> {
    let (taken, rest) = from.split_first_chunk::<N>().ok_or(BROKEN_HEADER)?;
    *from = rest;
    Ok(*taken)
}

fn take_slice<'a>(from: &mut &'a [u8], length: usize) -> Result<&'a [u8], IpcError> {
    let (taken, rest) = from.split_at_checked(length).ok_or(BROKEN_HEADER)?;
    *from = rest;
    Ok(taken)
}

fn owned(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn name(headers: &mut Vec<u8>, name: &str, kind: u8) {
    // Our own names, all far below 256 bytes.
    headers.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    headers.extend_from_slice(name.as_bytes());
    headers.push(kind);
}

fn number(headers: &mut Vec<u8>, title: &str, value: i32) {
    name(headers, title, 4);
    headers.extend(value.to_be_bytes());
}

fn text(headers: &mut Vec<u8>, title: &str, value: &str) -> Result<(), IpcError> {
    let length = u16::try_from(value.len())
        .map_err(|_| IpcError::TooLarge { size: size(value.len()), max: usize::from(u16::MAX) })?;
    name(headers, title, 7);
    headers.extend(length.to_be_bytes());
    headers.extend_from_slice(value.as_bytes());
    Ok(())
}

fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Kind {
    const fn of(number: i32) -> Self {
        match number {
            0 => Self::Message,
            1 => Self::Error,
            2 => Self::Ping,
            3 => Self::PingResponse,
            4 => Self::Connect,
            5 => Self::ConnectAck,
            6 => Self::ProtocolError,
            7 => Self::InternalError,
            other => Self::Unknown(other),
        }
    }

    const fn number(self) -> i32 {
        match self {
            Self::Message => 0,
            Self::Error => 1,
            Self::Ping => 2,
            Self::PingResponse => 3,
            Self::Connect => 4,
            Self::ConnectAck => 5,
            Self::ProtocolError => 6,
            Self::InternalError => 7,
            Self::Unknown(other) => other,
        }
    }
}

#[cfg(test)]
mod tests;
