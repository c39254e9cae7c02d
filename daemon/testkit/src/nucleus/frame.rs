//! Frames, by a reading of the documentation of its own: nothing here is shared with the client that it is a partner for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A header's value, as far as the nucleus looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Int(i32),
    Text(String),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub(super) headers: BTreeMap<String, Value>,
    pub(super) payload: Vec<u8>,
    /// Of all of it, in bytes.
    pub(super) length: usize,
}

impl Frame {
    pub(super) fn int(&self, name: &str) -> Option<i32> {
        match self.headers.get(name) {
            Some(Value::Int(number)) => Some(*number),
            Some(Value::Text(_)) | None => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.headers.get(name) {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Int(_)) | None => None,
        }
    }
}

/// One frame to send: type, flags, stream, further headers of text, payload.
pub(super) fn frame(kind: i32, flags: i32, stream: i32, texts: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", kind), (":message-flags", flags), (":stream-id", stream)] {
        title(&mut headers, name, 4);
        headers.extend(value.to_be_bytes());
    }
    for (name, value) in texts {
        title(&mut headers, name, 7);
        headers.extend(u16::try_from(value.len()).expect("headers are short").to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let mut bytes = Vec::new();
    bytes.extend(length(12 + headers.len() + payload.len() + 4));
    bytes.extend(length(headers.len()));
    bytes.extend(crc(&bytes).to_be_bytes());
    bytes.extend(headers);
    bytes.extend(payload);
    bytes.extend(crc(&bytes).to_be_bytes());
    bytes
}

/// The beginning of a frame that says it is 3 GiB long, with a right checksum.
pub(super) fn huge() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((3_u32 << 30).to_be_bytes());
    bytes.extend(64_u32.to_be_bytes());
    bytes.extend(crc(&bytes).to_be_bytes());
    bytes
}

/// The next frame, or why there is none.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), most: usize) -> Result<Frame, &'static str> {
    let whole = from.read_u32().await.map_err(|_| "closed")?;
    let headers = from.read_u32().await.map_err(|_| "cut off")?;
    let sum = from.read_u32().await.map_err(|_| "cut off")?;
    let mut all = [whole.to_be_bytes(), headers.to_be_bytes()].concat();
    if crc(&all) != sum {
        return Err("wrong checksum of the lengths");
    }
    let size = usize::try_from(whole).expect("32 bits fit");
    let headers = usize::try_from(headers).expect("32 bits fit");
    if size > most {
        return Err("too long");
    }
    if size < 16 || headers > size - 16 {
        return Err("lengths that contradict each other");
    }
    all.extend(sum.to_be_bytes());
    all.resize(size - 4, 0);
    let (_, rest) = all.split_at_mut(12);
    from.read_exact(rest).await.map_err(|_| "cut off")?;
    if from.read_u32().await.map_err(|_| "cut off")? != crc(&all) {
        return Err("wrong checksum");
    }
    let (_, rest) = all.split_at(12);
    let (headers, payload) = rest.split_at(headers);
    Ok(Frame { headers: names(headers)?, payload: payload.to_vec(), length: size })
}

fn names(mut bytes: &[u8]) -> Result<BTreeMap<String, Value>, &'static str> {
    let mut names = BTreeMap::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(length)).ok_or("a cut header")?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| "a name that is no text")?;
        let (kind, rest) = rest.split_first().ok_or("a cut header")?;
        let (value, rest) = match kind {
            4 => {
                let (value, rest) = rest.split_first_chunk::<4>().ok_or("a cut number")?;
                (Value::Int(i32::from_be_bytes(*value)), rest)
            }
            7 => {
                let (length, rest) = rest.split_first_chunk::<2>().ok_or("a cut text")?;
                let length = usize::from(u16::from_be_bytes(*length));
                let (value, rest) = rest.split_at_checked(length).ok_or("a cut text")?;
                (Value::Text(String::from_utf8(value.to_vec()).map_err(|_| "no text")?), rest)
            }
            _ => return Err("a header of a type that components do not send"),
        };
        names.insert(name, value);
        bytes = rest;
    }
    Ok(names)
}

fn title(headers: &mut Vec<u8>, name: &str, kind: u8) {
    headers.push(u8::try_from(name.len()).expect("names are short"));
    headers.extend(name.as_bytes());
    headers.push(kind);
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("frames are short").to_be_bytes()
}

/// CRC-32 of each byte, bit by bit.
static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|byte| {
        (0..8).fold(u32::try_from(byte).unwrap_or_default(), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 }
        })
    })
});

/// CRC-32, short, and nobody else's.
fn crc(bytes: &[u8]) -> u32 {
    let table = &*TABLE;
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        (sum >> 8) ^ table.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    })
}
