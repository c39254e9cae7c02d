//! What a frame of the device must look like, and which parts of it are values. Knows no ports.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::field::hex;
use super::hex::HexPattern;
use super::value::Values;
use crate::framing::checksum::Checksum;
use crate::framing::kinds::{Between, Framing};
use crate::framing::missed::Shown;
use crate::framing::wire::Wire;
use crate::keys::{Mistake, Table, one_line};

/// The largest compiled pattern, in bytes.
const LARGEST: usize = 1024 * 1024;
/// What may stand where a pattern is expected, in words.
const EXPECTED: &str =
    "a regular expression such as '^OK (?<state>\\w+)$', or { hex = \"06 $state:u8 ..\" },";

/// A pattern over the content of one frame.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// A regular expression over its text.
    Text(Regex),
    /// Bytes and fields.
    Hex(HexPattern),
}

/// The named parts of a frame; or why one of them cannot be read.
pub(crate) type Captures = Result<Map<String, Value>, String>;

impl Pattern {
    /// Reads a pattern, which stands at the path `at`.
    pub(crate) fn parse(value: &Value, at: &str, wire: &Wire, values: &Values) -> Result<Self, Mistake> {
        if let Value::String(text) = value {
            let regex = regex(text).map_err(|e| Mistake::new(at, e))?;
            check_edges(text, &wire.framing).map_err(|e| Mistake::new(at, e))?;
            return Ok(Self::Text(regex));
        }
        let table = Table::new(value, at, EXPECTED, &["hex"])?;
        let Some(text) = table.text("hex")? else {
            return Err(Mistake::new(at, "is empty; write { hex = \"06 ..\" }, or a regular expression"));
        };
        let at = table.path("hex");
        let pattern = HexPattern::parse(text).map_err(|e| Mistake::new(&at, e))?;
        for (name, field) in pattern.fields() {
            field.check_convert(values.of(name)).map_err(|e| Mistake::new(format!("values.{name}"), e))?;
        }
        for literal in pattern.literals() {
            check_literal(&literal, &wire.framing).map_err(|e| Mistake::new(&at, e))?;
        }
        if let Framing::Fixed { len, .. } = &wire.framing {
            let must = len.saturating_sub(wire.checksum.as_ref().map_or(0, Checksum::len));
            let (least, more) = pattern.len();
            if least > must || (least < must && !more) {
                let message = format!(
                    "matches {least} bytes, and a frame has {must} without its checksum; it never matches"
                );
                return Err(Mistake::new(&at, message));
            }
        }
        Ok(Self::Hex(pattern))
    }

    /// The names of its parts.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::Text(regex) => regex.capture_names().flatten().collect(),
            Self::Hex(pattern) => pattern.fields().map(|(name, _)| name).collect(),
        }
    }

    /// The named parts of a frame; `None`: it does not match.
    pub(crate) fn captures(&self, frame: &[u8], values: &Values) -> Option<Captures> {
        match self {
            Self::Hex(pattern) => pattern.captures(frame, values),
            Self::Text(regex) => {
                let text = String::from_utf8_lossy(frame);
                let captures = regex.captures(&text)?;
                let read = |name: &str| {
                    let Some(part) = captures.name(name) else { return Ok((name.to_owned(), Value::Null)) };
                    let value =
                        values.of(name).of_text(part.as_str()).map_err(|e| format!("`{name}`: {e}"))?;
                    Ok((name.to_owned(), value))
                };
                Some(regex.capture_names().flatten().map(read).collect())
            }
        }
    }

    /// The beginning of some bytes in the form that the pattern is written in.
    pub(crate) fn shown(&self, bytes: &Shown) -> String {
        match self {
            Self::Text(_) => bytes.text(),
            Self::Hex(_) => bytes.hex(),
        }
    }

    /// A frame in the form that the pattern is written in.
    pub(crate) fn show(&self, frame: &[u8]) -> String {
        match self {
            Self::Text(_) => String::from_utf8_lossy(frame).into_owned(),
            Self::Hex(_) => hex(frame),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(regex) => write!(f, "'{}'", one_line(regex.as_str())),
            Self::Hex(pattern) => write!(f, "{pattern} (hex)"),
        }
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(LARGEST).build().map_err(|e| {
        if matches!(e, regex::Error::CompiledTooBig(_)) {
            return format!(
                "{text:?} is too large a regular expression; repeat less, such as \\d+ instead of (\\d+){{1000}}"
            );
        }
        let message = e.to_string();
        let reason = message.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        format!("{text:?} is not a regular expression: {}", reason.trim_end_matches('.'))
    })
}

