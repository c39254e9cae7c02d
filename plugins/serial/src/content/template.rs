//! What is written for a call: a text or bytes of a map with the call's parameters in it. A parameter can never end the
//! frame, and in a text never put a control byte into it.

use nowd_plugin::Call;
use nowd_plugin::params::Derived;
use nowd_plugin::template::{Template, param};
use serde_json::Value;

use super::hex::HexTemplate;
use super::value::Values;
use crate::framing::checksum::Checksum;
use crate::framing::kinds::{Between, Framing, literal_escape};
use crate::framing::wire::{Wire, WrapError};
use crate::keys::{Mistake, Table};

/// What may stand where a frame is expected, in words.
const EXPECTED: &str = "a text such as \"SET $ch ON\", or { hex = \"A0 $ch:u8\" },";

/// A frame to send, without what the framing adds.
#[derive(Debug, Clone)]
pub(crate) struct FrameTemplate {
    /// The path of its key.
    at: String,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Text { template: Template, source: String },
    Hex(HexTemplate),
}

/// Parameters that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A parameter holds a control character.
    #[error("request.{0}: holds a control character, which could be taken for a command of its own")]
    Control(String),
    /// A parameter holds the terminator.
    #[error("request.{0}: holds the terminator of the frame, which would make two frames of it")]
    Terminator(String),
    /// A parameter does not fit its field.
    #[error("request.{0}: {1}")]
    Field(String, String),
    /// All together makes no frame.
    #[error("request: {0}")]
    Wrap(#[from] WrapError),
}

impl FrameTemplate {
    /// Reads `send`, which stands at the path `at`.
    pub(crate) fn parse(value: &Value, at: &str, wire: &Wire, values: &Values) -> Result<Self, Mistake> {
        let error = |e: &dyn std::fmt::Display| Mistake::new(at, e);
        if let Value::String(text) = value {
            let template = Template::parse(text).map_err(|e| error(&e))?;
            if (text.ends_with("\\r") || text.ends_with("\\n") || text.contains("\\x"))
                && let Some(meant) = literal_escape(text)
            {
                return Err(error(&meant));
            }
            check_literal(text.as_bytes(), wire).map_err(|e| error(&e))?;
            if !text.contains('$') {
                check_len(text.len(), wire).map_err(|e| error(&e))?;
            }
            if let Some(name) = template.params().find(|name| values.of(name).is_scaled()) {
                let message = format!(
                    "`values.{name}` has a scale, and ${name} is sent as it is in a text; rename one of them"
                );
                return Err(error(&message));
            }
            return Ok(Self { at: at.into(), body: Body::Text { template, source: text.clone() } });
        }
        let table = Table::new(value, at, EXPECTED, &["hex"])?;
        let Some(text) = table.text("hex")? else {
            return Err(error(&"is empty; write { hex = \"A0 $ch:u8\" }, or a text"));
        };
        let at = table.path("hex");
        let template = HexTemplate::parse(text).map_err(|e| Mistake::new(&at, e))?;
        for (name, field) in template.fields() {
            field.check_convert(values.of(name)).map_err(|e| Mistake::new(format!("values.{name}"), e))?;
        }
        for literal in template.literals() {
            check_literal(&literal, wire).map_err(|e| Mistake::new(&at, e))?;
        }
        if let Some(len) = template.len() {
            check_len(len, wire).map_err(|e| Mistake::new(&at, e))?;
        }
        Ok(Self { at, body: Body::Hex(template) })
    }

    /// What the fields say of parameters.
    pub(crate) fn derived(&self, values: &Values) -> Vec<Derived> {
        let Body::Hex(template) = &self.body else { return Vec::new() };
        let derived = template.fields().map(|(name, field)| Derived {
            param: name.into(),
            schema: field.schema(values.of(name)).as_object().cloned().unwrap_or_default(),
            place: format!("the field `${name}:{field}`"),
            path: self.at.clone(),
        });
        derived.collect()
    }

    /// Checks that the parameters in a text are among the `declared`; those in fields declare themselves.
    pub(crate) fn check_declared(&self, declared: &[&str]) -> Result<(), Mistake> {
        let Body::Text { template, .. } = &self.body else { return Ok(()) };
        template.check_declared(declared.iter().copied()).map_err(|e| Mistake::new(&self.at, e))
    }

