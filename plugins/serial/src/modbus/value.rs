//! What registers hold: numbers in one to four of them, and texts. Knows no request and no line.
//!
//! A number is read as `raw * scale + offset`, rounded to the decimals that `scale` and `offset` have, so that 1234 with a
//! scale of 0.01 is 12.34 and not nearly so. Written, it is the nearest raw number; one that does not fit is an error,
//! never cut off. Whole numbers without scale and offset are exact; with them they go through an `f64`, which is exact
//! up to 2^53.

use serde_json::{Number as Json, Value, json};

/// The most decimals that a scaled number is rounded to.
const MOST_DECIMALS: usize = 15;

/// How a number lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Kind {
    /// Their names in a map.
    pub(crate) const NAMES: [(&'static str, Self); 8] = [
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// How many registers one takes.
    pub(crate) const fn registers(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }

    /// The least and the greatest; `None` where it is no whole number.
    fn bounds(self) -> Option<(i128, i128)> {
        match self {
            Self::U16 => Some((0, u16::MAX.into())),
            Self::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::U32 => Some((0, u32::MAX.into())),
            Self::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::U64 => Some((0, u64::MAX.into())),
            Self::I64 => Some((i64::MIN.into(), i64::MAX.into())),
            Self::F32 | Self::F64 => None,
        }
    }
}

/// In which order the bytes of a number come. The field writes it with the letters of a number of four bytes, A being
/// the most significant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Order {
    /// The register with the least significant bytes comes first.
    pub(crate) words_reversed: bool,
    /// In each register the less significant byte comes first.
    pub(crate) bytes_swapped: bool,
}

impl Order {
    /// Their names for numbers of two or four registers.
    pub(crate) const LONG: [&'static str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];
    /// Their names for what lies in single registers: 16-bit numbers and texts.
    pub(crate) const SHORT: [&'static str; 2] = ["AB", "BA"];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (words_reversed, bytes_swapped) = match name {
            "AB" | "ABCD" => (false, false),
            "CDAB" => (true, false),
            "BA" | "BADC" => (false, true),
            "DCBA" => (true, true),
            _ => return None,
        };
        Some(Self { words_reversed, bytes_swapped })
    }

    /// Its name for numbers of more than one register.
    pub(crate) const fn name(self) -> &'static str {
        match (self.words_reversed, self.bytes_swapped) {
            (false, false) => "ABCD",
            (true, false) => "CDAB",
            (false, true) => "BADC",
            (true, true) => "DCBA",
        }
    }

    /// Puts big-endian registers into this order, or back: it is its own inverse.
    fn apply(self, words: &mut [u16]) {
        if self.words_reversed {
            words.reverse();
        }
        if self.bytes_swapped {
            for word in words.iter_mut() {
                *word = word.swap_bytes();
            }
        }
    }
}

/// A number in registers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    pub(crate) kind: Kind,
    pub(crate) order: Order,
    pub(crate) scale: f64,
    pub(crate) offset: f64,
}

/// A value does not go into its registers.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("{0} is not a number")]
    NotNumber(String),
    #[error("{value} is not a whole number, which a {kind} without `scale` holds")]
    NotWhole { value: String, kind: &'static str },
    #[error("{value} is out of range; {holds}")]
    Range { value: String, holds: String },
    #[error("{0} is not true or false")]
    NotBool(String),
    #[error("{0} is not a text")]
    NotText(String),
    #[error("the text has {len} characters, more than `length` = {length}")]
    TooLong { len: usize, length: u16 },
    #[error("the text holds a character that is not printable ASCII")]
    NotAscii,
    #[error("{given} is not a list of {count} values")]
    Count { given: String, count: u16 },
}

/// A value of a caller, short enough for a message.
pub(crate) fn quote(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    let mut short: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push_str("...");
    }
    short
}

impl Number {
    fn plain(&self) -> bool {
        // Exactly what was written or left out, not the result of an arithmetic.
        self.scale.to_bits() == 1.0_f64.to_bits() && self.offset.abs().to_bits() == 0.0_f64.to_bits()
    }

