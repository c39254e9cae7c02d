//! What a frame of the device must look like, and which parts of it are values. Knows no ports.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::checksum::Checksum;
use crate::field::hex;
use crate::framing::Framing;
use crate::hex::HexPattern;
use crate::keys::{Mistake, Table};
use crate::value::Values;
use crate::wire::Wire;

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
            if let Framing::Line(terminator) = &wire.framing {
                check_end(text, terminator).map_err(|e| Mistake::new(at, e))?;
            }
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
            Self::Text(regex) => write!(f, "'{regex}'"),
            Self::Hex(pattern) => write!(f, "{pattern} (hex)"),
        }
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(LARGEST).build().map_err(|e| {
        let message = e.to_string();
        let reason = message.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        format!("{text:?} is not a regular expression: {reason}")
    })
}

/// The terminator is taken off before a line is matched, so a pattern that ends in it never matches.
fn check_end(text: &str, terminator: &str) -> Result<(), String> {
    let escaped = terminator.escape_default().to_string();
    let end = text.trim_end_matches(['$', ')']);
    if end.ends_with(terminator) || (escaped != terminator && end.ends_with(&escaped)) {
        return Err(format!(
            "the pattern ends in the terminator {terminator:?}, which is taken off before; leave it out, or it never matches"
        ));
    }
    Ok(())
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
        for (pattern, framing, expected) in [
            (
                json!("^OK\r\n$"),
                &crlf,
                "`reply`: the pattern ends in the terminator \"\\r\\n\", which is taken off before",
            ),
            (json!("^(OK\\r\\n)$"), &crlf, "`reply`: the pattern ends in the terminator"),
            (json!("("), &crlf, "`reply`: \"(\" is not a regular expression: unclosed group"),
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