    /// The names of parameters, in fields and in texts.
    pub(crate) fn params(&self) -> Vec<&str> {
        match &self.body {
            Body::Text { template, .. } => template.params().collect(),
            Body::Hex(_) => self.fields(),
        }
    }

    /// The names of fields.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match &self.body {
            Body::Text { .. } => Vec::new(),
            Body::Hex(template) => template.fields().map(|(name, _)| name).collect(),
        }
    }

    /// The whole frame for a call.
    pub(crate) fn render(&self, call: &Call, wire: &Wire, values: &Values) -> Result<Vec<u8>, FrameError> {
        let content = match &self.body {
            Body::Hex(template) => {
                template.render(call, values).map_err(|(name, e)| FrameError::Field(name, e))?
            }
            Body::Text { template, .. } => {
                for name in template.params() {
                    if let Some(value) = param(call, name) {
                        check_param(name, value, wire)?;
                    }
                }
                template.text(call).into_bytes()
            }
        };
        Ok(wire.wrap(&content)?)
    }
}

impl std::fmt::Display for FrameTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.body {
            Body::Text { source, .. } => write!(f, "{source:?}"),
            Body::Hex(template) => write!(f, "{template} (hex)"),
        }
    }
}

fn check_param(name: &str, value: &Value, wire: &Wire) -> Result<(), FrameError> {
    let json;
    let text = if let Value::String(text) = value {
        text
    } else {
        json = value.to_string();
        &json
    };
    if text.chars().any(char::is_control) {
        return Err(FrameError::Control(name.into()));
    }
    match &wire.framing {
        Framing::Line(terminator) if text.contains(terminator) => Err(FrameError::Terminator(name.into())),
        Framing::Line(_)
        | Framing::Fixed { .. }
        | Framing::Length { .. }
        | Framing::Between(_)
        | Framing::Cobs => Ok(()),
    }
}

/// What stands in the map may not end the frame by itself.
fn check_literal(bytes: &[u8], wire: &Wire) -> Result<(), String> {
    match &wire.framing {
        Framing::Line(terminator) => {
            let found = bytes.windows(terminator.len()).any(|window| window == terminator.as_bytes());
            if found {
                Err(format!(
                    "the frame holds the terminator {terminator:?}; leave it out, the framing adds it"
                ))
            } else {
                Ok(())
            }
        }
        Framing::Between(Between { start, end, escape: None }) => {
            match bytes.iter().find(|byte| *byte == start || *byte == end) {
                Some(byte) => Err(format!(
                    "the frame holds {byte:02X}, which starts or ends a frame; leave it out, the framing adds it"
                )),
                None => Ok(()),
            }
        }
        Framing::Between(_) | Framing::Fixed { .. } | Framing::Length { .. } | Framing::Cobs => Ok(()),
    }
}

