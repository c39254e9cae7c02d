//! One line of JSON for each call on standard output, which is the function's log: the record of the call, and at the same
//! time metrics, in `CloudWatch`'s Embedded Metric Format.
//!
//! Each value of a dimension is a metric of its own, which is paid for and looked through by its name. So only the function
//! and the status, which has few, are some; target, method and caller are fields, which the log's queries find. A line holds nothing of
//! what was asked or answered.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use nowd_protocol::{METHODS_METHOD, OUTCOME_METHOD, ReplyStatus, Timing};
use serde_json::{Map, Value, json};

use crate::clock::{BootInstant, unix_ms_at};
use crate::http::PRESENCE_METHOD;
use crate::record::{Record, Recorder};

/// The metrics' namespace.
const NAMESPACE: &str = "nowd";
/// What is no call.
const QUESTIONS: [&str; 3] = [PRESENCE_METHOD, METHODS_METHOD, OUTCOME_METHOD];
/// Longer texts are cut, in characters. The line stays far below the 256 KiB that are allowed.
const LONGEST: usize = 2_048;

/// Writes each record to standard output, as one of this function's.
pub(crate) fn emf(function: String) -> Recorder {
    Arc::new(move |record| {
        let text = line(&function, record, unix_ms_at(BootInstant::now()));
        // One write under one lock: no other line comes between. If standard output is gone, nobody reads.
        drop(std::io::stdout().lock().write_all(text.as_bytes()));
    })
}

/// The line, its end included; `now` is in milliseconds since 1970.
fn line(function: &str, record: &Record, now: u64) -> String {
    let timing = &record.timing;
    let gateway =
        |part: fn(&Timing) -> u64| timing.gateway.as_ref().map(|timing| Duration::from_micros(part(timing)));
    let phases = [
        ("Total", Some(timing.total)),
        ("Network", timing.network()),
        ("Gateway", gateway(|timing| timing.total)),
        ("Queue", gateway(|timing| timing.queue)),
        ("Plugin", gateway(|timing| timing.plugin)),
    ];
    let question = record.method.as_ref().is_some_and(|method| QUESTIONS.contains(&method.as_str()));
    let counted = if question { "Questions" } else { "Calls" };
    let mut metrics = vec![json!({ "Name": counted, "Unit": "Count" })];
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    put("Function", short(function).into());
    put("Status", status(record).into());
    put(counted, 1.into());
    // A metric that is named but has no value would be an error: only those are named that there are.
    for (name, time) in phases {
        if let Some(time) = time {
            // Questions move nothing, and would make calls look faster than they are.
            if !question {
                metrics.push(json!({ "Name": name, "Unit": "Milliseconds" }));
            }
            put(name, millis(time));
        }
    }
    put("id", record.id.to_string().into());
    put("status", short(record.status.as_str()).into());
    put("outcome", record.outcome.as_str().into());
    put("http", record.http.into());
    put("attempts", record.attempts.into());
    let texts = [
        ("target", record.target.as_ref().map(AsRef::as_ref)),
        ("method", record.method.as_ref().map(AsRef::as_ref)),
        ("caller", record.caller.as_deref()),
        ("traceparent", record.traceparent.as_deref()),
        ("error", record.error.as_deref()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            put(name, short(text).into());
        }
    }
    let directive =
        json!({ "Namespace": NAMESPACE, "Dimensions": [["Function", "Status"]], "Metrics": metrics });
    put("_aws", json!({ "Timestamp": now, "CloudWatchMetrics": [directive] }));
    Value::Object(fields).to_string() + "\n"
}

/// The dimension. A gateway may send a word that is not in the table; each would be a metric.
fn status(record: &Record) -> &'static str {
    match &record.status {
        ReplyStatus::Known(status) => status.as_str(),
        ReplyStatus::Other(_) => "other",
    }
}

/// To the microsecond.
fn millis(time: Duration) -> Value {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    (f64::from(micros) / 1_000.0).into()
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
