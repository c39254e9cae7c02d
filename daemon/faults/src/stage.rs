//! A fault while it is on: the system, the calls, and when it was broken. What a fault's script works with.

use std::time::Duration;

use tokio::time::sleep;

use crate::bed::Bed;
use crate::clock;
use crate::judge::Call;
use crate::load::{Caller, Load};
use crate::raw::Raw;

/// No script breaks and mends things more often than this, however long the load goes on.
const MOST_ROUNDS: usize = 40;

/// What a script works with.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) caller: Caller,
    /// Hears all that goes over the broker, and can say anything.
    pub(crate) raw: Raw,
    pub(crate) load: Load,
    /// Calls that were not made by the load.
    pub(crate) calls: Vec<Call>,
    /// When things were broken.
    pub(crate) strikes: Vec<(u64, u64)>,
    pub(crate) rounds: usize,
    pub(crate) most_rounds: usize,
    /// What else there is to tell.
    pub(crate) notes: Vec<String>,
    /// What makes the fault fail whatever the actuators did.
    pub(crate) failures: Vec<String>,
}

impl Stage {
    pub(crate) fn new(bed: Bed, caller: Caller, raw: Raw, load: Load) -> Self {
        Self {
            bed,
            caller,
            raw,
            load,
            calls: Vec::new(),
            strikes: Vec::new(),
            rounds: 0,
            most_rounds: MOST_ROUNDS,
            notes: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Whether to break things once more: at least once, and while calls are made.
    pub(crate) fn goes_on(&mut self) -> bool {
        let more = self.rounds == 0 || (self.rounds < self.most_rounds && !self.load.is_over());
        self.rounds += 1;
        more
    }

    /// How long to break things in this round, in milliseconds: longer than most budgets of the load, and in later rounds
    /// also shorter, and longer than all.
    pub(crate) fn length(&self) -> u64 {
        const LENGTHS: [u64; 4] = [800, 250, 1_600, 2_500];
        LENGTHS.iter().copied().cycle().nth(self.rounds.saturating_sub(1)).unwrap_or(800)
    }

    /// For faults after which a link takes longer to come back the more often it was lost.
    pub(crate) fn at_most(&mut self, rounds: usize) {
        self.most_rounds = rounds;
    }

    pub(crate) async fn wait(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
    }

    /// From now on things are broken.
    pub(crate) fn strike(&mut self) {
        self.strikes.push((clock::now(), u64::MAX));
    }

    /// From now on things work again.
    pub(crate) fn mended(&mut self) {
        let now = clock::now();
        if let Some((_, end)) = self.strikes.last_mut() {
            *end = now;
        }
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }
}

/// How many of these calls were under way while things were broken.
pub(crate) fn struck(calls: &[Call], strikes: &[(u64, u64)]) -> usize {
    let hit = |call: &&Call| strikes.iter().any(|(from, to)| call.begun <= *to && call.ended >= *from);
    calls.iter().filter(hit).count()
}
