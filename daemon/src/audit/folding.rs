//! What of the entries is written, and what is only counted, so that a flood of what was not executed pushes out what was only
//! slowly. How slowly is in SPECIFICATION.md, section 17.2; a flood of what is executed pushes out as fast as it comes.
//!
//! Calls that were executed, may have been, or were started and refused by the device are always written, and so are late
//! results and safe actions. The rest (refusals, repeats, questions to the gateway itself, messages that were dropped) has an
//! allowance for each return address, and one for all together; beyond it is counted, and told once a [`PERIOD`].

use std::collections::BTreeMap;
use std::time::Duration;

use nowd_core::{Record, RecordKind};
use nowd_plugin::BootInstant;
use nowd_protocol::Outcome;

use super::entry::{Event, Moment};

/// How often what was folded is told.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// Of one return address: so many at once, and one more each so often.
const OF_ONE: Allowance = Allowance { burst: 60, each: Duration::from_secs(10) };

/// Of all together.
const OF_ALL: Allowance = Allowance { burst: 1_000, each: Duration::from_secs(1) };

/// How many return addresses are told apart; the others share a place.
const MOST_CLIENTS: usize = 256;

/// How many are told apart in what was folded, in each period.
const MOST_FOLDED: usize = 16;

/// What is written again and again.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: u32,
    each: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    entries: u32,
    /// Up to when they were given.
    at: BootInstant,
}

/// What was counted instead of written.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    pub(super) since: Moment,
    pub(super) statuses: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Folding {
    all: Option<Left>,
    clients: BTreeMap<String, Left>,
    folded: BTreeMap<String, Folded>,
}

impl Folding {
    /// Whether it is to be written. Else it was counted.
    pub(super) fn admit(&mut self, event: &Event, moment: Moment) -> bool {
        let Some((client, status)) = may_fold(event) else { return true };
        let now = moment.steady;
        let is_new = !self.clients.contains_key(client);
        if is_new && self.clients.len() >= MOST_CLIENTS {
            self.clients.retain(|_, left| !left.is_full(now, OF_ONE));
        }
        // Those for whom there is no place share one.
        let name = if is_new && self.clients.len() >= MOST_CLIENTS { "" } else { client };
        let one = self.clients.entry(name.to_owned()).or_insert_with(|| Left::full(now, OF_ONE));
        if one.take(now, OF_ONE) && self.all.get_or_insert_with(|| Left::full(now, OF_ALL)).take(now, OF_ALL)
        {
            return true;
        }
        let known = self.folded.contains_key(client) || self.folded.len() < MOST_FOLDED;
        let name = if known { client } else { "" };
        let folded = self
            .folded
            .entry(name.to_owned())
            .or_insert_with(|| Folded { since: moment, statuses: BTreeMap::new() });
        let count = folded.statuses.entry(status).or_default();
        *count = count.saturating_add(1);
        false
    }

    /// When the first of what was folded must be told.
    pub(super) fn due(&self) -> Option<BootInstant> {
        self.folded.values().map(|folded| folded.since.steady.saturating_add(PERIOD)).min()
    }

    /// Something of what was folded so far, and its return address; an empty one stands for others.
    pub(super) fn pop(&mut self) -> Option<(String, Folded)> {
        self.folded.pop_first()
    }

    /// It could not be told now.
    pub(super) fn put_back(&mut self, client: String, folded: Folded) {
        self.folded.insert(client, folded);
    }
}

/// Return address and status, if it may be folded.
fn may_fold(event: &Event) -> Option<(&str, &'static str)> {
    match event {
        Event::Call(record) => {
            let client = record.client.as_ref().map_or("", |client| client.as_str());
            is_cheap(record).then(|| (client, record.status.as_str()))
        }
        Event::Dropped(_) | Event::NoRequest { .. } => Some(("", "dropped")),
        Event::Locked { .. } | Event::Unlocked { .. } | Event::Reloaded { .. } | Event::Stopped => None,
    }
}

/// Whether anybody can cause any number of these without moving anything.
pub(super) fn is_cheap(record: &Record) -> bool {
    match record.kind {
        RecordKind::Late | RecordKind::SafeAction => false,
        RecordKind::Repeated => true,
        RecordKind::Answered => {
            // A plugin that has answered within a microsecond counts as not asked.
            let asked_a_device = record.timing.plugin > 0;
            (record.outcome == Outcome::NotExecuted && !asked_a_device) || record.method.starts_with("nowd.")
        }
    }
}

impl Left {
    fn full(now: BootInstant, allowance: Allowance) -> Self {
        Self { entries: allowance.burst, at: now }
    }

    fn refill(&mut self, now: BootInstant, allowance: Allowance) {
        let passed = now.saturating_since(self.at);
        let more = passed.as_micros().checked_div(allowance.each.as_micros()).unwrap_or(0);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more == 0 {
            return;
        }
        self.entries = self.entries.saturating_add(more).min(allowance.burst);
        self.at = self.at.saturating_add(allowance.each.saturating_mul(more));
    }

    fn is_full(mut self, now: BootInstant, allowance: Allowance) -> bool {
        self.refill(now, allowance);
        self.entries >= allowance.burst
    }

    fn take(&mut self, now: BootInstant, allowance: Allowance) -> bool {
        self.refill(now, allowance);
        let left = self.entries.checked_sub(1);
        self.entries = left.unwrap_or(0);
        left.is_some()
    }
}
