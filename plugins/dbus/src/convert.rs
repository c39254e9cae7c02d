//! JSON to D-Bus, by signature; `json.rs` is the way back. Pure: no bus, no I/O, never panics.
//!
//! | D-Bus | JSON |
//! |---|---|
//! | `y n q i u x t` | number; an integer in the type's range, `5.0` counts as 5 (up to 2^53, where a fraction's digits end) |
//! | `d` | number, an integer only if 64 bits of floating point hold it exactly; NaN and infinities become `null` |
//! | `b` | `true`, `false` |
//! | `s o g` | string; object paths and signatures are checked |
//! | `ay` | string in base64 (standard alphabet, padded); an array of numbers is taken too |
//! | other arrays | array |
//! | dictionary | object; a key that is not text is written as text (`"5"`, `"true"`) |
//! | structure | array |
//! | `v` | its content; from JSON: `true` gives `b`, integers `x` (or `t` above its range), other numbers `d`, text `s`, arrays `av`, objects `a{sv}`. A map can say the type: `{ "$type" = "u", value = "$x" }` |
//! | `h` | never taken, and `null` in results: there is nothing that a caller could do with a file descriptor |

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use zbus::wire::signature::Fields;
use zbus::{Array, Dict, ObjectPath, Signature, Structure, Variant};

use crate::json::{clip, write_list, write_table};
use crate::types::{self, describe};

/// How deep values may nest; D-Bus itself allows 64 containers, and a variant in JSON costs two of them.
const MAX_DEPTH: usize = 30;

/// Up to here every whole number has a floating point number of its own: 2^53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A value on its way into a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// JSON. Where a parameter brought it: the path by which its caller knows it, `request.percent`.
    Json {
        /// The value.
        value: Value,
        /// Where it came from, unless the map says it.
        from: Option<String>,
    },
    /// Several.
    Array(Vec<Given>),
    /// Named ones.
    Object(Vec<(String, Given)>),
    /// A variant's content, of the type that the map says.
    Typed {
        /// One complete type, without file descriptors.
        signature: Signature,
        /// The content.
        value: Box<Given>,
    },
}

impl From<Value> for Given {
    fn from(value: Value) -> Self {
        Self::Json { value, from: None }
    }
}

/// For people: JSON, and types where they are said: `<u 5>`.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { value, .. } => value.fmt(f),
            Self::Typed { signature, value } => write!(f, "<{signature} {value}>"),
            Self::Array(items) => write_list(f, items),
            Self::Object(entries) => write_table(f, entries),
        }
    }
}

/// A value is not what a signature asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: expected {expected}, got {got}")]
pub(crate) struct ConvertError {
    /// Where: `request.percent`, `argument 2`, `argument 2[0]`.
    place: String,
    /// What the signature asks for.
    expected: String,
    /// What was there.
    got: String,
}

/// One argument; `place` names it in errors, unless a parameter brought it.
pub(crate) fn to_dbus(
    value: &Given,
    signature: &Signature,
    place: &str,
) -> Result<Variant<'static>, ConvertError> {
    Place { name: place, value: Node::Given(value), signature, depth: 0 }.convert()
}

/// A value, or a part of it.
#[derive(Clone, Copy)]
enum Node<'a> {
    Json(&'a Value),
    Given(&'a Given),
}

impl<'a> Node<'a> {
    fn items(self) -> Option<Vec<Self>> {
        match self {
            Self::Json(Value::Array(items)) => Some(items.iter().map(Node::Json).collect()),
            Self::Given(Given::Array(items)) => Some(items.iter().map(Node::Given).collect()),
            Self::Json(_) | Self::Given(_) => None,
        }
    }

    fn entries(self) -> Option<Vec<(&'a str, Self)>> {
        match self {
            Self::Json(Value::Object(entries)) => {
                Some(entries.iter().map(|(key, item)| (key.as_str(), Node::Json(item))).collect())
            }
            Self::Given(Given::Object(entries)) => {
                Some(entries.iter().map(|(key, item)| (key.as_str(), Node::Given(item))).collect())
            }
            Self::Json(_) | Self::Given(_) => None,
        }
    }
}

/// A value that is being converted, and where it stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    value: Node<'a>,
    signature: &'a Signature,
    depth: usize,
}

