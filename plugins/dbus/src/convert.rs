//! JSON to D-Bus and back, by signature. Pure: no bus, no I/O, never panics.
//!
//! | D-Bus | JSON |
//! |---|---|
//! | `y n q i u x t` | number; an integer in the type's range, `5.0` counts as 5 |
//! | `d` | number; NaN and infinities become `null` |
//! | `b` | `true`, `false` |
//! | `s o g` | string; object paths and signatures are checked |
//! | `ay` | string in base64 (standard alphabet, padded); an array of numbers is taken too |
//! | other arrays | array |
//! | dictionary | object; a key that is not text is written as text (`"5"`, `"true"`) |
//! | structure | array |
//! | `v` | its content; from JSON: `true` gives `b`, integers `x` (or `t` above its range), other numbers `d`, text `s`, arrays `av`, objects `a{sv}` |
//! | `h` | never taken, and `null` in results: there is nothing that a caller could do with a file descriptor |

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value};
use zbus::wire::signature::Fields;
use zbus::{Array, Dict, ObjectPath, Signature, Structure, Variant};

/// How deep values may nest; D-Bus itself allows 64 containers, and a variant in JSON costs two of them.
const MAX_DEPTH: usize = 30;

/// A JSON value is not what a signature asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: expected {expected}, got {got}")]
pub(crate) struct ConvertError {
    /// Where: `argument 2`, `argument 2[0]`.
    place: String,
    /// What the signature asks for.
    expected: String,
    /// What was there.
    got: String,
}

/// A signature of arguments, in text, is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    /// Not a signature at all.
    #[error("{0:?} is not a D-Bus signature")]
    Malformed(String),
    /// It holds `h`.
    #[error("{0:?} holds a file descriptor (h), which cannot be sent from JSON")]
    FileDescriptor(String),
}

/// Reads the signature of a method's arguments: `"uays"` are three, `"(uu)"` is one.
pub(crate) fn parse_signature(text: &str) -> Result<Vec<Signature>, SignatureError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // In parentheses, so that one structure and the same types side by side stay apart.
    let parsed = Signature::try_from(format!("({text})").as_str());
    let Ok(Signature::Structure(fields)) = parsed else {
        return Err(SignatureError::Malformed(text.into()));
    };
    if fields.iter().any(holds_fd) {
        return Err(SignatureError::FileDescriptor(text.into()));
    }
    Ok(fields.iter().cloned().collect())
}

/// Whether a signature asks for a file descriptor somewhere.
pub(crate) fn holds_fd(signature: &Signature) -> bool {
    match signature {
        Signature::Fd => true,
        Signature::Array(child) => holds_fd(child),
        Signature::Dict { key, value } => holds_fd(key) || holds_fd(value),
        Signature::Structure(fields) => fields.iter().any(holds_fd),
        Signature::Unit
        | Signature::U8
        | Signature::Bool
        | Signature::I16
        | Signature::U16
        | Signature::I32
        | Signature::U32
        | Signature::I64
        | Signature::U64
        | Signature::F64
        | Signature::Str
        | Signature::Signature
        | Signature::ObjectPath
        | Signature::Variant => false,
    }
}

/// One argument; `place` names it in errors.
pub(crate) fn to_dbus(
    value: &Value,
    signature: &Signature,
    place: &str,
) -> Result<Variant<'static>, ConvertError> {
    Place { name: place, value, signature, depth: 0 }.convert()
}

/// A value that is being converted, and where it stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    value: &'a Value,
    signature: &'a Signature,
    depth: usize,
}

