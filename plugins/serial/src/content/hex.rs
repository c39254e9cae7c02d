//! Frames of bytes: `"A0 $ch:u8 $on:u8"` to send, `"06 $state:u8 ?? .."` to match. Knows no framing.

use nowd_plugin::Call;
use nowd_plugin::template::param;
use serde_json::{Map, Value};

use super::field::{Field, hex};
use super::value::Values;
use crate::framing::kinds::LONGEST_FRAME;

/// A part of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Byte(u8),
    /// `??`
    Any,
    /// `$name:type`
    Field {
        name: String,
        field: Field,
    },
    /// `..`
    Rest,
}

/// A frame to send.
#[derive(Debug, Clone)]
pub(crate) struct HexTemplate(Vec<Part>);

/// A frame to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HexPattern(Vec<Part>);

fn parse(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for token in text.split_whitespace() {
        if parts.len() >= LONGEST_FRAME {
            return Err(format!("has more than {LONGEST_FRAME} parts"));
        }
        if token.contains(char::is_control) {
            return Err("holds a control character".into());
        }
        if let Some(field) = token.strip_prefix('$') {
            let Some((name, kind)) = field.split_once(':') else {
                return Err(format!("`{token}` has no type; write `{token}:u8` or another one"));
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(format!(
                    "`{token}` has no name; write letters, digits and `_`, such as `$ch:u8`"
                ));
            }
            if parts.iter().any(|part| matches!(part, Part::Field { name: other, .. } if other == name)) {
                return Err(format!("`${name}` stands twice"));
            }
            parts.push(Part::Field { name: name.into(), field: Field::parse(kind)? });
        } else if token == "??" {
            parts.push(Part::Any);
        } else if token == ".." {
            parts.push(Part::Rest);
        } else {
            parts.extend(bytes(token)?.into_iter().map(Part::Byte));
        }
    }
    if parts.is_empty() {
        return Err("is empty; write bytes as hex digits, such as \"A0 01\"".into());
    }
    let open = |part: &Part| matches!(part, Part::Rest | Part::Field { field: Field::Bytes(None), .. });
    if parts.iter().rev().skip(1).any(open) {
        return Err(
            "`..` and `bytes` without a length take all that follows; only the last can be one".into()
        );
    }
    Ok(parts)
}

fn bytes(token: &str) -> Result<Vec<u8>, String> {
    if let Some(digits) = token.strip_prefix("0x") {
        return Err(format!("`{token}` is no hex byte; write `{digits}` without 0x"));
    }
    if let Some(odd) = token.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(format!(
            "{:?} in `{}` is no hex digit; a byte is two, such as A0",
            odd,
            token.escape_debug()
        ));
    }
    let digits: Vec<u8> =
        token.chars().filter_map(|c| c.to_digit(16)).filter_map(|d| u8::try_from(d).ok()).collect();
    let byte = |pair: &[u8]| match pair {
        [high, low] => Ok((high << 4) | low),
        _ => Err(format!("`{token}` is no whole number of bytes; a byte is two digits, such as A0")),
    };
    digits.chunks(2).map(byte).collect()
}

impl HexTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = parse(text)?;
        if parts.iter().any(|part| matches!(part, Part::Any | Part::Rest)) {
            return Err(
                "`??` and `..` stand for bytes that a device sends; what is sent must be known".into()
            );
        }
        Ok(Self(parts))
    }

    /// The fields, in order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, Field)> {
        fields(&self.0)
    }

    /// How many bytes it makes; `None` if that depends on a parameter.
    pub(crate) fn len(&self) -> Option<usize> {
        self.0.iter().map(part_len).sum()
    }

    /// Runs of bytes that stand in the map.
    pub(crate) fn literals(&self) -> Vec<Vec<u8>> {
        literals(&self.0)
    }

    /// The bytes for a call; an error names the parameter.
    pub(crate) fn render(&self, call: &Call, values: &Values) -> Result<Vec<u8>, (String, String)> {
        let mut bytes = Vec::new();
        for part in &self.0 {
            match part {
                Part::Byte(byte) => bytes.push(*byte),
                Part::Field { name, field } => {
                    let value = param(call, name).unwrap_or(&Value::Null);
                    let field = field.encode(value, values.of(name)).map_err(|e| (name.clone(), e))?;
                    bytes.extend(field);
                }
                Part::Any | Part::Rest => {}
            }
        }
        Ok(bytes)
    }
}

