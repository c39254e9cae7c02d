//! What came while an answer was waited for, and was none: as much of it as people want to see, printable. Reads nothing.

use std::fmt::Write;

/// How many bytes of a device go into a message or the log.
const MOST_SHOWN: usize = 64;

/// The beginning of some bytes of a device, and how many there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    start: Vec<u8>,
    pub(crate) len: usize,
}

/// What came since the reader was told to begin anew.
#[derive(Debug, Clone, Default)]
pub(crate) struct Missed {
    /// All of it.
    pub(crate) bytes: Shown,
    /// The last whole frame.
    pub(crate) last: Option<Last>,
}

/// The last whole frame.
#[derive(Debug, Clone)]
pub(crate) enum Last {
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
        if self.len == 0 {
            return "an empty frame".into();
        }
        let bytes: Vec<String> = self.start.iter().map(|byte| format!("{byte:02X}")).collect();
        bytes.join(" ") + &self.more()
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
}
