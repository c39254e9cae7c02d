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
    let [timeout] = named(query, ["timeout"])?;
    timeout.map(|value| millis(&value, max)).transpose()
}

/// `timeout` in milliseconds, and `after`.
pub(crate) fn timeout_ms_and_after(
    query: Option<&str>,
    max: Duration,
) -> Result<(Option<Duration>, Option<String>), String> {
    let [timeout, after] = named(query, ["timeout", "after"])?;
    Ok((timeout.map(|value| millis(&value, max)).transpose()?, after))
}

/// The values of the parameters of these names, each of which may stand once; there are no others.
fn named<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<String>; N], String> {
    let mut found = [const { None }; N];
    for (name, value) in pairs(query)? {
        let Some((_, place)) = names.iter().zip(&mut found).find(|(known, _)| **known == name) else {
            let known = names.map(|name| format!("`{name}`")).join(" and ");
            let are = if N == 1 { "is the only one" } else { "are all there are" };
            return Err(format!("there is no query parameter {name:?}; {known} {are}"));
        };
        if place.replace(value).is_some() {
            return Err(format!("the query parameter `{name}` stands twice"));
        }
    }
    Ok(found)
}

fn millis(value: &str, max: Duration) -> Result<Duration, String> {
    let max = max.as_millis();
    whole(value).filter(|ms| *ms >= 1 && u128::from(*ms) <= max).map(Duration::from_millis).ok_or_else(|| {
        format!("`timeout` must be a whole number of milliseconds from 1 to {max}, not {}", shown(value))
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
