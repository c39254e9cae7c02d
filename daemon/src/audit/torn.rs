//! What was taken off the end of a record: whether a loss of power can have torn it. Reads no file and no clock.

use std::collections::BTreeMap;

use nowd_protocol::Uuid;

use super::chain::Line;

/// Whole entries of one process that span more than this were on the disk: a loss of power did not tear them off. `sync` is a minute
/// at most.
const LONGEST_UNSYNCED_US: u64 = 120_000_000;

/// Entries of so many processes can lie in it: of a start that lost its power as well, before it recorded what it took off.
const MOST_PROCESSES: usize = 2;

/// By what it was torn off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A loss of power or a full disk, as far as anybody can know.
    Power,
    /// The same, long after the entry before it was made. A change of one entry looks like this too.
    PowerOrChange,
    /// A change of the entry before it.
    Change,
}

/// Judges by the entries that are whole in it. The one before it was on the disk, so that the time since says little.
pub(super) fn by(bytes: &[u8], before: Option<(Uuid, u64)>) -> By {
    let mut spans = Spans::default();
    for line in bytes.split(|byte| *byte == b'\n').filter_map(Line::read) {
        spans.add((line.entry.incarnation, line.entry.steady_us));
    }
    if spans.longest() > LONGEST_UNSYNCED_US || spans.0.len() > MOST_PROCESSES {
        return By::Change;
    }
    if let Some(before) = before {
        spans.add(before);
    }
    if spans.longest() > LONGEST_UNSYNCED_US { By::PowerOrChange } else { By::Power }
}

/// From when to when there are entries of a process, by its steady clock.
#[derive(Debug, Default)]
struct Spans(BTreeMap<Uuid, (u64, u64)>);

impl Spans {
    fn add(&mut self, (incarnation, at): (Uuid, u64)) {
        let known = self.0.contains_key(&incarnation) || self.0.len() <= MOST_PROCESSES;
        if known {
            let span = self.0.entry(incarnation).or_insert((at, at));
            *span = (span.0.min(at), span.1.max(at));
        }
    }

    fn longest(&self) -> u64 {
        self.0.values().map(|(from, to)| to.saturating_sub(*from)).max().unwrap_or(0)
    }
}