impl HexPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse(text).map(Self)
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, Field)> {
        fields(&self.0)
    }

    /// Runs of bytes that stand in the map.
    pub(crate) fn literals(&self) -> Vec<Vec<u8>> {
        literals(&self.0)
    }

    /// The least number of bytes, and whether more may follow.
    pub(crate) fn len(&self) -> (usize, bool) {
        let least = self.0.iter().filter_map(part_len).sum();
        (least, self.0.last().is_some_and(|part| part_len(part).is_none()))
    }

    /// The fields of a frame that it matches; `None`: it does not. A field that cannot be read is an error.
    pub(crate) fn captures(
        &self,
        frame: &[u8],
        values: &Values,
    ) -> Option<Result<Map<String, Value>, String>> {
        let mut rest = frame;
        let mut found: Vec<(&str, Field, &[u8])> = Vec::new();
        for part in &self.0 {
            let (head, tail) = rest.split_at_checked(part_len(part).unwrap_or(rest.len()))?;
            match part {
                Part::Byte(byte) if *head != [*byte] => return None,
                Part::Byte(_) | Part::Any | Part::Rest => {}
                Part::Field { name, field } => found.push((name, *field, head)),
            }
            rest = tail;
        }
        if !rest.is_empty() {
            return None;
        }
        let read = |(name, field, bytes): (&str, Field, &[u8])| {
            let value = field.decode(bytes, values.of(name)).map_err(|e| format!("`{name}`: {e}"))?;
            Ok((name.to_owned(), value))
        };
        Some(found.into_iter().map(read).collect())
    }
}

fn fields(parts: &[Part]) -> impl Iterator<Item = (&str, Field)> {
    parts.iter().filter_map(|part| match part {
        Part::Field { name, field } => Some((name.as_str(), *field)),
        Part::Byte(_) | Part::Any | Part::Rest => None,
    })
}

fn literals(parts: &[Part]) -> Vec<Vec<u8>> {
    let mut runs = vec![Vec::new()];
    for part in parts {
        match (part, runs.last_mut()) {
            (Part::Byte(byte), Some(run)) => run.push(*byte),
            (Part::Byte(_) | Part::Any | Part::Rest | Part::Field { .. }, _) => runs.push(Vec::new()),
        }
    }
    runs
}

fn part_len(part: &Part) -> Option<usize> {
    match part {
        Part::Byte(_) | Part::Any => Some(1),
        Part::Field { field, .. } => field.len(),
        Part::Rest => None,
    }
}

fn write_parts(parts: &[Part], f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(" ")?;
        }
        match part {
            Part::Byte(byte) => f.write_str(&hex(&[*byte]))?,
            Part::Any => f.write_str("??")?,
            Part::Rest => f.write_str("..")?,
            Part::Field { name, field } => write!(f, "${name}:{field}")?,
        }
    }
    Ok(())
}

impl std::fmt::Display for HexTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_parts(&self.0, f)
    }
}