impl Place<'_> {
    fn convert(self) -> Result<Variant<'static>, ConvertError> {
        if self.depth > MAX_DEPTH {
            return Err(self.expected(format!("at most {MAX_DEPTH} levels of nesting")));
        }
        let converted = match self.signature {
            Signature::U8 => self.integer().map(Variant::U8),
            Signature::I16 => self.integer().map(Variant::I16),
            Signature::U16 => self.integer().map(Variant::U16),
            Signature::I32 => self.integer().map(Variant::I32),
            Signature::U32 => self.integer().map(Variant::U32),
            Signature::I64 => self.integer().map(Variant::I64),
            Signature::U64 => self.integer().map(Variant::U64),
            Signature::F64 => self.value.as_f64().map(Variant::F64),
            Signature::Bool => self.value.as_bool().map(Variant::Bool),
            Signature::Str => self.text().map(|text| Variant::Str(text.to_owned().into())),
            Signature::ObjectPath => self
                .text()
                .and_then(|text| ObjectPath::try_from(text.to_owned()).ok())
                .map(Variant::ObjectPath),
            Signature::Signature => self
                .text()
                .filter(|text| text.len() <= 255)
                .and_then(|text| Signature::try_from(text).ok())
                .map(Variant::Signature),
            Signature::Variant => return self.variant(),
            Signature::Array(item) => return self.array(item),
            Signature::Dict { key, value } => return self.dict(key, value),
            Signature::Structure(fields) => return self.structure(fields),
            Signature::Fd | Signature::Unit => None,
        };
        converted.ok_or_else(|| self.mismatch())
    }

    fn inner<'b>(self, name: &'b str, value: &'b Value, signature: &'b Signature) -> Place<'b> {
        Place { name, value, signature, depth: self.depth + 1 }
    }

    fn integer<T: TryFrom<i64> + TryFrom<u64>>(self) -> Option<T> {
        let number = self.value.as_number()?;
        if let Some(signed) = number.as_i64() {
            return T::try_from(signed).ok();
        }
        if let Some(unsigned) = number.as_u64() {
            return T::try_from(unsigned).ok();
        }
        // JSON Schema takes 5.0 for an integer. Its text is exact, and parsing checks the range.
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        let text = format!("{float:.0}");
        text.parse::<i64>().ok().and_then(|signed| T::try_from(signed).ok())
    }

    /// Text that D-Bus can carry: no NUL inside.
    fn text(&self) -> Option<&str> {
        self.value.as_str().filter(|text| !text.contains('\0'))
    }

    /// The content's type follows the JSON value.
    fn variant(self) -> Result<Variant<'static>, ConvertError> {
        let variants = Signature::array(Signature::Variant);
        let named_variants = Signature::dict(Signature::Str, Signature::Variant);
        let signature = match self.value {
            Value::Null => return Err(self.mismatch()),
            Value::Bool(_) => &Signature::Bool,
            Value::Number(number) if number.is_i64() => &Signature::I64,
            Value::Number(number) if number.is_u64() => &Signature::U64,
            Value::Number(_) => &Signature::F64,
            Value::String(_) => &Signature::Str,
            Value::Array(_) => &variants,
            Value::Object(_) => &named_variants,
        };
        let content = self.inner(self.name, self.value, signature).convert()?;
        Ok(Variant::Variant(Box::new(content)))
    }

    fn array(self, item: &Signature) -> Result<Variant<'static>, ConvertError> {
        let mut array = Array::new(item);
        match self.value {
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    let name = format!("{}[{index}]", self.name);
                    let element = self.inner(&name, value, item).convert()?;
                    array.append(element).map_err(|_| self.mismatch())?;
                }
            }
            Value::String(text) if *item == Signature::U8 => {
                let bytes = BASE64.decode(text).map_err(|_| self.mismatch())?;
                for byte in bytes {
                    array.append(Variant::U8(byte)).map_err(|_| self.mismatch())?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                return Err(self.mismatch());
            }
        }
        Ok(Variant::Array(array))
    }

    fn dict(self, key: &Signature, value: &Signature) -> Result<Variant<'static>, ConvertError> {
        let entries = self.value.as_object().ok_or_else(|| self.mismatch())?;
        let mut dict = Dict::new(key, value);
        for (text, content) in entries {
            let name = format!("{}[{:?}]", self.name, clip(text, 40));
            let content = self.inner(&name, content, value).convert()?;
            let text = key_value(text, key);
            let place = self.inner(&name, &text, key);
            let key = place.convert().map_err(|mut e| {
                e.place.push_str(" (its key)");
                e
            })?;
            dict.append(key, content).map_err(|_| self.mismatch())?;
        }
        Ok(Variant::Dict(dict))
    }

    fn structure(self, fields: &Fields) -> Result<Variant<'static>, ConvertError> {
        let values = self.value.as_array().filter(|values| values.len() == fields.len());
        let values = values.ok_or_else(|| self.mismatch())?;
        let mut structure = Structure::builder();
        for (index, (value, field)) in values.iter().zip(fields.iter()).enumerate() {
            let name = format!("{}[{index}]", self.name);
            structure = structure.append_field(self.inner(&name, value, field).convert()?);
        }
        structure.build().map(Variant::Structure).map_err(|_| self.mismatch())
    }

    fn mismatch(self) -> ConvertError {
        self.expected(describe(self.signature))
    }

    fn expected(self, expected: String) -> ConvertError {
        ConvertError { place: self.name.into(), expected, got: got(self.value) }
    }
}

