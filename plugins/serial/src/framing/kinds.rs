//! How frames are told apart on a line: the key `framing`. Writes and reads none.

use std::time::Duration;

use nowd_plugin::words::nearest;
use serde_json::Value;

use super::checksum::Checksum;
use super::wire::WrapError;
use crate::keys::{Mistake, Table, suggest};

/// The longest frame, in bytes as it is on the line.
pub const LONGEST_FRAME: usize = 4096;

/// The longest terminator, in bytes.
const LONGEST_TERMINATOR: usize = 8;
/// How long a device may pause inside a frame unless `pause` is given. USB adapters hold bytes back for 16 ms.
const DEFAULT_PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The bytes of RFC 1055.
pub(crate) const SLIP: Between =
    Between { start: 0xC0, end: 0xC0, escape: Some(Escape { byte: 0xDB, how: Escaped::Slip }) };

/// What may stand where a framing is expected, in words.
pub(crate) const FRAMINGS: &str = "{ line = \"\\r\\n\" }, { fixed = 8 }, { length = \"u8\", at = 1 }, \
     { start = 0x02, end = 0x03 }, \"slip\" and \"cobs\"";

/// How frames are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each ends in these bytes.
    Line(String),
    /// Each has this many bytes.
    Fixed { len: usize, pause: Duration },
    /// A field says how long each is.
    Length { field: LengthField, pause: Duration },
    /// Each stands between a start and an end byte.
    Between(Between),
    /// Consistent overhead byte stuffing: no zero byte inside, one behind.
    Cobs,
}

/// Where and how a frame says its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LengthField {
    pub(crate) kind: LengthKind,
    /// How many bytes stand before it.
    pub(crate) at: usize,
    /// What must be added to its value to get the length of the whole frame.
    add: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LengthKind {
    U8,
    U16Be,
    U16Le,
}

/// A start and an end byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Between {
    pub(crate) start: u8,
    pub(crate) end: u8,
    pub(crate) escape: Option<Escape>,
}

/// How start, end and escape byte are written inside a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Escape {
    pub(crate) byte: u8,
    pub(crate) how: Escaped,
}

/// What follows an escape byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escaped {
    /// The byte itself, exclusive-ored with this.
    Xor(u8),
    /// DC for C0, DD for DB.
    Slip,
}

impl Framing {
    /// Reads `framing`, which stands at the path `at`.
    pub(crate) fn parse(value: &Value, at: &str) -> Result<Self, Mistake> {
        const EXPECTED: &str = FRAMINGS;
        const KEYS: &[&str] =
            &["line", "fixed", "length", "start", "at", "add", "end", "escape", "xor", "pause"];
        match value.as_str() {
            Some("slip") => return Ok(Self::Between(SLIP)),
            Some("cobs") => return Ok(Self::Cobs),
            Some(other) => {
                let meant = match nearest(other, ["slip", "cobs", "line", "fixed", "length", "start"]) {
                    Some("line") => "write { line = \"\\r\\n\" }".into(),
                    Some("fixed") => "write { fixed = 8 }".into(),
                    Some("length") => "write { length = \"u8\", at = 1 }".into(),
                    Some("start") => "write { start = 0x02, end = 0x03 }".into(),
                    Some(name) => format!("did you mean `{name}`?"),
                    None if other.chars().all(char::is_control) => format!("write {{ line = {other:?} }}"),
                    None => match spelt_out(other) {
                        Some(line) => format!("write {{ line = \"{line}\" }}"),
                        None => format!("write one of {EXPECTED}"),
                    },
                };
                return Err(Mistake::new(at, format!("{other:?} is no framing; {meant}")));
            }
            None => {}
        }
        let table = Table::new(value, at, &format!("one of {EXPECTED}"), KEYS)?;
        let kinds: Vec<&str> =
            ["line", "fixed", "length", "start"].into_iter().filter(|key| table.has(key)).collect();
        let (kind, own): (_, &[&str]) = match kinds.as_slice() {
            ["line"] => ("line", &["line"]),
            ["fixed"] => ("fixed", &["fixed", "pause"]),
            ["length"] => ("length", &["length", "at", "add", "pause"]),
            ["start"] => ("start", &["start", "end", "escape", "xor"]),
            [] => return Err(Mistake::new(at, format!("must be one of {EXPECTED}"))),
            more => {
                return Err(Mistake::new(at, format!("has {}; only one of them can be", more.join(" and "))));
            }
        };
        if let Some(key) = KEYS.iter().find(|key| table.has(key) && !own.contains(key)) {
            return Err(table.error(key, format!("does not go together with `{kind}`")));
        }
        let pause = table.duration("pause")?.unwrap_or(DEFAULT_PAUSE);
        if pause.is_zero() || pause > LONGEST_PAUSE {
            return Err(table.error("pause", format!("must be longer than 0 and at most {LONGEST_PAUSE:?}")));
        }
        match kind {
            "line" => terminator(&table),
            "fixed" => {
                let len = table.size("fixed", 1, LONGEST_FRAME)?.unwrap_or_default();
                Ok(Self::Fixed { len, pause })
            }
            "length" => Ok(Self::Length { field: LengthField::parse(&table)?, pause }),
            _ => Between::parse(&table).map(Self::Between),
        }
    }