impl<'a> Place<'a> {
    fn convert(mut self) -> Result<Variant<'static>, ConvertError> {
        if self.depth > MAX_DEPTH {
            return Err(self.expected(format!("at most {MAX_DEPTH} levels of nesting")));
        }
        if let Node::Given(Given::Json { value, from }) = self.value {
            self.value = Node::Json(value);
            self.name = from.as_deref().unwrap_or(self.name);
        }
        if let Node::Given(Given::Typed { signature, value }) = self.value {
            let content = || self.inner(self.name, Node::Given(value), signature).convert();
            return if *self.signature == Signature::Variant {
                Ok(Variant::Variant(Box::new(content()?)))
            } else if self.signature == signature {
                content()
            } else {
                Err(self.mismatch())
            };
        }
        let converted = match self.signature {
            Signature::U8 => self.integer().map(Variant::U8),
            Signature::I16 => self.integer().map(Variant::I16),
            Signature::U16 => self.integer().map(Variant::U16),
            Signature::I32 => self.integer().map(Variant::I32),
            Signature::U32 => self.integer().map(Variant::U32),
            Signature::I64 => self.integer().map(Variant::I64),
            Signature::U64 => self.integer().map(Variant::U64),
            Signature::F64 => self.float().map(Variant::F64),
            Signature::Bool => self.json().and_then(Value::as_bool).map(Variant::Bool),
            Signature::Str => self.text().map(|text| Variant::Str(text.to_owned().into())),
            Signature::ObjectPath => self
                .text()
                .and_then(|text| ObjectPath::try_from(text.to_owned()).ok())
                .map(Variant::ObjectPath),
            Signature::Signature => self
                .text()
                .filter(|text| text.len() <= types::MAX_LEN)
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

    fn inner<'b>(self, name: &'b str, value: Node<'b>, signature: &'b Signature) -> Place<'b> {
        Place { name, value, signature, depth: self.depth + 1 }
    }

    fn json(self) -> Option<&'a Value> {
        match self.value {
            Node::Json(value) => Some(value),
            Node::Given(_) => None,
        }
    }

    fn integer<T: TryFrom<i64> + TryFrom<u64>>(self) -> Option<T> {
        let number = self.json()?.as_number()?;
        if let Some(signed) = number.as_i64() {
            return T::try_from(signed).ok();
        }
        if let Some(unsigned) = number.as_u64() {
            return T::try_from(unsigned).ok();
        }
        // JSON Schema takes 5.0 for an integer. Beyond 2^53 nobody knows which integer was meant. Its text is exact, and
        // parsing checks the range.
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= MAX_EXACT)?;
        let text = format!("{float:.0}");
        text.parse::<i64>().ok().and_then(|signed| T::try_from(signed).ok())
    }

    /// A number as floating point, unless it would not be the same number any more.
    fn float(self) -> Option<f64> {
        let number = self.json()?.as_number()?;
        let float = number.as_f64()?;
        (number.is_f64() || format!("{float:.0}") == number.to_string()).then_some(float)
    }

    /// Text that D-Bus can carry: no NUL inside.
    fn text(self) -> Option<&'a str> {
        self.json()?.as_str().filter(|text| !text.contains('\0'))
    }

    /// The content's type follows the value.
    fn variant(self) -> Result<Variant<'static>, ConvertError> {
        let variants = Signature::array(Signature::Variant);
        let named_variants = Signature::dict(Signature::Str, Signature::Variant);
        let signature = match self.value {
            Node::Json(Value::Bool(_)) => &Signature::Bool,
            Node::Json(Value::Number(number)) if number.is_i64() => &Signature::I64,
            Node::Json(Value::Number(number)) if number.is_u64() => &Signature::U64,
            Node::Json(Value::Number(_)) => &Signature::F64,
            Node::Json(Value::String(_)) => &Signature::Str,
            Node::Json(Value::Array(_)) | Node::Given(Given::Array(_)) => &variants,
            Node::Json(Value::Object(_)) | Node::Given(Given::Object(_)) => &named_variants,
            Node::Json(Value::Null) | Node::Given(Given::Json { .. } | Given::Typed { .. }) => {
                return Err(self.mismatch());
            }
        };
        let content = self.inner(self.name, self.value, signature).convert()?;
        Ok(Variant::Variant(Box::new(content)))
    }

    fn array(self, item: &Signature) -> Result<Variant<'static>, ConvertError> {
        let mut array = Array::new(item);
        if let Some(values) = self.value.items() {
            for (index, value) in values.into_iter().enumerate() {
                let name = format!("{}[{index}]", self.name);
                let element = self.inner(&name, value, item).convert()?;
                array.append(element).map_err(|_| self.mismatch())?;
            }
        } else {
            let text = self.text().filter(|_| *item == Signature::U8).ok_or_else(|| self.mismatch())?;
            for byte in BASE64.decode(text).map_err(|_| self.mismatch())? {
                array.append(Variant::U8(byte)).map_err(|_| self.mismatch())?;
            }
        }
        Ok(Variant::Array(array))
    }

    fn dict(self, key: &Signature, value: &Signature) -> Result<Variant<'static>, ConvertError> {
        let entries = self.value.entries().ok_or_else(|| self.mismatch())?;
        let count = entries.len();
        let mut dict = Dict::new(key, value);
        for (text, content) in entries {
            let name = format!("{}[{:?}]", self.name, clip(text, 40));
            let content = self.inner(&name, content, value).convert()?;
            let text = key_value(text, key);
            let place = self.inner(&name, Node::Json(&text), key);
            let key = place.convert().map_err(|mut e| {
                e.place.push_str(" (its key)");
                e
            })?;
            dict.append(key, content).map_err(|_| self.mismatch())?;
        }
        if dict.iter().count() != count {
            // "5" and "5.0" are two keys in JSON and one number.
            return Err(self.expected("keys that differ".into()));
        }
        Ok(Variant::Dict(dict))
    }

    fn structure(self, fields: &Fields) -> Result<Variant<'static>, ConvertError> {
        let values = self.value.items().filter(|values| values.len() == fields.len());
        let values = values.ok_or_else(|| self.mismatch())?;
        let mut structure = Structure::builder();
        for (index, (value, field)) in values.into_iter().zip(fields.iter()).enumerate() {
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

fn got(value: Node<'_>) -> String {
    match value {
        Node::Json(value) | Node::Given(Given::Json { value, .. }) => match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::String(text) => format!("{:?}", clip(text, 40)),
            Value::Array(values) => format!("an array of {}", values.len()),
            Value::Object(_) => "an object".into(),
        },
        Node::Given(Given::Array(values)) => format!("an array of {}", values.len()),
        Node::Given(Given::Object(_)) => "an object".into(),
        Node::Given(Given::Typed { signature, .. }) => {
            format!("a value of the type {:?}", clip(&signature.to_string(), 60))
        }
    }
}

#[cfg(test)]
mod tests;
