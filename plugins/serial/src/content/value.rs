//! What the parts of a frame are in JSON: numbers and their scale, booleans, texts. Knows no frames.

use serde_json::{Map, Number, Value};

use crate::keys::{Mistake, Table, suggest};

/// The most values that a method may have.
const MOST_VALUES: usize = 64;

/// How one named part is converted: `values.NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Convert {
    kind: Option<ValueKind>,
    scale: Option<f64>,
    offset: Option<f64>,
}

/// What a part is in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Integer,
    /// Hex digits in a text, a whole number in JSON.
    Hex,
    Number,
    Boolean,
    Text,
}

const KINDS: &[&str] = &["integer", "hex", "number", "boolean", "text"];

/// `values` of a method: how its parts are converted, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(Vec<(String, Convert)>);

impl Values {
    pub(crate) fn parse(value: Option<&Value>) -> Result<Self, Mistake> {
        let Some(value) = value else { return Ok(Self::default()) };
        let Value::Object(values) = value else {
            return Err(Mistake::new("values", "must be a table, such as values.level = \"integer\""));
        };
        if values.len() > MOST_VALUES {
            return Err(Mistake::new("values", format!("has more than {MOST_VALUES} names")));
        }
        let parse = |(name, value): (&String, &Value)| {
            Ok((name.clone(), Convert::parse(value, &format!("values.{name}"))?))
        };
        values.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn of(&self, name: &str) -> Convert {
        self.0.iter().find(|(known, _)| known == name).map(|(_, convert)| *convert).unwrap_or_default()
    }

    /// Every name must be one of `used`, or nothing is converted by it.
    pub(crate) fn check_used(&self, used: &[&str]) -> Result<(), Mistake> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !used.contains(&name.as_str())) else {
            return Ok(());
        };
        let hint = if used.is_empty() { "there are none".into() } else { suggest(name, used) };
        Err(Mistake::new(format!("values.{name}"), format!("no reply names a part so, and no field; {hint}")))
    }
}

impl Convert {
    fn parse(value: &Value, at: &str) -> Result<Self, Mistake> {
        const EXPECTED: &str = "a type such as \"integer\", or { type = \"number\", scale = 0.1 },";
        if let Value::String(name) = value {
            return Ok(Self { kind: Some(ValueKind::parse(name, at)?), ..Self::default() });
        }
        let table = Table::new(value, at, EXPECTED, &["type", "scale", "offset"])?;
        let kind = table.text("type")?.map(|name| ValueKind::parse(name, &table.path("type"))).transpose()?;
        let (scale, offset) = (table.number("scale")?, table.number("offset")?);
        if scale.is_some_and(|scale| scale == 0.0 || !scale.is_finite()) {
            return Err(table.error("scale", "must be a number other than 0"));
        }
        if offset.is_some_and(|offset| !offset.is_finite()) {
            return Err(table.error("offset", "must be a finite number"));
        }
        let scaled = scale.is_some() || offset.is_some();
        if scaled && matches!(kind, Some(ValueKind::Boolean | ValueKind::Text)) {
            return Err(table.error("type", "only numbers have `scale` and `offset`"));
        }
        Ok(Self { kind, scale, offset })
    }

    pub(crate) fn is_scaled(&self) -> bool {
        self.scale.is_some() || self.offset.is_some()
    }

    pub(crate) fn kind(&self) -> Option<ValueKind> {
        self.kind
    }