    /// How long a device may pause inside a frame; `None` where the end of a frame is a byte of its own.
    pub(crate) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Fixed { pause, .. } | Self::Length { pause, .. } => Some(*pause),
            Self::Line(_) | Self::Between(_) | Self::Cobs => None,
        }
    }
}

fn terminator(table: &Table<'_>) -> Result<Framing, Mistake> {
    let text = table.text("line")?.unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST_TERMINATOR {
        let message = format!("must be 1 to {LONGEST_TERMINATOR} bytes, such as \"\\r\\n\"");
        return Err(table.error("line", message));
    }
    if let Some(meant) = literal_escape(text) {
        return Err(table.error("line", meant));
    }
    if let Some(meant) = spelt_out(text) {
        let message =
            format!("{text:?} is {} characters of their own; write \"{meant}\"", text.chars().count());
        return Err(table.error("line", message));
    }
    Ok(Framing::Line(text.into()))
}

/// `CR`, `<CR><LF>` and the like are names of bytes, which nobody means letter by letter.
fn spelt_out(text: &str) -> Option<String> {
    const NAMES: &[(&str, &str)] = &[
        ("CR", "\\r"),
        ("LF", "\\n"),
        ("NL", "\\n"),
        ("NUL", "\\u0000"),
        ("ETX", "\\u0003"),
        ("EOT", "\\u0004"),
    ];
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let upper = text.to_ascii_uppercase();
    let letters: String = upper.chars().filter(plain).collect();
    let others = upper.chars().filter(|c| !plain(c)).all(|c| "<>[]{}() +-_\\".contains(c));
    let (mut rest, mut meant) = (letters.as_str(), String::new());
    while let Some((name, written)) = NAMES.iter().find(|(name, _)| rest.starts_with(name)) {
        meant.push_str(written);
        rest = rest.get(name.len()..)?;
    }
    (others && rest.is_empty() && !meant.is_empty()).then_some(meant)
}

/// `'\r\n'` in single quotes is four characters, which nobody means.
pub(crate) fn literal_escape(text: &str) -> Option<String> {
    let escape =
        ["\\r", "\\n", "\\t", "\\u", "\\x", "\\0"].into_iter().find(|escape| text.contains(escape))?;
    let double = if text.contains("\\x") || text.contains("\\0") {
        "write it in double quotes as \"\\u0003\"".into()
    } else {
        format!("write \"{text}\" in double quotes")
    };
    Some(format!(
        "'{escape}' in single quotes is {} characters, a backslash first; {double}",
        text.chars().count()
    ))
}

impl LengthField {
    fn parse(table: &Table<'_>) -> Result<Self, Mistake> {
        const KINDS: &[&str] = &["u8", "u16be", "u16le"];
        let Some(name) = table.text("length")? else { return Err(table.error("length", "is no text")) };
        let kind = match name {
            "u8" => LengthKind::U8,
            "u16be" => LengthKind::U16Be,
            "u16le" => LengthKind::U16Le,
            "u16" => return Err(table.error("length", "u16 has no byte order; write u16be or u16le")),
            other => {
                let message = format!("{other:?} is no length field; {}", suggest(other, KINDS));
                return Err(table.error("length", message));
            }
        };
        Ok(Self {
            kind,
            at: table.size("at", 0, 64)?.unwrap_or_default(),
            add: table.integer("add", -4096, 4096)?.unwrap_or_default(),
        })
    }

    pub(crate) fn width(&self) -> usize {
        match self.kind {
            LengthKind::U8 => 1,
            LengthKind::U16Be | LengthKind::U16Le => 2,
        }
    }

    pub(crate) fn bytes(&self, whole: usize) -> Option<Vec<u8>> {
        let value = i64::try_from(whole).ok()?.checked_sub(self.add)?;
        Some(match self.kind {
            LengthKind::U8 => vec![u8::try_from(value).ok()?],
            LengthKind::U16Be => u16::try_from(value).ok()?.to_be_bytes().to_vec(),
            LengthKind::U16Le => u16::try_from(value).ok()?.to_le_bytes().to_vec(),
        })
    }

