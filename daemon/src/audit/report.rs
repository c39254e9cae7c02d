//! What `nowd audit verify` says. Judges nothing.

use serde::Serialize;

/// How many problems and notes are told one by one.
const MOST_TOLD: usize = 32;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether nothing is wrong.
    pub(crate) sound: bool,
    pub(crate) files: u64,
    pub(crate) entries: u64,
    /// The first entry that is there, and its time.
    pub(crate) first: Option<u64>,
    pub(crate) first_time: Option<String>,
    /// The last, as `NUMBER:HASH`, and its time.
    pub(crate) head: Option<String>,
    pub(crate) last_time: Option<String>,
    /// How many times the gateway ended without a word.
    pub(crate) unclean_ends: u64,
    /// How many entries the gateway says it lost.
    pub(crate) lost: u64,
    /// How many it counted instead of writing.
    pub(crate) folded: u64,
    /// How many torn ends were taken off.
    pub(crate) mended: u64,
    /// The last entry that was removed to keep within `max_size`.
    pub(crate) pruned: Option<u64>,
    pub(crate) problems: Vec<Finding>,
    pub(crate) notes: Vec<Finding>,
    /// How many further problems and notes there are.
    pub(crate) further: u64,
}

/// A place, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) file: String,
    /// From 1; 0 stands for the file as a whole.
    pub(crate) line: u64,
    pub(crate) message: String,
}

/// Adds a finding, or counts it where there are many.
pub(super) fn push(findings: &mut Vec<Finding>, finding: Finding, further: &mut u64) {
    if findings.len() < MOST_TOLD {
        findings.push(finding);
    } else {
        *further = further.saturating_add(1);
    }
}
