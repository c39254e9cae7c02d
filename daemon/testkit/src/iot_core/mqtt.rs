//! The little of MQTT that the stand-in must know.

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