/// What the framing takes off before a frame is matched is not in it, so a pattern that begins or ends so never matches.
fn check_edges(text: &str, framing: &Framing) -> Result<(), String> {
    let inside = text.trim_start_matches(['^', '(']).trim_end_matches(['$', ')']);
    match framing {
        Framing::Line(terminator) => {
            let escaped = terminator.escape_default().to_string();
            if inside.ends_with(terminator) || (escaped != *terminator && inside.ends_with(&escaped)) {
                return Err(format!("the pattern ends in the terminator {terminator:?}, {TAKEN_OFF}"));
            }
        }
        Framing::Between(Between { start, end, escape: None }) => {
            let forms =
                |byte: u8| [char::from(byte).to_string(), format!("\\x{byte:02x}"), format!("\\x{byte:02X}")];
            if forms(*start).iter().any(|form| inside.starts_with(form)) {
                return Err(format!("the pattern begins with the start byte {start:02X}, {TAKEN_OFF}"));
            }
            if forms(*end).iter().any(|form| inside.ends_with(form)) {
                return Err(format!("the pattern ends in the end byte {end:02X}, {TAKEN_OFF}"));
            }
        }
        Framing::Between(_) | Framing::Fixed { .. } | Framing::Length { .. } | Framing::Cobs => {}
    }
    Ok(())
}

const TAKEN_OFF: &str = "which the framing takes off before; leave it out, or it never matches";

fn check_literal(bytes: &[u8], framing: &Framing) -> Result<(), String> {
    let found = match framing {
        Framing::Line(terminator) => bytes
            .windows(terminator.len())
            .any(|window| window == terminator.as_bytes())
            .then(|| format!("the terminator {terminator:?}")),
        Framing::Between(Between { start, end, escape: None }) => bytes
            .iter()
            .find(|byte| *byte == start || *byte == end)
            .map(|byte| format!("the start or end byte {byte:02X}")),
        Framing::Between(_) | Framing::Fixed { .. } | Framing::Length { .. } | Framing::Cobs => None,
    };
    found.map_or(Ok(()), |what| Err(format!("holds {what}, {TAKEN_OFF}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(pattern: &Value, framing: &Value) -> Result<Pattern, String> {
        let wire = Wire::parse(framing, None).unwrap();
        Pattern::parse(pattern, "reply", &wire, &Values::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn captures() {
        let values = Values::parse(Some(&json!({"n": "integer"}))).unwrap();
        let text = parse(&json!("^OK (?<n>\\w+)( (?<rest>.*))?$"), &json!("cobs")).unwrap();
        assert_eq!(
            text.captures(b"OK 12", &values),
            Some(Ok(json!({"n": 12, "rest": null}).as_object().unwrap().clone()))
        );
        assert_eq!(text.captures(b"OK x", &values), Some(Err("`n`: \"x\" is no integer".into())));
        assert_eq!(text.captures(b"NO 12", &values), None);
        assert_eq!(text.names(), ["n", "rest"]);
        let bytes = parse(&json!({"hex": "06 $n:u8 .."}), &json!("cobs")).unwrap();
        assert_eq!(
            bytes.captures(&[6, 7, 8], &values),
            Some(Ok(json!({"n": 7}).as_object().unwrap().clone()))
        );
        assert_eq!((bytes.names(), bytes.show(&[6, 7])), (vec!["n"], "06 07".into()));
    }

    #[test]
    fn mistakes() {
        let (crlf, fixed) = (json!({"line": "\r\n"}), json!({"fixed": 4}));
        let between = json!({"start": 2, "end": 3});
        for (pattern, framing, expected) in [
            (
                json!("^OK\r\n$"),
                &crlf,
                "`reply`: the pattern ends in the terminator \"\\r\\n\", which the framing takes off",
            ),
            (json!("^(OK\\r\\n)$"), &crlf, "`reply`: the pattern ends in the terminator"),
            (
                json!("^\u{2}OK"),
                &between,
                "`reply`: the pattern begins with the start byte 02, which the framing takes off",
            ),
            (json!("^OK(?<n>.)\\x03$"), &between, "`reply`: the pattern ends in the end byte 03"),
            (json!({"hex": "02 06 03"}), &between, "`reply.hex`: holds the start or end byte 02, which"),
            (json!({"hex": "06 0d 0a"}), &crlf, "`reply.hex`: holds the terminator \"\\r\\n\", which"),
            (json!("("), &crlf, "`reply`: \"(\" is not a regular expression: unclosed group"),
            (
                json!("^(\\d+){1000}"),
                &crlf,
                "`reply`: \"^(\\\\d+){1000}\" is too large a regular expression; repeat",
            ),
            (json!({"hex": "06"}), &fixed, "`reply.hex`: matches 1 bytes, and a frame has 4"),
            (json!({"hex": "06 01 02 03 04 .."}), &fixed, "`reply.hex`: matches 5 bytes, and a frame has 4"),
            (json!({"hex": "06 $x:u16"}), &crlf, "`reply.hex`: \"u16\" has no byte order"),
            (json!({"regex": "x"}), &crlf, "`reply.regex`: unknown key; there are hex"),
            (json!(true), &crlf, "`reply`: true where a regular expression"),
        ] {
            let message = parse(&pattern, framing).unwrap_err();
            assert!(message.starts_with(expected), "{pattern}: {message}");
        }
        assert!(parse(&json!("^OK[^\\r\\n]*$"), &crlf).is_ok());
        assert!(parse(&json!({"hex": "06 .."}), &fixed).is_ok());
    }
}