    /// The registers of `value`.
    pub(crate) fn encode(&self, value: &Value) -> Result<Vec<u16>, ValueError> {
        let Value::Number(number) = value else { return Err(ValueError::NotNumber(quote(value))) };
        let range = || ValueError::Range { value: number.to_string(), holds: self.holds() };
        let float = number.as_f64().filter(|float| float.is_finite()).ok_or_else(range)?;
        let raw = (float - self.offset) / self.scale;
        let bytes = match self.kind {
            Kind::F64 => {
                if raw.is_finite() {
                    raw.to_be_bytes().to_vec()
                } else {
                    return Err(range());
                }
            }
            Kind::F32 => {
                // By way of the text: an `as` would also do, but this one is rounded once and says so.
                let single = raw.to_string().parse::<f32>().ok().filter(|single| single.is_finite());
                single.ok_or_else(range)?.to_be_bytes().to_vec()
            }
            Kind::U16 | Kind::I16 | Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 => {
                let exact = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
                let whole = match exact {
                    Some(exact) if self.plain() => exact,
                    None if self.plain() && float.fract() != 0.0 => {
                        let kind = self.kind.name();
                        return Err(ValueError::NotWhole { value: number.to_string(), kind });
                    }
                    Some(_) | None => whole(raw.round()).ok_or_else(range)?,
                };
                self.integer(whole).ok_or_else(range)?
            }
        };
        let mut words: Vec<u16> = bytes.chunks_exact(2).map(word).collect();
        self.order.apply(&mut words);
        Ok(words)
    }

    /// The bytes of a whole number, if it fits.
    fn integer(&self, whole: i128) -> Option<Vec<u8>> {
        Some(match self.kind {
            Kind::U16 => u16::try_from(whole).ok()?.to_be_bytes().to_vec(),
            Kind::I16 => i16::try_from(whole).ok()?.to_be_bytes().to_vec(),
            Kind::U32 => u32::try_from(whole).ok()?.to_be_bytes().to_vec(),
            Kind::I32 => i32::try_from(whole).ok()?.to_be_bytes().to_vec(),
            Kind::U64 => u64::try_from(whole).ok()?.to_be_bytes().to_vec(),
            Kind::I64 => i64::try_from(whole).ok()?.to_be_bytes().to_vec(),
            Kind::F32 | Kind::F64 => return None,
        })
    }

    /// The value of as many registers as the kind has; `null` for a float that is not a number, or infinite, which JSON
    /// cannot say.
    pub(crate) fn decode(&self, words: &[u16]) -> Value {
        let mut words = words.to_vec();
        self.order.apply(&mut words);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let bytes = bytes.as_slice();
        let whole = match self.kind {
            Kind::U16 => bytes.try_into().ok().map(|bytes| u16::from_be_bytes(bytes).into()),
            Kind::I16 => bytes.try_into().ok().map(|bytes| i16::from_be_bytes(bytes).into()),
            Kind::U32 => bytes.try_into().ok().map(|bytes| u32::from_be_bytes(bytes).into()),
            Kind::I32 => bytes.try_into().ok().map(|bytes| i32::from_be_bytes(bytes).into()),
            Kind::U64 => bytes.try_into().ok().map(|bytes| u64::from_be_bytes(bytes).into()),
            Kind::I64 => bytes.try_into().ok().map(|bytes| i64::from_be_bytes(bytes).into()),
            Kind::F32 => {
                // The shortest decimal that is this `f32`: 0.1, not 0.10000000149.
                let float = bytes.try_into().ok().map(|bytes| f32::from_be_bytes(bytes).to_string());
                return self.float(float.and_then(|text| text.parse().ok()));
            }
            Kind::F64 => return self.float(bytes.try_into().ok().map(f64::from_be_bytes)),
        };
        whole.map_or(Value::Null, |whole| self.value(whole))
    }

    fn float(&self, raw: Option<f64>) -> Value {
        let value = if self.plain() { raw } else { raw.map(|raw| raw * self.scale + self.offset) };
        value.and_then(Json::from_f64).map_or(Value::Null, Value::Number)
    }

