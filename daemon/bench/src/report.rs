//! What was found out, and the ways to show it. Nothing here measures.

mod json;
mod place;
mod plot;
mod table;

use std::collections::BTreeMap;

use crate::Section;
use crate::calls::Tally;
use crate::counts::Count;
use crate::drive::Measured;
use crate::measure::Times;

pub(crate) use json::json;
pub(crate) use plot::plots;
pub(crate) use table::table;

/// Where and when it was measured.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) quick: bool,
}

/// Many times of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) section: &'static str,
    pub(crate) name: String,
    pub(crate) times: Times,
    /// How many a second, where that was measured.
    pub(crate) rate: Option<f64>,
    /// What it is drawn over: calls under way, calls a second, gateways.
    pub(crate) load: Option<f64>,
    pub(crate) note: String,
}

/// What was asked for, and what came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Calls under way, calls a second, gateways.
    pub(crate) load: f64,
    /// Executed, a second.
    pub(crate) rate: f64,
}

/// From here on the load generator's own lateness is told, in nanoseconds.
const BEHIND: u64 = 5_000_000;

/// One number.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) section: &'static str,
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// A number that was promised.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) bound: Bound,
    /// The same from single sets of processes: least and most.
    pub(crate) spread: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub(crate) fn at_most(name: &'static str, value: f64, bound: f64) -> Self {
        Self { name, value, bound: Bound::AtMost(bound), spread: None }
    }

    pub(crate) fn at_least(name: &'static str, value: f64, bound: f64) -> Self {
        Self { name, value, bound: Bound::AtLeast(bound), spread: None }
    }

    /// With what the sets of processes said one by one.
    pub(crate) fn spread(self, sets: &[f64]) -> Self {
        let least = sets.iter().copied().min_by(f64::total_cmp);
        let most = sets.iter().copied().max_by(f64::total_cmp);
        Self { spread: least.zip(most), ..self }
    }

    /// A number that is none, for want of calls, meets nothing.
    pub(crate) fn met(&self) -> bool {
        if !self.value.is_finite() {
            return false;
        }
        match self.bound {
            Bound::AtMost(bound) => self.value <= bound,
            Bound::AtLeast(bound) => self.value >= bound,
        }
    }
}

/// What was found out so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) rows: Vec<Row>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) targets: Vec<Target>,
    /// What a call costs the daemon, by the kind of method.
    pub(crate) counts: BTreeMap<String, Count>,
    pub(crate) tally: Tally,
    /// What could not be measured to its end.
    pub(crate) failed: Vec<Section>,
}

impl Findings {
    pub(crate) fn row(&mut self, section: &'static str, name: impl Into<String>, times: &Times) {
        let (name, times) = (name.into(), times.clone());
        self.rows.push(Row { section, name, times, rate: None, load: None, note: String::new() });
    }

    /// A row of calls that were counted and checked too.
    pub(crate) fn loaded(
        &mut self,
        section: &'static str,
        name: impl Into<String>,
        measured: &Measured,
        load: Load,
    ) {
        let Measured { times, tally, behind, .. } = measured;
        self.tally.add(tally);
        let mut note: Vec<_> =
            tally.statuses.iter().map(|(status, count)| format!("{count} {status}")).collect();
        note.retain(|words| !words.ends_with(" ok"));
        for (count, words) in [(tally.lost, "LOST"), (tally.echoes_lost, "echoes lost")] {
            if count > 0 {
                note.push(format!("{count} {words}"));
            }
        }
        if *behind > BEHIND {
            note.push(format!("the load generator was behind by up to {} ms", behind / 1_000_000));
        }
        let (name, times) = (name.into(), times.clone());
        let (rate, load, note) = (Some(load.rate), Some(load.load), note.join(", "));
        self.rows.push(Row { section, name, times, rate, load, note });
    }

    pub(crate) fn fact(
        &mut self,
        section: &'static str,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) {
        self.facts.push(Fact { section, name: name.into(), value, unit });
    }
}
