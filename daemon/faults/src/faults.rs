//! The table of faults: what is broken, how often, and what is judged then. One file for each group.

mod actuator;
mod clocks;
mod crowd;
mod freeze;
mod keys;
mod link;
mod lockout;
mod repeats;
mod restart;

use std::pin::Pin;

use crate::judge::Judged;
use crate::load::{GOOD, Way};
use crate::stage::Stage;

/// What a script gives back.
pub(crate) type Script<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// A way to break things.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// One sentence for people.
    pub(crate) about: &'static str,
    /// The daemon's trust in its wall clock.
    pub(crate) clock: &'static str,
    /// What else stands in its configuration.
    pub(crate) more: &'static str,
    /// What the load asks for.
    pub(crate) ways: &'static [Way],
    pub(crate) judged: Judged,
    /// Whether calls must be under way while things are broken.
    pub(crate) must_strike: bool,
    /// Whether nothing else may run meanwhile.
    pub(crate) alone: bool,
    /// Breaks things, and mends them.
    pub(crate) script: fn(&mut Stage) -> Script<'_>,
}

impl Fault {
    /// With good calls, a clock that is not trusted, and everything judged.
    const fn new(name: &'static str, about: &'static str, script: fn(&mut Stage) -> Script<'_>) -> Self {
        Self {
            name,
            about,
            clock: "untrusted",
            more: "",
            ways: GOOD,
            judged: Judged::All,
            must_strike: true,
            alone: false,
            script,
        }
    }
}

/// All faults, by groups.
pub(crate) const ALL: &[&[Fault]] = &[
    freeze::FAULTS,
    restart::FAULTS,
    keys::FAULTS,
    lockout::FAULTS,
    link::FAULTS,
    clocks::FAULTS,
    repeats::FAULTS,
    actuator::FAULTS,
    crowd::FAULTS,
];
