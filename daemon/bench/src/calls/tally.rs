//! What became of calls, counted.

use std::collections::BTreeMap;

/// Counts of what was sent and what came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Calls and echoes.
    pub(crate) sent: u64,
    /// Calls that were never answered.
    pub(crate) lost: u64,
    /// Echoes that never came: the floor has a bound too.
    pub(crate) echoes_lost: u64,
    /// Answers on a topic that is not the call's, or to no call that was made.
    pub(crate) misrouted: u64,
    /// Answers to calls that were answered already.
    pub(crate) twice: u64,
    /// Answers that hold another id or another response than they should.
    pub(crate) wrong: u64,
    /// Answers `ok` and `busy` that were heard after the caller's deadline.
    pub(crate) late: u64,
    /// Answers of gateways by their status.
    pub(crate) statuses: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts an answer whose content is not right.
    pub(crate) fn check(&mut self, right: bool) {
        self.wrong += u64::from(!right);
    }

    pub(crate) fn status(&mut self, status: String) {
        *self.statuses.entry(status).or_default() += 1;
    }

    /// How many answers had this status.
    pub(crate) fn of(&self, status: &str) -> u64 {
        self.statuses.get(status).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.echoes_lost += other.echoes_lost;
        self.misrouted += other.misrouted;
        self.twice += other.twice;
        self.wrong += other.wrong;
        self.late += other.late;
        for (status, count) in &other.statuses {
            *self.statuses.entry(status.clone()).or_default() += count;
        }
    }

    /// Only what must never be: the rest is of calls that do not count.
    pub(crate) fn without_calls(&self) -> Self {
        let &Self { lost, misrouted, twice, wrong, .. } = self;
        Self { lost, misrouted, twice, wrong, ..Self::default() }
    }

    /// What must never be: calls lost, misrouted, answered twice or wrongly.
    pub(crate) fn broken(&self) -> u64 {
        self.lost + self.untrue()
    }

    /// What no load explains: calls misrouted, answered twice or wrongly.
    pub(crate) fn untrue(&self) -> u64 {
        self.misrouted + self.twice + self.wrong
    }
}
