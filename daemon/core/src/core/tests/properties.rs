//! Laws that hold for every interleaving of requests, copies, results, restarts, lockouts and jumps of time.

use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

mod world;

use world::World;

#[derive(Debug, Clone)]
enum Step {
    /// A call, or a later attempt of one. The same number of attempt and maker is the same bytes.
    Send {
        id: u128,
        name: usize,
        budget: u64,
        /// By how much `not_after` is later than the budget alone would make it.
        slack: u64,
        attempt: u32,
        deadline: Deadline,
        client: usize,
    },
    /// The same bytes as an earlier request.
    Repeat(Index),
    /// A running call ends, done or refused.
    End(Index, bool),
    /// The journal writes a line, or fails to.
    Write(bool),
    /// Time passes: so many milliseconds.
    Wait(u64),
    /// The wall clock is trusted, or not any more.
    Trust(bool),
    Lock(bool),
    Stop,
    Abandon,
    /// The process is killed and starts again; so many lines of the journal that it had not synced survive.
    Restart(Index),
    /// Other methods are on offer: one of the sets of [`offers`].
    Reload(usize),
}

#[derive(Debug, Clone, Copy)]
enum Deadline {
    Own,
    OfAnotherIncarnation,
    ByTimestamp,
}

const NAMES: [&str; 6] = ["set", "stop", "safe", "wide", "patient", "level"];

/// Sets of methods. `level` is polled in some of them, and never journaled; `stop` is always a stop.
fn offers() -> Vec<Offer> {
    let mut all = (*settings().offer).clone();
    let polled = settings::Method { poll: Some(Duration::from_millis(700)), ..method("window") };
    all.methods.insert("level".into(), polled);
    let mut few = all.clone();
    few.methods.retain(|name, _| !matches!(name.as_str(), "level" | "set" | "safe" | "halt" | "wide"));
    few.lanes.remove("wide");
    let mut other = all.clone();
    other.lanes =
        [("window".into(), lane(2, 0)), ("wide".into(), lane(1, 0)), ("new".into(), lane(1, 1))].into();
    other.methods.insert("patient".into(), method("new"));
    other
        .methods
        .insert("safe".into(), settings::Method { on_timeout: Some("set".into()), ..method("window") });
    other.methods.insert("level".into(), settings::Method { idempotent: true, ..method("window") });
    let mut closed = all.clone();
    closed.methods.insert("wide".into(), settings::Method { allow: Some(Vec::new()), ..method("wide") });
    closed.methods.get_mut("level").unwrap().lane = "wide".into();
    // What is the same in two sets is known to be.
    let mut sets = vec![all, few, other, closed];
    for set in &mut sets {
        let lanes = set.lanes.clone();
        for method in set.methods.values_mut() {
            let mut hasher = DefaultHasher::new();
            format!("{method:?} {:?}", lanes.get(&*method.lane)).hash(&mut hasher);
            method.identity = Some(Uuid::from_u128(hasher.finish().into()));
        }
    }
    sets
}

fn step() -> impl Strategy<Value = Step> {
    let deadline = prop_oneof![
        6 => Just(Deadline::Own), 1 => Just(Deadline::OfAnotherIncarnation), 3 => Just(Deadline::ByTimestamp),
    ];
    prop_oneof![
        12 => (0..12_u128, 0..NAMES.len(), 1..2_000_u64, prop_oneof![3 => Just(0), 1 => 0..6_000_u64], 1..4_u32, deadline, 0..3_usize).prop_map(
            |(id, name, budget, slack, attempt, deadline, client)| Step::Send { id, name, budget, slack, attempt, deadline, client }
        ),
        6 => any::<Index>().prop_map(Step::Repeat),
        8 => (any::<Index>(), any::<bool>()).prop_map(|(which, done)| Step::End(which, done)),
        4 => prop::bool::weighted(0.9).prop_map(Step::Write),
        8 => prop_oneof![9 => 0..3_000_u64, 1 => 0..100_000_u64].prop_map(Step::Wait),
        2 => any::<bool>().prop_map(Step::Trust),
        1 => any::<bool>().prop_map(Step::Lock),
        1 => Just(Step::Stop),
        1 => Just(Step::Abandon),
        2 => any::<Index>().prop_map(Step::Restart),
        3 => (0..4_usize).prop_map(Step::Reload),
    ]
}

proptest! {
    // PROPTEST_CASES=100000 is the long form.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, ..ProptestConfig::default() })]

    #[test]
    fn laws(journal in any::<bool>(), steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(journal);
        for step in steps {
            world.step(&step);
        }
        world.finish();
    }
}
