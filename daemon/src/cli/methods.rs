//! `nowd methods`: what is on offer.

use std::num::NonZeroU16;
use std::sync::Arc;

use nowd_plugin::params::Params;
use nowd_plugin::{Method, Plugin};
use nowd_protocol::MethodEntry;
use serde::Serialize;

use super::words::table;
use super::{Failure, Source, say};
use crate::offer::entry;
use crate::setup::plugins;

pub(super) fn list(source: &Source, extra: Vec<Arc<dyn Plugin>>, json: bool) -> Result<(), Failure> {
    let files = source.load()?;
    let (_, registry) = plugins(&files, extra)?;
    let mut out = std::io::stdout();
    if json {
        say(&mut out, &listed(registry.methods()));
        return Ok(());
    }
    let rows: Vec<[String; 6]> = registry.methods().map(row).collect();
    for line in table(["METHOD", "PARAMS", "AT MOST", "IS", "LANE", "DECLARED IN"], &rows, 6) {
        say(&mut out, &line);
    }
    Ok(())
}

/// As `--json` prints them.
pub(crate) fn listed<'a>(methods: impl IntoIterator<Item = &'a Method>) -> String {
    let list: Vec<_> = methods.into_iter().map(as_json).collect();
    // Texts, numbers and schemas that were JSON before can always be written.
    serde_json::to_string(&list).unwrap_or_default()
}

fn row(method: &Method) -> [String; 6] {
    let policy = &method.policy;
    let params: Vec<&str> = method.params.iter().flat_map(Params::names).collect();
    let is: Vec<&str> = [
        (policy.idempotent, "idempotent"),
        (policy.stop, "stop"),
        (policy.internal, "internal"),
        (policy.poll.is_some(), "polled"),
    ]
    .into_iter()
    .filter_map(|(set, word)| set.then_some(word))
    .collect();
    [
        method.name.clone(),
        params.join(" "),
        humantime::format_duration(policy.max_timeout).to_string(),
        is.join(" "),
        method.lane.name.clone(),
        method.origin.clone(),
    ]
}

/// What callers are told, and what only the gateway knows.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    told: MethodEntry<'a>,
    lane: &'a str,
    concurrency: NonZeroU16,
    allow: Option<&'a [String]>,
    internal: bool,
    declared_in: &'a str,
}

fn as_json(method: &Method) -> Entry<'_> {
    Entry {
        told: entry(method),
        lane: &method.lane.name,
        concurrency: method.lane.concurrency,
        allow: method.policy.allow.as_deref(),
        internal: method.policy.internal,
        declared_in: &method.origin,
    }
}
