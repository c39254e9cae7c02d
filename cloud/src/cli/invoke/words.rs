//! What became of a call, in words, as `nowd call` says it.

use std::io::Write as _;
use std::time::Duration;

use nowd_protocol::Outcome;
use serde_json::Value;

use super::answer::{Answer, Said};
use super::client::{Heard, Lost};

/// The most characters of somebody else's message that are shown.
const MOST_SHOWN: usize = 300;

/// To standard output. Whoever closed it does not want to know.
pub(super) fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Status and outcome, then what came back or went wrong, then where the time went.
pub(super) fn lines(heard: &Heard, calls: &str) -> Vec<String> {
    let mut lines = match &heard.result {
        Ok(answer) => answered(answer, calls),
        Err(Lost { why, .. }) => {
            vec!["no_reply: unknown".to_owned(), format!("  {why}: the call may have been executed")]
        }
    };
    let times = heard.result.as_ref().map(|answer| answer.times.as_slice()).unwrap_or_default();
    lines.push(format!("  {}", hops(times, heard.took)));
    lines
}

fn answered(answer: &Answer, calls: &str) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", shown(&answer.status()), outcome(answer.outcome()))];
    match &answer.said {
        Said::Call { status, outcome, id, error, response } => {
            if let Some((code, message)) = error {
                let code = if code == status { String::new() } else { format!(" ({})", shown(code)) };
                lines.push(format!("  {}{code}", shown(message)));
            }
            lines.extend(flat(response).into_iter().map(|line| format!("  {line}")));
            if let (Outcome::Unknown, Some(id)) = (outcome, id) {
                lines.push(format!(
                    "  its id: {id}; GET {calls}{id} says what is known later",
                    id = shown(id)
                ));
            }
        }
        Said::Refused { error, message, .. } => {
            lines.push(format!(
                "  API Gateway refused it ({}), and nothing was called{}",
                shown(error),
                after(message)
            ));
        }
        Said::Nothing { message } => {
            let message = after(message);
            lines.push(format!(
                "  the answer does not come from nowd: the call may have been executed{message}"
            ));
        }
    }
    lines
}

fn after(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", shown(message)) }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Executed => "executed",
        Outcome::NotExecuted => "not executed",
        Outcome::Unknown => "unknown",
    }
}

fn hops(times: &[(String, u64)], took: Duration) -> String {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let time = |name: &str| times.iter().find(|(found, _)| found == name).map(|(_, micros)| *micros);
    let mut hops = vec![format!(
        "HTTP there and back {} ms",
        ms(took.saturating_sub(time("total").unwrap_or_default()))
    )];
    for (name, words) in [("network", "MQTT there and back"), ("queue", "queue"), ("plugin", "plugin")] {
        hops.extend(time(name).map(|micros| format!("{words} {} ms", ms(micros))));
    }
    hops.join(", ")
}

/// Milliseconds with as many decimals as mean something.
pub(super) fn ms(micros: u64) -> String {
    let (whole, part) = (micros / 1_000, micros % 1_000);
    match whole {
        0..=9 => format!("{whole}.{:02}", part / 10),
        10..=99 => format!("{whole}.{}", part / 100),
        _ => whole.to_string(),
    }
}

/// A response as lines: the fields of an object below each other, all else on one line; nothing for `null`.
fn flat(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Object(fields) if !fields.is_empty() => {
            let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or_default();
            fields
                .iter()
                .map(|(name, value)| format!("{:width$}  {}", printable(name), text(value)))
                .collect()
        }
        Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            vec![text(value)]
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => "nothing".to_owned(),
        Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) => {
            printable(&value.to_string())
        }
    }
}

/// Somebody else's words: short, and harmless to a terminal.
pub(super) fn shown(text: &str) -> String {
    printable(&text.chars().take(MOST_SHOWN).collect::<String>())
}

/// Control characters are escaped.
fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}