    /// The length of the whole frame that begins with `start`. `None`: its field has not come yet.
    pub(crate) fn whole(&self, start: &[u8]) -> Option<i64> {
        let field = start.get(self.at..self.at.checked_add(self.width())?)?;
        let value = match (self.kind, field) {
            (LengthKind::U16Le, [low, high]) => u16::from_le_bytes([*low, *high]),
            (_, [high, low]) => u16::from_be_bytes([*high, *low]),
            (_, [byte]) => (*byte).into(),
            _ => return None,
        };
        Some(i64::from(value).saturating_add(self.add))
    }
}

impl Between {
    fn parse(table: &Table<'_>) -> Result<Self, Mistake> {
        let (Some(start), Some(end)) = (table.byte("start")?, table.byte("end")?) else {
            return Err(table.error("start", "needs `end`, such as { start = 0x02, end = 0x03 }"));
        };
        let escape = match (table.byte("escape")?, table.byte("xor")?) {
            (None, Some(_)) => return Err(table.error("xor", "is nothing without `escape`")),
            (None, None) => None,
            (Some(byte), xor) => {
                let xor = xor.unwrap_or_default();
                let special = [start, end, byte];
                if byte == start || byte == end {
                    return Err(table.error("escape", "must be another byte than `start` and `end`"));
                }
                if xor != 0 && special.iter().any(|special| [start, end].contains(&(special ^ xor))) {
                    return Err(table.error("xor", "makes a start or end byte of what is escaped"));
                }
                Some(Escape { byte, how: Escaped::Xor(xor) })
            }
        };
        Ok(Self { start, end, escape })
    }

    fn is_special(self, byte: u8) -> bool {
        byte == self.start || byte == self.end || self.escape.is_some_and(|escape| escape.byte == byte)
    }

    pub(crate) fn put(self, content: &[u8], frame: &mut Vec<u8>) -> Result<(), WrapError> {
        for byte in content {
            match (self.is_special(*byte), self.escape) {
                (false, _) => frame.push(*byte),
                (true, None) => return Err(WrapError::Delimiter(*byte)),
                (true, Some(escape)) => frame.extend([escape.byte, escape.how.written(*byte)]),
            }
        }
        Ok(())
    }
}

impl Escaped {
    fn written(self, byte: u8) -> u8 {
        match self {
            Self::Xor(xor) => byte ^ xor,
            Self::Slip if byte == SLIP.start => 0xDC,
            Self::Slip => 0xDD,
        }
    }

    /// The byte that was meant; `None`: nobody writes that.
    pub(crate) fn meant(self, written: u8) -> Option<u8> {
        match (self, written) {
            (Self::Xor(xor), written) => Some(written ^ xor),
            (Self::Slip, 0xDC) => Some(0xC0),
            (Self::Slip, 0xDD) => Some(0xDB),
            (Self::Slip, _) => None,
        }
    }
}

impl Between {
    pub(crate) fn covered_start(&self, sum: &Checksum) -> &[u8] {
        if sum.covers_start { std::slice::from_ref(&self.start) } else { &[] }
    }

    pub(crate) fn covered_end(&self, sum: &Checksum) -> &[u8] {
        if sum.covers_end { std::slice::from_ref(&self.end) } else { &[] }
    }
}

impl std::fmt::Display for Framing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(terminator) => write!(f, "lines that end in {terminator:?}"),
            Self::Fixed { len, .. } => write!(f, "frames of {len} bytes"),
            Self::Length { field, .. } => write!(f, "frames that say their length at byte {}", field.at),
            Self::Between(between) if *between == SLIP => f.write_str("SLIP frames"),
            Self::Between(Between { start, end, escape }) => {
                write!(f, "frames from {start:02X} to {end:02X}")?;
                match escape {
                    Some(Escape { byte, how: Escaped::Xor(0) }) => {
                        write!(f, "; inside, {byte:02X} stands before such a byte")
                    }
                    Some(Escape { byte, how: Escaped::Xor(xor) }) => {
                        write!(
                            f,
                            "; inside, {byte:02X} stands before such a byte, which is exclusive-ored with {xor:02X}"
                        )
                    }
                    Some(Escape { how: Escaped::Slip, .. }) | None => Ok(()),
                }
            }
            Self::Cobs => f.write_str("COBS frames"),
        }
    }
}