/// The value that the text of a JSON key stands for, where D-Bus keys are of type `key`.
fn key_value(text: &str, key: &Signature) -> Value {
    let is_text = matches!(key, Signature::Str | Signature::ObjectPath | Signature::Signature);
    let parsed = if is_text { None } else { serde_json::from_str::<Value>(text).ok() };
    parsed.filter(|value| value.is_number() || value.is_boolean()).unwrap_or_else(|| text.into())
}

/// What a signature asks for, in words.
fn describe(signature: &Signature) -> String {
    let words = match signature {
        Signature::U8 => "an integer from 0 to 255",
        Signature::I16 => "an integer of 16 bits",
        Signature::U16 => "an integer from 0 to 65535",
        Signature::I32 => "an integer of 32 bits",
        Signature::U32 => "an integer from 0 to 4294967295",
        Signature::I64 => "an integer of 64 bits",
        Signature::U64 => "an integer from 0 to 18446744073709551615",
        Signature::F64 => "a number",
        Signature::Bool => "true or false",
        Signature::Str => "a text without NUL",
        Signature::ObjectPath => "an object path such as \"/com/example\"",
        Signature::Signature => "a D-Bus signature",
        Signature::Variant => "anything but null",
        Signature::Array(item) if **item == Signature::U8 => "bytes in base64, or an array of numbers",
        Signature::Array(_) => "an array",
        Signature::Dict { .. } => "an object",
        Signature::Structure(fields) => {
            return format!("an array of {} values ({})", fields.len(), clip(&signature.to_string(), 60));
        }
        Signature::Fd => "nothing, since a file descriptor cannot be sent from JSON",
        Signature::Unit => "nothing",
    };
    format!("{words} ({})", clip(&signature.to_string(), 60))
}

fn got(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("{:?}", clip(text, 40)),
        Value::Array(values) => format!("an array of {}", values.len()),
        Value::Object(_) => "an object".into(),
    }
}

/// The first `longest` characters of a text, on one line.
pub(crate) fn clip(text: &str, longest: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    if text.chars().nth(longest).is_some() {
        line.push_str("...");
    }
    line
}

/// The values of a message's body, as JSON.
///
/// A body of one structure cannot be told from one of the structure's fields, unless that is a single one: parsed
/// signatures do not keep the parentheses. As a [`response`] both are the same array.
pub(crate) fn body_to_json(body: &zbus::message::Body) -> Result<Vec<Value>, zbus::Error> {
    if *body.signature() == Signature::Unit {
        return Ok(Vec::new());
    }
    let structure: Structure<'_> = body.deserialize()?;
    let values: Vec<Value> = structure.fields().iter().map(to_json).collect();
    let lone_structure = matches!(body.signature(), Signature::Structure(fields) if fields.len() == 1);
    Ok(if lone_structure { vec![Value::Array(values)] } else { values })
}

/// The values of a body as one response: none is `null`, one is itself, several are an array.
pub(crate) fn response(mut values: Vec<Value>) -> Value {
    match values.len() {
        0 => Value::Null,
        1 => values.remove(0),
        _ => Value::Array(values),
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

#[cfg(test)]
mod tests;
