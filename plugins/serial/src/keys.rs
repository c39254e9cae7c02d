//! Values of a map by hand, so that a mistake names its key, what was expected and the nearest right name. Reads no file.

use std::time::Duration;

use nowd_plugin::words::hint;
use serde_json::{Map, Value};

/// What is wrong with a value of a map, and where it stands: `framing.at`, `steps[0].send`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{at}`: {message}")]
pub(crate) struct Mistake {
    /// The key's path in its table.
    pub(crate) at: String,
    /// What was expected, and what to do.
    pub(crate) message: String,
}

impl Mistake {
    #[allow(clippy::needless_pass_by_value, reason = "so that a text and an error are given alike")]
    pub(crate) fn new(at: impl Into<String>, message: impl ToString) -> Self {
        Self { at: one_line(&at.into()), message: one_line(&message.to_string()) }
    }
}

/// A text of a map in a message to people: without what a terminal could take for a command.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A table whose keys are all known.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    at: String,
    keys: &'a Map<String, Value>,
}

impl<'a> Table<'a> {
    /// `value` at the path `at` as a table; `expected` says in words what else could stand there.
    pub(crate) fn new(
        value: &'a Value,
        at: &str,
        expected: &str,
        known: &'static [&'static str],
    ) -> Result<Self, Mistake> {
        let Value::Object(keys) = value else {
            return Err(Mistake::new(at, format!("{} where {expected} is expected", kind(value))));
        };
        let table = Self { at: at.into(), keys };
        if let Some(key) = keys.keys().find(|key| !known.contains(&key.as_str())) {
            let message = format!("unknown key; {}", suggest(key, known));
            return Err(Mistake::new(table.path(key), message));
        }
        Ok(table)
    }

    /// The path of a key of this table.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.at)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.keys.get(key)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub(crate) fn error(&self, key: &str, message: impl ToString) -> Mistake {
        Mistake::new(self.path(key), message)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Mistake> {
        self.typed(key, "a text", Value::as_str)
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Mistake> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, Mistake> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn integer(&self, key: &str, least: i64, most: i64) -> Result<Option<i64>, Mistake> {
        let expected = format!("a whole number from {least} to {most}");
        self.typed(key, &expected, |value| value.as_i64().filter(|n| (least..=most).contains(n)))
    }

    /// One byte, as a number.
    pub(crate) fn byte(&self, key: &str) -> Result<Option<u8>, Mistake> {
        let expected = "one byte as a number from 0 to 255, such as 0x02";
        self.typed(key, expected, |value| value.as_u64().and_then(|n| u8::try_from(n).ok()))
    }

    /// A length or place in a frame.
    pub(crate) fn size(&self, key: &str, least: usize, most: usize) -> Result<Option<usize>, Mistake> {
        let expected = format!("a whole number from {least} to {most}");
        self.typed(key, &expected, |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (least..=most).contains(n))
        })
    }

    pub(crate) fn duration(&self, key: &str) -> Result<Option<Duration>, Mistake> {
        let Some(value) = self.get(key) else { return Ok(None) };
        nowd_plugin::duration::deserialize(value).map(Some).map_err(|e| self.error(key, e))
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Mistake> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || self.error(key, format!("{} where {expected} is expected", kind(value)));
        read(value).ok_or_else(wrong).map(Some)
    }
}

/// A value in words: its kind, and itself where it is short.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(value) => format!("the text {:?}", value.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
    }
}

/// The nearest right name, or all of them.
pub(crate) fn suggest(word: &str, known: &[&str]) -> String {
    hint(word, known.iter().copied()).trim_start_matches("; ").to_owned()
}
