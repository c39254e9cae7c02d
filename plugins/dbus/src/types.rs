//! D-Bus signatures: read out of a map, told in words, and as a JSON Schema. Pure.

use serde_json::{Value, json};
use zbus::Signature;

use crate::json::clip;

/// The longest signature, in bytes: what D-Bus allows, less two parentheses, which zbus may add. It would panic when it
/// writes a longer one.
pub(crate) const MAX_LEN: usize = 253;

/// A signature in text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    /// Not a signature at all.
    #[error(
        "{0:?} is not a D-Bus signature, such as \"us\" (a u32 and a text), \"ay\" (bytes) or \"a{{sv}}\""
    )]
    Malformed(String),
    /// It holds `h`.
    #[error("{0:?} holds a file descriptor (h), which cannot be sent from JSON")]
    FileDescriptor(String),
    /// Longer than D-Bus allows.
    #[error("it is longer than {MAX_LEN} characters, which cannot be sent")]
    TooLong,
    /// Several types, or none, where one belongs.
    #[error("{0:?} is not one complete D-Bus type, such as \"u\", \"ay\" or \"a{{sv}}\"")]
    NotOne(String),
}

/// Reads the signature of a method's arguments: `"uays"` are three, `"(uu)"` is one.
pub(crate) fn parse_signature(text: &str) -> Result<Vec<Signature>, SignatureError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > MAX_LEN {
        return Err(SignatureError::TooLong);
    }
    // In parentheses, so that one structure and the same types side by side stay apart.
    let parsed = Signature::try_from(format!("({text})").as_str());
    let Ok(Signature::Structure(fields)) = parsed else {
        return Err(SignatureError::Malformed(clip(text, 100)));
    };
    if fields.iter().any(holds_fd) {
        return Err(SignatureError::FileDescriptor(clip(text, 100)));
    }
    Ok(fields.iter().cloned().collect())
}

/// Reads the signature of one value.
pub(crate) fn parse_type(text: &str) -> Result<Signature, SignatureError> {
    let mut types = parse_signature(text)?;
    match (types.pop(), types.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(SignatureError::NotOne(clip(text, 100))),
    }
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

/// The text of several signatures side by side: `"us"`.
pub(crate) fn joined(types: &[Signature]) -> String {
    types.iter().map(ToString::to_string).collect()
}

/// What a signature asks for, in words.
pub(crate) fn describe(signature: &Signature) -> String {
    let words = match signature {
        Signature::U8 => "an integer from 0 to 255",
        Signature::I16 => "an integer from -32768 to 32767",
        Signature::U16 => "an integer from 0 to 65535",
        Signature::I32 => "an integer from -2147483648 to 2147483647",
        Signature::U32 => "an integer from 0 to 4294967295",
        Signature::I64 => "an integer from -9223372036854775808 to 9223372036854775807",
        Signature::U64 => "an integer from 0 to 18446744073709551615",
        Signature::F64 => "a number that 64 bits of floating point hold exactly",
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

/// What a signature asks for, as a JSON Schema: whatever it takes can be converted, but for texts of a form of their own
/// (base64, object paths, signatures), NUL, and numbers that lose digits.
pub(crate) fn schema(signature: &Signature) -> Value {
    match signature {
        Signature::U8 => integer(u8::MIN, u8::MAX),
        Signature::I16 => integer(i16::MIN, i16::MAX),
        Signature::U16 => integer(u16::MIN, u16::MAX),
        Signature::I32 => integer(i32::MIN, i32::MAX),
        Signature::U32 => integer(u32::MIN, u32::MAX),
        Signature::I64 => integer(i64::MIN, i64::MAX),
        Signature::U64 => integer(u64::MIN, u64::MAX),
        Signature::F64 => json!({"type": "number"}),
        Signature::Bool => json!({"type": "boolean"}),
        Signature::Str | Signature::ObjectPath | Signature::Signature => json!({"type": "string"}),
        Signature::Array(item) if **item == Signature::U8 => json!({"type": ["string", "array"]}),
        Signature::Array(item) => json!({"type": "array", "items": schema(item)}),
        Signature::Dict { value, .. } => json!({"type": "object", "additionalProperties": schema(value)}),
        Signature::Structure(fields) => json!({
            "type": "array",
            "prefixItems": fields.iter().map(schema).collect::<Vec<_>>(),
            "minItems": fields.len(),
            "maxItems": fields.len(),
        }),
        Signature::Variant | Signature::Unit | Signature::Fd => json!({}),
    }
}

fn integer<T: Into<Value>>(minimum: T, maximum: T) -> Value {
    json!({"type": "integer", "minimum": minimum.into(), "maximum": maximum.into()})
}
