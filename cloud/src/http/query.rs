//! Reads query strings, strictly: what is not understood is refused, never guessed.

use std::time::Duration;

use percent_encoding::percent_decode_str;

/// The pairs of a query string, decoded.
pub(crate) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, String> {
    let spaces = text.replace('+', " ");
    match percent_decode_str(&spaces).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("the query is not UTF-8 after percent-decoding".into()),
    }
}

/// `timeout` in milliseconds, the only parameter that a call has.
pub(crate) fn timeout_ms(query: Option<&str>, max: Duration) -> Result<Option<Duration>, String> {
    let mut found = None;
    for (name, value) in pairs(query)? {
        if name != "timeout" {
            return Err(format!("there is no query parameter {name:?}; `timeout` is the only one"));
        }
        if found.is_some() {
            return Err("the query parameter `timeout` stands twice".into());
        }
        found = Some(value);
    }
    let Some(value) = found else { return Ok(None) };
    let max = max.as_millis();
    whole(&value)
        .filter(|ms| *ms >= 1 && u128::from(*ms) <= max)
        .map(|ms| Some(Duration::from_millis(ms)))
        .ok_or_else(|| {
            format!("`timeout` must be a whole number of milliseconds from 1 to {max}, not {}", shown(&value))
        })
}

/// Digits and nothing else.
pub(crate) fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// As much of a wrong value as is worth showing.
pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}
