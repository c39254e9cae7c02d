//! Texts with parameters in them: `"SET $ch ON"`, `"$percent"`, `"$call.id"`; `$$` is one `$`.

use serde_json::Value;

use crate::call::Call;
use crate::words::nearest;

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Param(String),
    CallId,
    NotAfter,
}

/// A text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `$` stands alone.
    #[error(
        "a `$` must be followed by a parameter's name, `call.id`, `call.not_after`, or another `$`, in {0:?}"
    )]
    LoneDollar(String),
    /// `$call.` with an unknown field.
    #[error("`$call.{0}` is not known; there are `$call.id` and `$call.not_after`")]
    UnknownField(String),
    /// The parameter is not declared.
    #[error("`${name}` is not declared in `params`{}", nearest_hint(.name, .declared))]
    Undeclared {
        /// The parameter's name.
        name: String,
        /// What is declared.
        declared: Vec<String>,
    },
}

fn nearest_hint(name: &str, declared: &[String]) -> String {
    match nearest(name, declared.iter().map(String::as_str)) {
        Some(nearest) => format!("; did you mean `${nearest}`?"),
        None if declared.is_empty() => ", which is empty".into(),
        None => format!(", which has {}", declared.join(", ")),
    }
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, mut tail) = after.split_at(end);
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(TemplateError::LoneDollar(text.into()));
            }
            let part = match (name, tail.strip_prefix('.')) {
                ("call", Some(field)) => {
                    let (part, len) = call_field(field)?;
                    tail = field.get(len..).unwrap_or_default();
                    part
                }
                _ => Part::Param(name.into()),
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
            rest = tail;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// Checks that each parameter used is among the `declared`.
    pub fn check_declared<'a>(
        &self,
        declared: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), TemplateError> {
        for name in self.params() {
            if !declared.clone().any(|known| known == name) {
                let declared = declared.map(Into::into).collect();
                return Err(TemplateError::Undeclared { name: name.into(), declared });
            }
        }
        Ok(())
    }

    /// The parameters used.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Param(name) => Some(name.as_str()),
            Part::Text(_) | Part::CallId | Part::NotAfter => None,
        })
    }

    /// The value for a call: a lone placeholder keeps its JSON type, anything else is text.
    #[must_use]
    pub fn value(&self, call: &Call) -> Value {
        match self.0.as_slice() {
            [Part::Param(name)] => param(call, name).cloned().unwrap_or(Value::Null),
            [Part::NotAfter] => call.deadline.boottime_micros().into(),
            _ => Value::String(self.text(call)),
        }
    }

    /// The text for a call: strings as they are, other values as JSON.
    #[must_use]
    pub fn text(&self, call: &Call) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Param(name) => match param(call, name) {
                    Some(Value::String(value)) => text.push_str(value),
                    Some(value) => text.push_str(&value.to_string()),
                    None => {}
                },
                Part::CallId => text.push_str(&call.id.to_string()),
                Part::NotAfter => text.push_str(&call.deadline.boottime_micros().to_string()),
            }
        }
        text
    }
}

/// Looks up a parameter of a call.
#[must_use]
pub fn param<'a>(call: &'a Call, name: &str) -> Option<&'a Value> {
    call.params.get(name)
}

fn call_field(field: &str) -> Result<(Part, usize), TemplateError> {
    let end = field.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(field.len());
    match field.get(..end).unwrap_or_default() {
        "id" => Ok((Part::CallId, end)),
        "not_after" => Ok((Part::NotAfter, end)),
        other => Err(TemplateError::UnknownField(other.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{BootInstant, Deadline};

    fn call() -> Call {
        let deadline = Deadline::new(BootInstant::from_micros(42), Duration::from_secs(1));
        Call::new(Uuid::nil(), "m", json!({"ch": 3, "name": "left", "on": true}), deadline)
    }

    #[test]
    fn renders() {
        for (template, text, value) in [
            ("SET $ch ON", "SET 3 ON", json!("SET 3 ON")),
            ("$ch", "3", json!(3)),
            ("$name", "left", json!("left")),
            ("$on", "true", json!(true)),
            ("a$$b$$$ch.", "a$b$3.", json!("a$b$3.")),
            (
                "<$call.id>",
                "<00000000-0000-0000-0000-000000000000>",
                json!("<00000000-0000-0000-0000-000000000000>"),
            ),
            ("", "", json!("")),
        ] {
            let parsed = Template::parse(template).unwrap();
            assert_eq!(parsed.text(&call()), text, "{template}");
            assert_eq!(parsed.value(&call()), value, "{template}");
        }
    }

    /// The kernel's clock, which the other side can read: the steady one is nobody else's.
    #[test]
    fn not_after_is_a_number_of_the_kernels_clock() {
        let now = || u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap();
        let (budget, before) = (Duration::from_secs(1_000), now());
        let call = Call::new(Uuid::nil(), "m", Value::Null, Deadline::after(budget));
        let value = Template::parse("$call.not_after").unwrap().value(&call).as_u64().unwrap();
        let text = Template::parse("T$call.not_after").unwrap().text(&call);
        for micros in [value, text.strip_prefix('T').unwrap().parse().unwrap()] {
            let seconds = micros / 1_000_000;
            assert!(seconds >= before + 999 && seconds <= now() + 1_000, "{micros}");
        }
    }

    #[test]
    fn refuses() {
        for (template, expected) in [
            ("50 $", "a `$` must be followed by"),
            ("$1", "a `$` must be followed by"),
            ("$call.idx", "`$call.idx` is not known"),
            ("$call.id2", "`$call.id2` is not known"),
        ] {
            let message = Template::parse(template).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{template}: {message}");
        }
        let undeclared =
            Template::parse("$perzent").unwrap().check_declared(["percent"].into_iter()).unwrap_err();
        assert_eq!(
            undeclared.to_string(),
            "`$perzent` is not declared in `params`; did you mean `$percent`?"
        );
    }
}