    /// A captured text in JSON. One that is empty is `null`, unless a text is wanted.
    pub(crate) fn of_text(&self, text: &str) -> Result<Value, String> {
        let default = if self.is_scaled() { ValueKind::Number } else { ValueKind::Text };
        let kind = self.kind.unwrap_or(default);
        if kind == ValueKind::Text {
            return Ok(text.into());
        }
        let text = text.trim();
        if text.is_empty() {
            return Ok(Value::Null);
        }
        let raw = match kind {
            ValueKind::Integer => whole(text),
            ValueKind::Hex => {
                let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
                let plain = !digits.starts_with(['+', '-']);
                u64::from_str_radix(digits, 16).ok().filter(|_| plain).map(Value::from)
            }
            ValueKind::Number => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            ValueKind::Boolean => match text.to_ascii_lowercase().as_str() {
                "1" | "on" | "true" | "yes" => Some(true.into()),
                "0" | "off" | "false" | "no" => Some(false.into()),
                _ => None,
            },
            ValueKind::Text => None,
        };
        let raw = raw.ok_or_else(|| {
            format!("{:?} is no {}", text.chars().take(40).collect::<String>(), kind.word())
        })?;
        self.scaled(raw)
    }

    /// A field's raw value in JSON.
    pub(crate) fn of_raw(&self, raw: Value) -> Result<Value, String> {
        match (self.kind, &raw) {
            (Some(ValueKind::Boolean), Value::Number(number)) => Ok((number.as_f64() != Some(0.0)).into()),
            _ => self.scaled(raw),
        }
    }

    /// The raw number that stands for a JSON value: the inverse of [`Convert::of_raw`], not rounded yet.
    pub(crate) fn to_raw(self, value: f64) -> f64 {
        if !self.is_scaled() {
            return value;
        }
        tidy((value - self.offset.unwrap_or_default()) / self.scale.unwrap_or(1.0))
    }

    fn scaled(&self, raw: Value) -> Result<Value, String> {
        let Some(number) = raw.as_f64().filter(|_| self.is_scaled()) else { return Ok(raw) };
        let scaled = tidy(number * self.scale.unwrap_or(1.0) + self.offset.unwrap_or_default());
        // What only whole numbers make is a whole number.
        if raw.is_i64() || raw.is_u64() {
            let parts = [self.scale.unwrap_or(1.0), self.offset.unwrap_or_default()];
            if parts.iter().all(|part| part.fract() == 0.0) && scaled.abs() < 9.0e15 {
                return whole(&format!("{scaled:.0}")).ok_or_else(|| "is out of range".to_owned());
            }
        }
        Number::from_f64(scaled)
            .map(Value::Number)
            .ok_or_else(|| "is out of range when it is scaled".to_owned())
    }

    /// What can be said of a JSON value that is sent in a field of whole numbers from `least` to `most`.
    pub(crate) fn schema(&self, least: &Value, most: &Value) -> Value {
        let mut schema = Map::new();
        if self.kind == Some(ValueKind::Boolean) {
            schema.insert("type".into(), "boolean".into());
            return schema.into();
        }
        let ends = [least, most].map(|end| self.scaled(end.clone()).unwrap_or(Value::Null));
        let whole = ends.iter().all(|end| end.is_i64() || end.is_u64())
            && self.scale.is_none_or(|s| (s.abs() - 1.0).abs() < f64::EPSILON);
        schema.insert("type".into(), if whole { "integer" } else { "number" }.into());
        let turned = self.scale.is_some_and(|scale| scale < 0.0);
        let [least, most] = ends;
        let (least, most) = if turned { (most, least) } else { (least, most) };
        for (key, end) in [("minimum", least), ("maximum", most)] {
            if !end.is_null() {
                schema.insert(key.into(), end);
            }
        }
        schema.into()
    }
}