/// The content of a frame must have the length that the framing wants.
fn check_len(len: usize, wire: &Wire) -> Result<(), String> {
    let sum = wire.checksum.as_ref().map_or(0, Checksum::len);
    match &wire.framing {
        Framing::Fixed { len: must, .. } if len + sum != *must => {
            let with = if sum == 0 { String::new() } else { format!(" and {sum} of the checksum") };
            Err(format!("has {len} bytes{with}, and `framing.fixed` is {must}"))
        }
        Framing::Length { field, .. } if len < field.at => {
            Err(format!("is shorter than the {} bytes that stand before the length field", field.at))
        }
        Framing::Fixed { .. }
        | Framing::Length { .. }
        | Framing::Line(_)
        | Framing::Between(_)
        | Framing::Cobs => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nowd_plugin::Deadline;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::framing::kinds::LONGEST_FRAME;

    fn parse(send: &Value, framing: &Value) -> Result<(FrameTemplate, Wire), String> {
        let wire = Wire::parse(framing, None).unwrap();
        let template =
            FrameTemplate::parse(send, "send", &wire, &Values::default()).map_err(|e| e.to_string())?;
        template.check_declared(&["x"]).map_err(|e| e.to_string())?;
        Ok((template, wire))
    }

    fn render(send: &Value, framing: &Value, value: &Value) -> Result<Vec<u8>, String> {
        let (template, wire) = parse(send, framing).unwrap();
        let call = Call::new(Uuid::nil(), "m", json!({"x": value}), Deadline::after(Duration::from_secs(1)));
        template.render(&call, &wire, &Values::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn renders() {
        let line = |terminator: &str| json!({"line": terminator});
        for (send, framing, value, expected) in [
            (json!("SET $x ON"), line("\r\n"), json!(3), &b"SET 3 ON\r\n"[..]),
            (json!("SAY $x"), line(";"), json!("ja, é"), "SAY ja, é;".as_bytes()),
            // The map may use control bytes.
            (json!("\u{2}$x"), line("\r"), json!("a"), b"\x02a\r"),
            (json!("$x"), json!("slip"), json!("a"), b"\xc0a\xc0"),
            (json!({"hex": "A0 $x:u8"}), json!({"fixed": 2}), json!(1), b"\xa0\x01"),
            (json!({"hex": "A0 $x:u16le"}), json!({"length": "u8", "at": 1}), json!(1), b"\xa0\x04\x01\x00"),
        ] {
            assert_eq!(render(&send, &framing, &value).as_deref(), Ok(expected), "{send}");
        }
    }

    #[test]
    fn a_parameter_cannot_end_the_frame() {
        let (crlf, semicolon) = (json!({"line": "\r\n"}), json!({"line": ";"}));
        let between = json!({"start": 2, "end": 3});
        let text = json!("SAY $x");
        for (send, framing, value, expected) in [
            (&text, &crlf, json!("a\r\nOPEN"), "request.x: holds a control character"),
            (&text, &crlf, json!("a\n"), "request.x: holds a control character"),
            (&text, &crlf, json!("\u{0}"), "request.x: holds a control character"),
            (&text, &crlf, json!("\u{7f}"), "request.x: holds a control character"),
            (&text, &crlf, json!(["\u{9b}"]), "request.x: holds a control character"),
            (&text, &between, json!("\u{3}"), "request.x: holds a control character"),
            (&text, &semicolon, json!("a;OPEN"), "request.x: holds the terminator"),
            (&text, &semicolon, json!({"a": ";"}), "request.x: holds the terminator"),
            (&json!("SAY #$x"), &json!({"line": "##"}), json!("#OPEN"), "request: holds the terminator"),
            (&text, &crlf, json!("a".repeat(LONGEST_FRAME)), "request: makes a frame of"),
            (&json!({"hex": "01 $x:u16be"}), &crlf, json!(0x0d0a), "request: holds the terminator"),
            (&json!({"hex": "01 $x:u8"}), &between, json!(3), "request: holds the byte 03"),
            (&json!({"hex": "01 $x:u8"}), &between, json!(300), "request.x: 300 does not fit u8: 0 to 255"),
        ] {
            let message = render(send, framing, &value).unwrap_err();
            assert!(message.starts_with(expected), "{send}: {message}");
        }
    }

    #[test]
    fn mistakes_of_a_map() {
        let crlf = json!({"line": "\r\n"});
        for (send, framing, expected) in [
            (json!("SET $ch"), &crlf, "`send`: `$ch` is not declared in `params`, which has x"),
            (json!("SET $"), &crlf, "`send`: a `$` must be followed by"),
            (json!("SET $x\r\n"), &crlf, "`send`: the frame holds the terminator \"\\r\\n\""),
            (json!("SET $x\\r\\n"), &crlf, "`send`: '\\r' in single quotes is 10 characters"),
            (json!({"hex": "01 0D 0A"}), &crlf, "`send.hex`: the frame holds the terminator"),
            (
                json!({"hex": "02 01 03"}),
                &json!({"start": 2, "end": 3}),
                "`send.hex`: the frame holds 02, which",
            ),
            (json!("OPEN"), &json!({"fixed": 3}), "`send`: has 4 bytes, and `framing.fixed` is 3"),
            (json!({"hex": "01"}), &json!({"fixed": 2}), "`send.hex`: has 1 bytes, and `framing.fixed` is 2"),
            (
                json!({"hex": "01"}),
                &json!({"length": "u8", "at": 2}),
                "`send.hex`: is shorter than the 2 bytes",
            ),
            (json!({"hx": "01"}), &crlf, "`send.hx`: unknown key; did you mean `hex`?"),
            (json!({}), &crlf, "`send`: is empty"),
            (json!(5), &crlf, "`send`: the number 5 where a text such as"),
        ] {
            let message = parse(&send, framing).unwrap_err();
            assert!(message.starts_with(expected), "{send}: {message}");
        }
    }
}
