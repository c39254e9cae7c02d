//! D-Bus to JSON, and what is asked of such JSON. Pure: no bus, no I/O, never panics.
//!
//! Integers are written with all their digits: a reader that keeps numbers as 64 bits of floating point (JavaScript)
//! loses some beyond 2^53.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value};
use zbus::message::{Body, Message};
use zbus::{Signature, Structure, Variant};

/// The first `longest` characters of a text, on one line.
pub(crate) fn clip(text: &str, longest: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    if text.chars().nth(longest).is_some() {
        line.push_str("...");
    }
    line
}

/// `a, b`
pub(crate) fn listed<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes `[a, b]`.
pub(crate) fn write_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    write!(f, "[{}]", listed(items))
}

/// Writes `{"key": a}`.
pub(crate) fn write_table<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    entries: &[(String, T)],
) -> fmt::Result {
    let mut separator = "{";
    for (key, item) in entries {
        write!(f, "{separator}{key:?}: {item}")?;
        separator = ", ";
    }
    f.write_str(if entries.is_empty() { "{}" } else { "}" })
}

/// The values of a message's body, as JSON.
pub(crate) fn body_to_json(body: &Body) -> Result<Vec<Value>, zbus::Error> {
    if *body.signature() == Signature::Unit {
        return Ok(Vec::new());
    }
    let structure: Structure<'_> = body.deserialize()?;
    let values: Vec<Value> = structure.fields().iter().map(to_json).collect();
    Ok(if is_lone_structure(body) { vec![Value::Array(values)] } else { values })
}

/// The values of a body as one response: none is `null`, one is itself, several are an array.
pub(crate) fn response(mut values: Vec<Value>) -> Value {
    match values.len() {
        0 => Value::Null,
        1 => values.remove(0),
        _ => Value::Array(values),
    }
}

/// Equal as JSON, where 1 and 1.0 are one number.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || digits(a) == digits(b),
        _ => a == b,
    }
}

/// A number's digits: whole numbers have the same, however they are written.
fn digits(number: &Number) -> String {
    match number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
        Some(float) => format!("{:.0}", float + 0.0),
        None => number.to_string(),
    }
}

/// One value, as JSON. D-Bus limits its depth to 64 containers.
fn to_json(value: &Variant<'_>) -> Value {
    match value {
        Variant::U8(number) => (*number).into(),
        Variant::Bool(flag) => (*flag).into(),
        Variant::I16(number) => (*number).into(),
        Variant::U16(number) => (*number).into(),
        Variant::I32(number) => (*number).into(),
        Variant::U32(number) => (*number).into(),
        Variant::I64(number) => (*number).into(),
        Variant::U64(number) => (*number).into(),
        Variant::F64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Variant::Str(text) => text.as_str().into(),
        Variant::Signature(signature) => signature.to_string_no_parens().into(),
        Variant::ObjectPath(path) => path.as_str().into(),
        Variant::Variant(content) => to_json(content),
        Variant::Array(array) if *array.element_signature() == Signature::U8 => {
            let bytes = array.inner().iter().filter_map(|item| u8::try_from(item).ok());
            BASE64.encode(bytes.collect::<Vec<u8>>()).into()
        }
        Variant::Array(array) => array.inner().iter().map(to_json).collect(),
        Variant::Dict(dict) => {
            let entries = dict.iter().map(|(key, value)| {
                let key = to_json(key);
                (key.as_str().map_or_else(|| key.to_string(), Into::into), to_json(value))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Variant::Structure(structure) => structure.fields().iter().map(to_json).collect(),
        Variant::Fd(_) => Value::Null,
    }
}

/// Whether a body is one structure, rather than the structure's fields side by side. Parsed signatures do not keep
/// these apart, so the message's own text is looked at.
pub(crate) fn is_lone_structure(body: &Body) -> bool {
    let Signature::Structure(fields) = body.signature() else { return false };
    match signature_text(body.message()) {
        Some(text) => is_one_pair(text),
        // Fields side by side are at least two.
        None => fields.len() == 1,
    }
}

/// Whether the parenthesis at the start of a good signature is closed at its very end.
fn is_one_pair(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index > 0 && index + 1 == text.len();
        }
    }
    false
}

/// The body's signature as it stands in the header of a message, which zbus has checked.
fn signature_text(message: &Message) -> Option<&[u8]> {
    const FIELDS_LEN_AT: usize = 12;
    const SIGNATURE: u8 = 8;
    let bytes: &[u8] = message.data();
    let mut header = Header { bytes, at: FIELDS_LEN_AT, big_endian: bytes.first() == Some(&b'B') };
    let len = header.length()?;
    let end = header.at.checked_add(len)?;
    while header.at < end {
        header.align(8);
        let (code, one) = (header.byte()?, header.byte()?);
        let (ty, nul) = (header.byte()?, header.byte()?);
        if (one, nul) != (1, 0) {
            return None;
        }
        match ty {
            b'g' => {
                let len = header.byte()?.into();
                let text = header.take(len)?;
                header.take(1)?;
                if code == SIGNATURE {
                    return Some(text);
                }
            }
            b's' | b'o' => {
                header.align(4);
                let len = header.length()?;
                header.take(len.checked_add(1)?)?;
            }
            b'u' => {
                header.align(4);
                header.take(4)?;
            }
            _ => return None,
        }
    }
    None
}

struct Header<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Header<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        let len = if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        usize::try_from(len).ok()
    }
}