impl std::fmt::Display for HexPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_parts(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nowd_plugin::Deadline;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn render(text: &str, params: Value) -> Result<Vec<u8>, String> {
        let call = Call::new(Uuid::nil(), "m", params, Deadline::after(Duration::from_secs(1)));
        HexTemplate::parse(text)
            .unwrap()
            .render(&call, &Values::default())
            .map_err(|(name, e)| format!("{name}: {e}"))
    }

    #[test]
    fn renders() {
        assert_eq!(render("A0 $ch:u8 $on:u8", json!({"ch": 1, "on": 0})), Ok(vec![0xa0, 1, 0]));
        assert_eq!(render("a0b1  $x:u16le", json!({"x": 258})), Ok(vec![0xa0, 0xb1, 2, 1]));
        assert_eq!(render("01 $d:bytes", json!({"d": "AAE="})), Ok(vec![1, 0, 1]));
        assert_eq!(render("$ch:u8", json!({"ch": 256})), Err("ch: 256 does not fit u8: 0 to 255".into()));
        assert_eq!(render("$ch:u8", Value::Null), Err("ch: nothing is no number".into()));
        assert_eq!(HexTemplate::parse("a0 $x:u24be").unwrap().to_string(), "A0 $x:u24be");
    }

    #[test]
    fn matches() {
        let captures = |pattern: &str, frame: &[u8]| {
            HexPattern::parse(pattern).unwrap().captures(frame, &Values::default())
        };
        assert_eq!(
            captures("06 $state:u8 $rpm:u16le ..", &[6, 1, 2, 1, 9, 9]),
            Some(Ok(json!({"state": 1, "rpm": 258}).as_object().unwrap().clone()))
        );
        assert_eq!(captures("06 ?? 01", &[6, 99, 1]), Some(Ok(Map::new())));
        assert_eq!(captures("06 ..", &[6]), Some(Ok(Map::new())));
        assert_eq!(
            captures("06 $d:bytes", &[6, 0, 1]),
            Some(Ok(json!({"d": "AAE="}).as_object().unwrap().clone()))
        );
        for (pattern, frame) in
            [("06", &[6, 0][..]), ("06 ??", &[6]), ("06", &[7]), ("06 $x:u16be", &[6, 1]), ("06", &[])]
        {
            assert_eq!(captures(pattern, frame), None, "{pattern}");
        }
        assert_eq!(captures("$n:bcd1", &[0xff]), Some(Err("`n`: FF is no BCD number".into())));
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            ("", "is empty"),
            ("A", "`A` is no whole number of bytes"),
            ("0xA0", "`0xA0` is no hex byte; write `A0` without 0x"),
            ("A0\\r\\n", "'\\\\' in `A0\\\\r\\\\n` is no hex digit"),
            ("RING", "'R' in `RING` is no hex digit"),
            ("$ch", "`$ch` has no type; write `$ch:u8`"),
            ("$:u8", "`$:u8` has no name"),
            ("$1:u8", "`$1:u8` has no name"),
            ("$ch:u16", "\"u16\" has no byte order"),
            ("$a:u8 $a:u8", "`$a` stands twice"),
            ("$a:bytes 00", "`..` and `bytes` without a length"),
            ("A0 ??", "`??` and `..` stand for bytes"),
        ] {
            let message = HexTemplate::parse(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
        assert!(HexPattern::parse(".. 00").is_err());
    }

    proptest! {
        /// What a template makes, the same text as a pattern takes apart again.
        #[test]
        fn a_template_matches_itself(a in any::<u8>(), b in any::<i16>(), c in any::<f32>(), d in prop::collection::vec(any::<u8>(), 0..20)) {
            use base64::Engine;
            let text = "A0 $a:u8 $b:i16le $c:f32be $d:bytes";
            let d = base64::engine::general_purpose::STANDARD.encode(d);
            let c: f64 = c.to_string().parse().unwrap();
            let params = json!({"a": a, "b": b, "c": c, "d": d});
            let Ok(bytes) = render(text, params.clone()) else { return Ok(()) };
            let found = HexPattern::parse(text).unwrap().captures(&bytes, &Values::default()).unwrap().unwrap();
            prop_assert_eq!(Value::Object(found), params);
        }

        #[test]
        fn any_text_is_a_pattern_or_a_mistake(text in "[$a-f0-9:?. ]{0,30}", frame in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(pattern) = HexPattern::parse(&text) {
                let (least, more) = pattern.len();
                if pattern.captures(&frame, &Values::default()).is_some() {
                    prop_assert!(frame.len() == least || more && frame.len() > least);
                }
                prop_assert_eq!(HexPattern::parse(&pattern.to_string()).unwrap(), pattern);
            }
        }
    }
}
