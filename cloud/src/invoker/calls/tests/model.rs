//! Cloud side and gateway together: every world that can come of a few calls, whatever the network does in between.
//!
//! The cores of both sides are the real ones, and so are the bytes between them. docs/MODEL.md says what is covered.

use super::*;

mod digest;
mod laws;
mod search;
mod world;

use search::{Seen, search};

/// What each call may take.
const BUDGET: u64 = SECOND;
const LAST_WORD_MICROS: u64 = 250_000;

/// What is in a world, and how much may happen.
#[derive(Debug, Clone)]
struct Config {
    second: Second,
    bound: Bound,
    /// How long before the start the gateway's process began, in microseconds.
    age: u64,
    /// Whether the gateway may trust its wall clock when a request comes.
    wall: &'static [bool],
    /// By how much that is wrong.
    wall_off_ms: i64,
    journal: bool,
    /// Whether the cloud side hears of presence.
    presence: bool,
    /// How many messages may be delivered once more than they were sent.
    copies: u8,
    restarts: u8,
    /// How often the cloud side's connection may end.
    drops: u8,
    /// How many requests the broker may refuse.
    refusals: u8,
    /// How often time may pass while a timer is overdue.
    freezes: u8,
    /// When something may happen, in microseconds from the start.
    instants: &'static [u64],
    /// Until when the second call may come.
    latest_submit: u64,
}

/// The second call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    None,
    /// The first one's id through another cloud side.
    Repeat,
    /// Another id through the same one.
    Other,
}

/// What the cloud sides know of the gateway's clock at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    None,
    /// From an incarnation that is no more.
    Dead,
    Live,
}

/// Quarters of the budget, its end, the last word, and after it.
const QUARTERS: &[u64] = &[0, 250_000, 500_000, 750_000, 1_000_000, 1_250_000, 1_300_000];

/// As few as will do.
const HALVES: &[u64] = &[0, 500_000, 1_000_000, 1_250_000];

impl Default for Config {
    fn default() -> Self {
        Self {
            second: Second::None,
            bound: Bound::None,
            age: 10 * SECOND,
            wall: &[false],
            wall_off_ms: 0,
            journal: false,
            presence: false,
            copies: 0,
            restarts: 1,
            drops: 0,
            refusals: 0,
            freezes: 0,
            instants: HALVES,
            latest_submit: 0,
        }
    }
}

impl Config {
    /// Whether a second actuation is documented: a repeat with a fresh deadline after a restart, without the journal.
    fn twice_is_no_news(&self) -> bool {
        self.second == Second::Repeat && self.restarts > 0 && !self.journal
    }
}

fn explore(config: &Config) -> Seen {
    let seen = search(config, 3_000_000);
    println!(
        "{:?} {} states, {} transitions, depth {}, {} ends {:?}",
        config, seen.states, seen.transitions, seen.depth, seen.ends, seen.answers
    );
    if let Some(story) = &seen.wrong {
        panic!("{story}");
    }
    seen
}

#[test]
fn one_call() {
    for bound in [Bound::None, Bound::Dead, Bound::Live] {
        explore(&Config { bound, ..Config::default() });
    }
}
