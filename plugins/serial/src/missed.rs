//! What came while an answer was waited for, and was none, in words for people: bounded and printable. Reads nothing.

use std::fmt::Write;

use crate::field::hex;
use crate::map::printable;
use crate::pattern::Pattern;
use crate::wire::Wire;

/// How many bytes of a device go into a message or the log.
const MOST_SHOWN: usize = 64;

/// The beginning of some bytes of a device, and how many there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    start: Vec<u8>,
    len: usize,
}

/// What came since the reader was told to begin anew.
#[derive(Debug, Clone, Default)]
pub(crate) struct Missed {
    /// All of it.
    bytes: Shown,
    /// The last whole frame.
    last: Option<Last>,
}

#[derive(Debug, Clone)]
enum Last {
    Frame(Shown),
    WrongChecksum(Shown),
}

impl Shown {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut shown = Self::default();
        shown.add(bytes);
        shown
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = MOST_SHOWN.saturating_sub(self.start.len());
        self.start.extend(bytes.iter().take(room));
        self.len = self.len.saturating_add(bytes.len());
    }

    /// As hex digits.
    pub(crate) fn hex(&self) -> String {
        if self.len == 0 { "an empty frame".into() } else { hex(&self.start) + &self.more() }
    }

    /// As text in quotes, in which what cannot be printed is escaped.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("\"");
        for chunk in self.start.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c == '\'' {
                    text.push(c);
                } else {
                    text.extend(c.escape_debug());
                }
            }
            for byte in chunk.invalid() {
                // Writing to a text never fails.
                write!(text, "\\x{byte:02x}").ok();
            }
        }
        text.push('"');
        text + &self.more()
    }

    /// In the form that `pattern` is written in.
    pub(crate) fn like(&self, pattern: &Pattern) -> String {
        match pattern {
            Pattern::Text(_) => self.text(),
            Pattern::Hex(_) => self.hex(),
        }
    }

    fn more(&self) -> String {
        if self.len > self.start.len() { format!(" ... ({} bytes)", self.len) } else { String::new() }
    }
}

impl Missed {
    pub(crate) fn came(&mut self, bytes: &[u8]) {
        self.bytes.add(bytes);
    }

    /// A whole frame has ended.
    pub(crate) fn frame(&mut self, content: &[u8]) {
        self.last = Some(Last::Frame(Shown::new(content)));
    }

    /// A frame was dropped for its checksum.
    pub(crate) fn wrong_checksum(&mut self, frame: &[u8]) {
        self.last = Some(Last::WrongChecksum(Shown::new(frame)));
    }

    /// What was heard instead of an answer that matches `reply`, and what to look at. `repeated`: before it came what was sent.
    pub(crate) fn explain(&self, reply: &Pattern, wire: &Wire, repeated: bool) -> String {
        let all = self.bytes.like(reply);
        match &self.last {
            Some(Last::Frame(frame)) => {
                format!("heard {}, which does not match {}", frame.like(reply), printable(&reply.to_string()))
            }
            Some(Last::WrongChecksum(frame)) => {
                let name = wire.checksum.as_ref().map_or("", |checksum| &checksum.name);
                format!("heard {}, in which the checksum ({name}) is wrong", frame.like(reply))
            }
            None if self.bytes.len > 0 => {
                let are = if self.bytes.len == 1 { "1 byte" } else { &format!("{} bytes", self.bytes.len) };
                format!("heard {are} without a whole frame: {all}; the map's `framing` is {}", wire.framing)
            }
            None if repeated => "nothing was heard but what had been sent, come back".into(),
            None => "nothing was heard: look at the wires, the device's power, `baud` and `format`".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::reader::Reader;
    use crate::value::Values;

    fn heard(framing: &Value, checksum: Option<&Value>, reply: &Value, came: &[u8]) -> String {
        let wire = Arc::new(Wire::parse(framing, checksum).unwrap());
        let reply = Pattern::parse(reply, "reply", &wire, &Values::default()).unwrap();
        let mut reader = Reader::new(&wire);
        assert_eq!(reader.feed(came, &mut |_| None::<()>), None);
        assert_eq!(reader.silence(&mut |_| None::<()>), None);
        reader.missed().explain(&reply, &wire, false)
    }

    #[test]
    fn what_came_is_told_in_the_form_of_the_map() {
        let (crlf, fixed) = (json!({"line": "\r\n"}), json!({"fixed": 4}));
        let (ack, bytes, sum) = (json!("^ACK$"), json!({"hex": "06 .."}), json!("SUM-8"));
        for (framing, checksum, reply, came, expected) in [
            (
                &crlf,
                None,
                &ack,
                &b""[..],
                "nothing was heard: look at the wires, the device's power, `baud` and `format`",
            ),
            (&crlf, None, &ack, b"BUSY\r\nOK\r\nA", "heard \"OK\", which does not match '^ACK$'"),
            (&crlf, None, &ack, b"\r\n", "heard \"\", which does not match '^ACK$'"),
            (
                &crlf,
                None,
                &ack,
                b"\x1b[2J\xff\"it's\"\r\n",
                "heard \"\\u{1b}[2J\\xff\\\"it's\\\"\", which does not match '^ACK$'",
            ),
            (
                &crlf,
                None,
                &ack,
                b"ACK\nACK\n",
                "heard 8 bytes without a whole frame: \"ACK\\nACK\\n\"; the map's `framing` is lines that end in \"\\r\\n\"",
            ),
            (&crlf, None, &bytes, b"\x15\x00\r\n", "heard 15 00, which does not match 06 .. (hex)"),
            (&crlf, None, &bytes, b"\r\n", "heard an empty frame, which does not match 06 .. (hex)"),
            (
                &fixed,
                None,
                &bytes,
                b"\x06",
                "heard 1 byte without a whole frame: 06; the map's `framing` is frames of 4 bytes",
            ),
            (
                &fixed,
                Some(&sum),
                &bytes,
                b"\x06\x01\x02\x00",
                "heard 06 01 02 00, in which the checksum (SUM-8) is wrong",
            ),
        ] {
            assert_eq!(heard(framing, checksum, reply, came), expected);
        }
        let long = heard(&crlf, None, &ack, &[&[b'x'; 3000][..], b"\r\n"].concat());
        assert_eq!(
            long,
            format!("heard \"{}\" ... (3000 bytes), which does not match '^ACK$'", "x".repeat(64))
        );
    }
}
