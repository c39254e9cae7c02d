//! Durations in configuration: `"800ms"`, `"5s"`, `"2m"`, never a bare number. For `#[serde(with = ...)]`-like use
//! through [`deserialize`] and [`deserialize_option`].

use std::fmt;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// The longest duration that configuration may name.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration such as `"800ms"`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = deserializer.deserialize_str(Text)?;
    let duration = humantime::parse_duration(&text).map_err(|_| {
        Error::custom(format!(
            "{text:?} is not a duration; write a number with its unit, such as \"800ms\" or \"5s\""
        ))
    })?;
    if duration > LONGEST {
        return Err(Error::custom(format!("{text:?} is longer than a day")));
    }
    Ok(duration)
}

struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"800ms\" or \"5s\"")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Reads a duration that may be left out.
pub fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}
