//! Cloud side and gateway together: every world that can come of a few calls, whatever the network does in between.
//!
//! The cores of both sides are the real ones, and so are the bytes between them. docs/MODEL.md says what is covered.

use super::*;

mod digest;
mod ends;
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
    /// How often the cloud side may be stood still, so that its connection is in doubt.
    doubts: u8,
    /// How many requests the broker may refuse.
    refusals: u8,
    /// How often time may pass while a timer is overdue.
    freezes: u8,
    /// When something may happen, in microseconds from the start.
    instants: &'static [u64],
    /// By how much the second cloud side's wall clock is ahead of the first one's, in milliseconds.
    second_ms: i64,
    /// Until when the second call may come.
    latest_submit: u64,
    /// Whether what is documented as not covered counts as a mistake.
    strict: bool,
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

/// The start, half the budget, its end, the last word. Everybody's timers come in between.
const HALVES: &[u64] = &[0, 500_000, 1_000_000, 1_250_000];

const NEVER: &[bool] = &[false];
const ALWAYS: &[bool] = &[true];
/// As it may be at one moment and not at another.
const ANY: &[bool] = &[false, true];

const ONE: Config = Config {
    second: Second::None,
    bound: Bound::None,
    age: 10 * SECOND,
    wall: NEVER,
    wall_off_ms: 0,
    journal: false,
    presence: false,
    copies: 0,
    restarts: 1,
    drops: 0,
    doubts: 0,
    refusals: 0,
    freezes: 0,
    instants: HALVES,
    second_ms: 0,
    latest_submit: 0,
    strict: false,
};
const REPEAT: Config = Config { second: Second::Repeat, second_ms: 1, ..ONE };

impl Config {
    /// Whether a second actuation is documented: a repeat with a fresh deadline after a restart, without the journal.
    fn twice_is_no_news(&self) -> bool {
        !self.strict && self.second == Second::Repeat && self.restarts > 0 && !self.journal
    }
}

/// Explores all of it, or in the short form no more than `short` steps from the start.
fn explore(config: &Config, short: usize) -> Seen {
    explore_up_to(config, short, ALL)
}

/// The same, where the whole would not fit into memory: no more than `long` steps in the long form.
fn explore_up_to(config: &Config, short: usize, long: usize) -> Seen {
    let seen = search(config, if is_long() { long } else { short });
    let Seen { states, transitions, depth, whole, ends, answers, wrong } = &seen;
    println!(
        "{states} states, {transitions} transitions, depth {depth}, whole {whole}, {ends} ends {answers:?}: {config:?}"
    );
    if let Some(story) = wrong {
        panic!("{story}");
    }
    seen
}

const ALL: usize = usize::MAX;

fn is_long() -> bool {
    std::env::var_os("NOWD_MODEL").is_some_and(|form| form == "long")
}

/// Every kind of knowledge of the gateway's clock; whether the wall clock is trusted is free at every receipt.
#[test]
fn one_call() {
    for bound in [Bound::None, Bound::Dead, Bound::Live] {
        let seen = explore(&Config { bound, wall: ANY, ..ONE }, ALL);
        for status in ["expired", "no_reply", "ok", "refused", "timeout"] {
            assert!(seen.answers.contains_key(status), "{status} is never answered: {seen:?}");
        }
    }
}

#[test]
fn one_call_and_the_journal() {
    for bound in [Bound::None, Bound::Live] {
        explore(&Config { bound, journal: true, ..ONE }, 9);
    }
}

#[test]
fn one_call_and_copies() {
    let restarts = u8::from(is_long());
    explore(&Config { copies: 1, restarts, wall: ANY, ..ONE }, 7);
    explore(&Config { bound: Bound::Live, copies: 1, restarts, ..ONE }, ALL);
}

/// The gateway began at the moment when the call came, or shortly before.
#[test]
fn one_call_to_a_young_gateway() {
    for age in [0, 100_000] {
        explore(&Config { bound: Bound::Dead, age, wall: ANY, ..ONE }, ALL);
    }
}

#[test]
fn the_cloud_sides_link() {
    for presence in [false, true] {
        explore(&Config { presence, drops: 1, refusals: 1, ..ONE }, 7);
        explore(&Config { presence, drops: 1, doubts: 1, restarts: 0, ..ONE }, 8);
    }
}

#[test]
fn processes_that_stand_still() {
    explore(&Config { freezes: 1, restarts: u8::from(is_long()), ..ONE }, ALL);
}

/// The same id through another cloud side, whose wall clock shows a little more or less.
#[test]
fn a_repeat() {
    for (second_ms, wall) in [(1, NEVER), (-1, ALWAYS)] {
        explore_up_to(&Config { second_ms, wall, restarts: 0, ..REPEAT }, 7, 11);
    }
}

#[test]
fn a_repeat_and_a_restart() {
    explore(&Config { journal: true, bound: Bound::Live, ..REPEAT }, 7);
}

/// Two calls in one lane.
#[test]
fn another_call() {
    explore(&Config { second: Second::Other, bound: Bound::Live, restarts: 0, ..ONE }, 9);
}

/// What docs/SPECIFICATION.md says is not covered is what the search finds.
#[test]
fn a_repeat_after_a_restart_without_the_journal_acts_twice() {
    let seen = search(&Config { wall: ALWAYS, latest_submit: 500_000, strict: true, ..REPEAT }, ALL);
    let story = seen.wrong.unwrap();
    assert!(story.contains("one id is acted on once"), "{story}");
}

/// A mistake that the search found, and that was mended: docs/MODEL.md tells it.
#[test]
fn a_repeat_that_joined_is_not_started_after_it_was_answered() {
    explore(&Config { journal: true, wall: ALWAYS, restarts: 0, latest_submit: 0, ..REPEAT }, 9);
}

/// Another one.
#[test]
fn a_repeat_in_the_same_millisecond_confuses_nobody() {
    let config = Config { second_ms: 0, restarts: 0, latest_submit: 0, instants: &[0, 1_000_000], ..REPEAT };
    explore_up_to(&config, 9, 12);
}