impl ValueKind {
    fn parse(name: &str, at: &str) -> Result<Self, Mistake> {
        Ok(match name {
            "integer" => Self::Integer,
            "hex" => Self::Hex,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "text" => Self::Text,
            other => {
                return Err(Mistake::new(at, format!("{other:?} is no type; {}", suggest(other, KINDS))));
            }
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Hex => "hex number",
            Self::Number => "number",
            Self::Boolean => "boolean, which is on, off, true, false, yes, no, 1 or 0",
            Self::Text => "text",
        }
    }
}

fn whole(text: &str) -> Option<Value> {
    let text = text.strip_prefix('+').unwrap_or(text);
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
}

/// A number without the noise of binary fractions: 3 times 0.1 is 0.3.
pub(crate) fn tidy(number: f64) -> f64 {
    format!("{number:.14e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values(value: &Value) -> Result<Values, String> {
        Values::parse(Some(value)).map_err(|e| e.to_string())
    }

    fn text(convert: &Value, text: &str) -> Result<Value, String> {
        values(&json!({"x": convert})).unwrap().of("x").of_text(text)
    }

    #[test]
    fn texts_become_values() {
        for (convert, captured, expected) in [
            (json!("text"), " a ", json!(" a ")),
            (json!("text"), "", json!("")),
            (json!("integer"), "0047", json!(47)),
            (json!("integer"), "-3", json!(-3)),
            (json!("integer"), " +3 ", json!(3)),
            (json!("integer"), "18446744073709551615", json!(u64::MAX)),
            (json!("integer"), "", Value::Null),
            (json!("hex"), "fF", json!(255)),
            (json!("hex"), "0x10", json!(16)),
            (json!("number"), "-1.50", json!(-1.5)),
            (json!("number"), "1e3", json!(1000.0)),
            (json!("boolean"), "ON", json!(true)),
            (json!("boolean"), "0", json!(false)),
            (json!({"type": "integer", "scale": 0.1}), "3", json!(0.3)),
            (json!({"type": "integer", "offset": -40}), "65", json!(25)),
            (json!({"scale": 0.5}), "5", json!(2.5)),
            (json!({"type": "hex", "scale": 0.1, "offset": -40}), "FF", json!(-14.5)),
        ] {
            assert_eq!(text(&convert, captured), Ok(expected), "{convert} {captured}");
        }
        for (convert, captured) in [
            ("integer", "1.5"),
            ("integer", "x"),
            ("integer", "99999999999999999999"),
            ("hex", "xyz"),
            ("hex", "-1"),
            ("hex", "0x"),
            ("number", "inf"),
            ("number", "1,5"),
            ("boolean", "2"),
        ] {
            let message = text(&json!(convert), captured).unwrap_err();
            assert!(message.starts_with(&format!("{captured:?} is no {convert}")), "{message}");
        }
    }

    #[test]
    fn mistakes() {
        for (value, expected) in [
            (json!(["x"]), "`values`: must be a table"),
            (
                json!({"x": "int"}),
                "`values.x`: \"int\" is no type; there are integer, hex, number, boolean, text",
            ),
            (json!({"x": "intger"}), "`values.x`: \"intger\" is no type; did you mean `integer`?"),
            (json!({"x": {"scale": 0}}), "`values.x.scale`: must be a number other than 0"),
            (json!({"x": {"typ": "text"}}), "`values.x.typ`: unknown key; did you mean `type`?"),
            (json!({"x": {"type": "text", "scale": 2}}), "`values.x.type`: only numbers have"),
            (json!({"x": 3}), "`values.x`: the number 3 where a type such as"),
        ] {
            let message = values(&value).unwrap_err();
            assert!(message.starts_with(expected), "{value}: {message}");
        }
        let unused = values(&json!({"levl": "integer"})).unwrap().check_used(&["level", "rpm"]).unwrap_err();
        assert_eq!(
            unused.to_string(),
            "`values.levl`: no reply names a part so, and no field; did you mean `level`?"
        );
    }

    proptest! {
        #[test]
        fn scaling_there_and_back(raw in -1_000_000_i64..1_000_000, scale in prop_oneof![Just(0.1), Just(0.01), Just(-0.5), Just(3.0)], offset in -100_i32..100) {
            let convert = Convert { kind: None, scale: Some(scale), offset: Some(offset.into()) };
            let value = convert.of_raw(raw.into()).unwrap().as_f64().unwrap();
            let back = convert.to_raw(value);
            prop_assert_eq!(format!("{:.0}", back.round()).replace("-0", "0"), raw.to_string().replace("-0", "0"));
        }
    }
}
