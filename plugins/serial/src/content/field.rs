//! The types of fields in hex frames: a JSON value to bytes and back. Knows no frames.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value, json};

use super::value::{Convert, ValueKind};
use crate::framing::kinds::LONGEST_FRAME;
use crate::keys::{kind, suggest};

/// The most bytes of a BCD field: what a whole number of JSON can hold.
const LONGEST_BCD: usize = 9;

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// A whole number of so many bytes.
    Int { len: usize, signed: bool, little: bool },
    /// IEEE 754.
    Float { len: usize, little: bool },
    /// Packed BCD, two digits a byte.
    Bcd { len: usize, little: bool },
    /// ASCII, filled up with spaces.
    Text(usize),
    /// Base64 in JSON; without a length as many as there are.
    Bytes(Option<usize>),
}

const NAMES: &[&str] = &[
    "u8", "i8", "u16be", "u16le", "i16be", "i16le", "u24be", "u24le", "i24be", "i24le", "u32be", "u32le",
    "i32be", "i32le", "u64be", "u64le", "i64be", "i64le", "f32be", "f32le", "f64be", "f64le", "bcd2",
    "bcd2le", "text8", "bytes", "bytes4",
];

impl Field {
    /// Reads a type such as `u16be`, `bcd2`, `text8`, `bytes`.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let unknown = || format!("{name:?} is no type of a field; {}", suggest(name, NAMES));
        let digits = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
        let (base, rest) = name.split_at_checked(digits).unwrap_or((name, ""));
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, order) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let little = match order {
            "" | "be" => false,
            "le" => true,
            _ => return Err(unknown()),
        };
        let number =
            if number.is_empty() { None } else { Some(number.parse::<usize>().map_err(|_| unknown())?) };
        let sized = |longest: usize| match number {
            Some(len) if (1..=longest).contains(&len) => Ok(len),
            _ => Err(format!(
                "{name:?} must say how many bytes, 1 to {longest}, such as `{base}{}`",
                2.min(longest)
            )),
        };
        match (base, number, order) {
            ("u" | "i", Some(8), "") => Ok(Self::Int { len: 1, signed: base == "i", little: false }),
            ("u" | "i", Some(16 | 24 | 32 | 64), "") | ("f", Some(32 | 64), "") => {
                Err(format!("{name:?} has no byte order; write `{name}be` (high byte first) or `{name}le`"))
            }
            ("u" | "i", Some(bits @ (16 | 24 | 32 | 64)), _) => {
                Ok(Self::Int { len: bits / 8, signed: base == "i", little })
            }
            ("f", Some(bits @ (32 | 64)), _) => Ok(Self::Float { len: bits / 8, little }),
            ("bcd", _, "" | "le") => Ok(Self::Bcd { len: sized(LONGEST_BCD)?, little }),
            ("text", _, "") => sized(LONGEST_FRAME).map(Self::Text),
            ("bytes", None, "") => Ok(Self::Bytes(None)),
            ("bytes", Some(_), "") => sized(LONGEST_FRAME).map(|len| Self::Bytes(Some(len))),
            _ => Err(unknown()),
        }
    }

    /// How many bytes it takes; `None`: as many as there are.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Int { len, .. } | Self::Float { len, .. } | Self::Bcd { len, .. } | Self::Text(len) => {
                Some(*len)
            }
            Self::Bytes(len) => *len,
        }
    }

    /// Whether `values` may say this of it.
    pub(crate) fn check_convert(&self, convert: Convert) -> Result<(), String> {
        let number = match self {
            Self::Int { .. } | Self::Float { .. } | Self::Bcd { .. } => true,
            Self::Text(_) | Self::Bytes(_) => false,
        };
        match convert.kind() {
            _ if convert.is_scaled() && !number => {
                Err("only fields that are numbers have `scale` and `offset`".into())
            }
            None => Ok(()),
            Some(ValueKind::Boolean | ValueKind::Number | ValueKind::Integer) if number => Ok(()),
            Some(ValueKind::Text) if matches!(self, Self::Text(_)) => Ok(()),
            Some(_) => Err("the field's own type says what it is; leave out `type`".into()),
        }
    }

    /// The least and greatest whole number.
    fn ends(&self) -> (i128, i128) {
        match self {
            Self::Int { len, signed, .. } => {
                let span = 1_i128 << (8 * len);
                if *signed { (-span / 2, span / 2 - 1) } else { (0, span - 1) }
            }
            Self::Bcd { len, .. } => {
                let digits = u32::try_from(2 * len).unwrap_or_default();
                (0, 10_i128.pow(digits) - 1)
            }
            Self::Float { .. } | Self::Text(_) | Self::Bytes(_) => (0, 0),
        }
    }

    /// What its type says of a parameter that is sent in it, as a JSON Schema.
    pub(crate) fn schema(&self, convert: Convert) -> Value {
        match self {
            Self::Int { .. } | Self::Bcd { .. } => {
                let (least, most) = self.ends();
                convert.schema(&json_whole(least), &json_whole(most))
            }
            Self::Float { .. } if convert.kind() == Some(ValueKind::Boolean) => json!({"type": "boolean"}),
            Self::Float { .. } => json!({"type": "number"}),
            Self::Text(len) => json!({"type": "string", "maxLength": len}),
            Self::Bytes(Some(len)) => {
                json!({"type": "string", "minLength": len.div_ceil(3) * 4, "maxLength": len.div_ceil(3) * 4})
            }
            Self::Bytes(None) => json!({"type": "string"}),
        }
    }

    /// The bytes of a JSON value.
    pub(crate) fn encode(&self, value: &Value, convert: Convert) -> Result<Vec<u8>, String> {
        match self {
            Self::Int { len, little, .. } => {
                let whole = self.whole(value, convert)?;
                let bytes = whole.to_be_bytes();
                let mut bytes = bytes.get(bytes.len() - len..).unwrap_or_default().to_vec();
                if *little {
                    bytes.reverse();
                }
                Ok(bytes)
            }
            Self::Bcd { len, little } => {
                let digits = format!("{:0width$}", self.whole(value, convert)?, width = 2 * len);
                let pair = |pair: &[u8]| pair.iter().fold(0_u8, |byte, digit| (byte << 4) | (digit - b'0'));
                let mut bytes: Vec<u8> = digits.as_bytes().chunks(2).map(pair).collect();
                if *little {
                    bytes.reverse();
                }
                Ok(bytes)
            }
            Self::Float { len, little } => {
                let number = number(value, convert)?;
                let mut bytes = if *len == 4 {
                    // Through its digits: rounded to nearest, and what is too great is seen.
                    let short: f32 = number.to_string().parse().unwrap_or(f32::INFINITY);
                    if !short.is_finite() {
                        return Err(format!("{number} does not fit {self}"));
                    }
                    short.to_be_bytes().to_vec()
                } else {
                    number.to_be_bytes().to_vec()
                };
                if *little {
                    bytes.reverse();
                }
                Ok(bytes)
            }
            Self::Text(len) => {
                let Some(text) = value.as_str() else { return Err(format!("{} is no text", kind(value))) };
                if !text.chars().all(|c| (' '..='~').contains(&c)) {
                    return Err("holds characters that are not printable ASCII".into());
                }
                if text.len() > *len {
                    return Err(format!("has {} bytes, and the field has {len}", text.len()));
                }
                let mut bytes = text.as_bytes().to_vec();
                bytes.resize(*len, b' ');
                Ok(bytes)
            }
            Self::Bytes(len) => {
                let Some(text) = value.as_str() else {
                    return Err(format!("{} is no base64 text", kind(value)));
                };
                let bytes = STANDARD.decode(text).map_err(|_| "is not base64".to_owned())?;
                match len {
                    Some(len) if bytes.len() != *len => {
                        Err(format!("is base64 of {} bytes, and the field has {len}", bytes.len()))
                    }
                    Some(_) | None => Ok(bytes),
                }
            }
        }
    }

    /// The JSON value of bytes, of which there are [`Field::len`].
    pub(crate) fn decode(&self, bytes: &[u8], convert: Convert) -> Result<Value, String> {
        let mut ordered = bytes.to_vec();
        match self {
            Self::Int { little: true, .. }
            | Self::Float { little: true, .. }
            | Self::Bcd { little: true, .. } => {
                ordered.reverse();
            }
            Self::Int { .. } | Self::Float { .. } | Self::Bcd { .. } | Self::Text(_) | Self::Bytes(_) => {}
        }
        let raw = match self {
            Self::Int { signed, .. } => {
                let whole = ordered.iter().fold(0_i128, |whole, byte| (whole << 8) | i128::from(*byte));
                let (_, most) = self.ends();
                let whole = if *signed && whole > most { whole - 2 * (most + 1) } else { whole };
                json_whole(whole)
            }
            Self::Bcd { .. } => {
                let digit = |whole: Option<u64>, digit: u8| {
                    whole?.checked_mul(10)?.checked_add(u64::from(digit)).filter(|_| digit < 10)
                };
                let digits = ordered.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                let whole = digits.fold(Some(0), digit);
                whole.map(Value::from).ok_or_else(|| format!("{} is no BCD number", hex(bytes)))?
            }
            Self::Float { .. } => {
                let number = match ordered.as_slice() {
                    [a, b, c, d] => f32::from_be_bytes([*a, *b, *c, *d]).to_string().parse().ok(),
                    long => long.try_into().ok().map(f64::from_be_bytes),
                };
                let number = number.and_then(Number::from_f64).map(Value::Number);
                number.ok_or_else(|| format!("{} is no finite number", hex(bytes)))?
            }
            Self::Text(_) => {
                let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                let text = text.trim_end_matches(['\0', ' ']);
                if !text.chars().all(|c| (' '..='~').contains(&c)) {
                    return Err(format!("{} is no printable ASCII", hex(bytes)));
                }
                text.into()
            }
            Self::Bytes(_) => STANDARD.encode(bytes).into(),
        };
        convert.of_raw(raw)
    }

    /// The raw whole number for a JSON value, rounded where it is scaled, and within the field.
    fn whole(&self, value: &Value, convert: Convert) -> Result<i128, String> {
        let exact = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        let whole = match exact {
            Some(whole) if !convert.is_scaled() && convert.kind() != Some(ValueKind::Boolean) => whole,
            _ => {
                let number = number(value, convert)?;
                if number.fract() != 0.0 && !convert.is_scaled() {
                    return Err(format!("{number} is no whole number"));
                }
                let rounded = format!("{:.0}", number.round());
                rounded.parse().map_err(|_| format!("{value} does not fit {self}"))?
            }
        };
        let (least, most) = self.ends();
        if (least..=most).contains(&whole) {
            return Ok(whole);
        }
        let schema = convert.schema(&json_whole(least), &json_whole(most));
        if let (true, Some(from), Some(to)) =
            (convert.is_scaled(), schema.get("minimum"), schema.get("maximum"))
        {
            return Err(format!("{value} does not fit {self}: {from} to {to}"));
        }
        Err(format!("{value} does not fit {self}: {least} to {most}"))
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let order = |little: &bool| if *little { "le" } else { "be" };
        match self {
            Self::Int { len: 1, signed, .. } => f.write_str(if *signed { "i8" } else { "u8" }),
            Self::Int { len, signed, little } => {
                write!(f, "{}{}{}", if *signed { "i" } else { "u" }, 8 * len, order(little))
            }
            Self::Float { len, little } => write!(f, "f{}{}", 8 * len, order(little)),
            Self::Bcd { len, little } => write!(f, "bcd{len}{}", if *little { "le" } else { "" }),
            Self::Text(len) => write!(f, "text{len}"),
            Self::Bytes(Some(len)) => write!(f, "bytes{len}"),
            Self::Bytes(None) => f.write_str("bytes"),
        }
    }
}

fn number(value: &Value, convert: Convert) -> Result<f64, String> {
    if convert.kind() == Some(ValueKind::Boolean) {
        let on = value.as_bool().ok_or_else(|| format!("{} is neither true nor false", kind(value)))?;
        return Ok(if on { 1.0 } else { 0.0 });
    }
    value.as_f64().map(|number| convert.to_raw(number)).ok_or_else(|| format!("{} is no number", kind(value)))
}

fn json_whole(whole: i128) -> Value {
    i64::try_from(whole)
        .map(Value::from)
        .or_else(|_| u64::try_from(whole).map(Value::from))
        .unwrap_or_default()
}

/// Bytes as people read them: `A0 01`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