    /// What a raw whole number means.
    fn value(&self, raw: i128) -> Value {
        if self.plain() {
            return i64::try_from(raw)
                .map(Value::from)
                .or(u64::try_from(raw).map(Value::from))
                .unwrap_or_default();
        }
        let value = nearest(raw) * self.scale + self.offset;
        // No minus before nothing.
        let value = if value == 0.0 { 0.0 } else { value };
        let decimals = decimals(self.scale).max(decimals(self.offset));
        if decimals > MOST_DECIMALS {
            return Json::from_f64(value).map_or(Value::Null, Value::Number);
        }
        format!("{value:.decimals$}").parse::<Json>().map_or(Value::Null, Value::Number)
    }

    /// What a parameter must be to be sent as this.
    pub(crate) fn schema(&self) -> Value {
        match self.kind.bounds() {
            Some((least, greatest)) => {
                let (a, b) = (self.value(least), self.value(greatest));
                let (minimum, maximum) = if self.scale < 0.0 { (b, a) } else { (a, b) };
                let name = if self.plain() { "integer" } else { "number" };
                json!({"type": name, "minimum": minimum, "maximum": maximum})
            }
            None if self.kind == Kind::F32 && self.plain() => {
                json!({"type": "number", "minimum": f64::from(f32::MIN), "maximum": f64::from(f32::MAX)})
            }
            None => json!({"type": "number"}),
        }
    }

    fn holds(&self) -> String {
        let schema = self.schema();
        let bound = |name| schema.get(name).map(quote);
        let scaled = if self.plain() { "" } else { " with this `scale` and `offset`" };
        match (bound("minimum"), bound("maximum")) {
            (Some(minimum), Some(maximum)) => {
                format!("a {}{scaled} holds {minimum} to {maximum}", self.kind.name())
            }
            _ => format!("it does not go into a {}{scaled}", self.kind.name()),
        }
    }
}

/// Two bytes as they go over the wire.
fn word(bytes: &[u8]) -> u16 {
    bytes.try_into().map_or(0, u16::from_be_bytes)
}

/// The number that a whole `f64` is.
fn whole(float: f64) -> Option<i128> {
    format!("{float:.0}").parse().ok()
}

/// The `f64` nearest to a whole number.
fn nearest(whole: i128) -> f64 {
    whole.to_string().parse().unwrap_or(f64::NAN)
}

/// How many decimals a number is written with.
fn decimals(float: f64) -> usize {
    float.to_string().split_once('.').map_or(0, |(_, decimals)| decimals.len())
}

/// A text in registers, two characters in each, filled up with NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    /// The most characters.
    pub(crate) length: u16,
    /// In each register the second character comes first.
    pub(crate) swapped: bool,
}

impl Text {
    pub(crate) const fn registers(self) -> u16 {
        self.length.div_ceil(2)
    }

    pub(crate) fn encode(self, value: &Value) -> Result<Vec<u16>, ValueError> {
        let Value::String(text) = value else { return Err(ValueError::NotText(quote(value))) };
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(ValueError::NotAscii);
        }
        if text.len() > self.length.into() {
            return Err(ValueError::TooLong { len: text.len(), length: self.length });
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(usize::from(self.registers()) * 2, 0);
        let words = bytes.chunks_exact(2).map(word);
        Ok(words.map(|word| if self.swapped { word.swap_bytes() } else { word }).collect())
    }

    /// What stands before the first NUL, without spaces at its end.
    pub(crate) fn decode(self, words: &[u16]) -> Value {
        let words = words.iter().map(|word| if self.swapped { word.swap_bytes() } else { *word });
        let bytes = words.flat_map(u16::to_be_bytes).take(self.length.into()).take_while(|byte| *byte != 0);
        let text: String =
            bytes
                .map(|byte| {
                    if (b' '..=b'~').contains(&byte) { char::from(byte) } else { char::REPLACEMENT_CHARACTER }
                })
                .collect();
        text.trim_end_matches(' ').into()
    }

    pub(crate) fn schema(self) -> Value {
        json!({"type": "string", "maxLength": self.length, "pattern": "^[ -~]*$"})
    }
}

#[cfg(test)]
mod tests;
