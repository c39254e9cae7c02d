//! Lists of texts in configuration: `["app-*", "ops-*"]`, or one text without brackets.

use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts, such as [\"app-*\"]")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Reads a list, or one text, which is a list of one.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

/// Reads a list that may be left out.
pub fn deserialize_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    deserialize(deserializer).map(Some)
}
