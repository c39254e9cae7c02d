//! Values in words, for people.

use serde_json::Value;

/// `not_executed` as one would say it.
pub(super) fn outcome(word: &str) -> String {
    word.replace('_', " ")
}

/// Milliseconds with as many decimals as mean something.
pub(crate) fn ms(micros: u64) -> String {
    let (whole, part) = (micros / 1_000, micros % 1_000);
    match whole {
        0..=9 => format!("{whole}.{:02}", part / 10),
        10..=99 => format!("{whole}.{}", part / 100),
        _ => whole.to_string(),
    }
}

/// How long, to about two units.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 1 => format!("{ms} ms"),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{days} d {} h", hours % 24),
    }
}

/// A value as lines of path and text, aligned; nothing for `null`.
pub(super) fn flat(value: &Value) -> Vec<String> {
    let mut leaves = Vec::new();
    collect(value, String::new(), &mut leaves);
    let width = leaves.iter().map(|(path, _)| path.chars().count()).max().unwrap_or_default();
    let line = |(path, text): &(String, String)| match path.as_str() {
        "" => text.clone(),
        path => format!("{path:width$}  {text}"),
    };
    leaves.iter().map(line).collect()
}

fn collect(value: &Value, path: String, leaves: &mut Vec<(String, String)>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                collect(value, below(name), leaves);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (number, item) in items.iter().enumerate() {
                collect(item, below(&number.to_string()), leaves);
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            leaves.push((path, if items.is_empty() { "[]".into() } else { items.join(", ") }));
        }
        Value::Null if path.is_empty() => {}
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            leaves.push((path, text(value)));
        }
    }
}

/// On one line, and harmless to a terminal.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => "nothing".into(),
        // Only those that hold nothing come here.
        Value::Object(_) | Value::Array(_) => value.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
    }
}

/// Control characters are escaped.
pub(super) fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Rows under a head; columns from `numbers` on are aligned to the right.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]], numbers: usize) -> Vec<String> {
    let head = head.map(str::to_owned);
    let mut widths = [0; N];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column < numbers { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values() {
        for (value, expected) in [
            (json!(null), &[][..]),
            (json!(4.5), &["4.5"]),
            (json!("a\u{1b}[31m\nb"), &["a\\u{1b}[31m\\nb"]),
            (json!({"state": "armed", "zone": 3}), &["state  armed", "zone   3"]),
            (json!({"a": {"b": [1, 2]}, "long": null}), &["a.b   1, 2", "long  nothing"]),
            (json!([{"x": 1}, {}]), &["0.x  1", "1    {}"]),
            (json!([]), &["[]"]),
            (json!({}), &["{}"]),
        ] {
            assert_eq!(flat(&value), expected, "{value}");
        }
    }

    #[test]
    fn times() {
        for (micros, expected) in [(0, "0.00"), (9_999, "9.99"), (12_345, "12.3"), (123_456, "123")] {
            assert_eq!(ms(micros), expected);
        }
        for (ms, expected) in [
            (999, "999 ms"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), expected);
        }
    }
}
