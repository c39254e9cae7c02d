//! Plugins that mean no good, behind the real gateway: they cost their own callers something, and nobody else.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use nowd_cloud::Invoker;
use nowd_plugin::{BootInstant, Deadline};
use nowd_testkit::{Process, within};
use tokio::task::JoinSet;

use crate::bed::{Bed, PATIENCE, request, within_ms, words};
use crate::local::gateway;
use crate::plugins::{gate, until};

mod somebody;

const GATE: &str = r#"
[plugin]
name = "com.example.Gate"
path = "/com/example/Gate"
"#;

const HOSTILE: &str = r#"
[plugin]
name = "com.example.Hostile"
path = "/com/example/Hostile"
[methods."hostile.call"]
"#;

/// How long each does its worst.
const WORST: Duration = Duration::from_millis(2_500);

/// How much more memory the gateway may take for it, in KiB.
const ROOM: u64 = 64 * 1024;

/// A mode of `hostile.py`, and what may be said of its own calls beside [`HONEST`], by method.
struct Mode {
    name: &'static str,
    /// Whether it describes methods, and stays long enough to be heard.
    describes: bool,
    calls: &'static [(&'static str, &'static [&'static str])],
}

const OK: &str = "ok executed";
const FAILED: &str = "failed unknown";
const DONE: &str = "failed executed";
const UNKNOWN_METHOD: &str = "unknown_method not_executed";

/// What may be said of any call that was not answered in time, or to which nobody was there.
const HONEST: &[&str] = &[
    "timeout unknown",
    "expired not_executed",
    "busy not_executed",
    "unavailable not_executed",
    "no_reply unknown",
];

/// Where nothing was ever described.
const NEVER: &[(&str, &[&str])] = &[("hostile.call", &[]), ("hostile.1", &[UNKNOWN_METHOD])];

const fn mode(
    name: &'static str,
    describes: bool,
    calls: &'static [(&'static str, &'static [&'static str])],
) -> Mode {
    Mode { name, describes, calls }
}

const MODES: &[Mode] = &[
    mode("flood", true, &[("hostile.call", &[OK, FAILED])]),
    mode("flap", false, &[("hostile.call", &[OK, FAILED])]),
    mode("changed", true, &[("hostile.call", &[OK])]),
    mode("restless", true, &[("hostile.call", &[OK])]),
    mode("garbage", true, GARBAGE),
    mode("garbage-description", false, NEVER),
    mode("huge", true, &[("hostile.call", &[FAILED])]),
    mode("huge-description", false, NEVER),
    mode("many", false, NEVER),
    mode("mute", false, NEVER),
    mode("silent", true, &[("hostile.call", &[])]),
];

const GARBAGE: &[(&str, &[&str])] = &[
    ("hostile.call", &[]),
    ("hostile.no_values", &[FAILED]),
    ("hostile.one_value", &[FAILED]),
    ("hostile.other_types", &[FAILED]),
    ("hostile.more_values", &[FAILED]),
    ("hostile.nested", &[FAILED]),
    ("hostile.not_json", &[DONE]),
    ("hostile.empty", &[FAILED]),
    ("hostile.no_such_outcome", &[FAILED]),
    ("hostile.contradiction", &[FAILED]),
    ("hostile.refused_but_done", &[FAILED]),
    ("hostile.no_such_status", &[DONE]),
    ("hostile.deep", &[DONE]),
    ("hostile.deep_error", &[FAILED]),
    ("hostile.too_long", &[DONE]),
    ("hostile.controls", &[FAILED]),
    ("hostile.number_of_a_thousand_digits", &[DONE]),
    ("hostile.error", &[FAILED]),
    ("hostile.no_reply", &[FAILED]),
    ("hostile.unknown_method", &[FAILED]),
];

/// Runs one that means no good.
fn hostile(bed: &Bed, mode: &str) -> Process {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/hostile/hostile.py");
    Process::spawn("/usr/bin/python3", &[program, mode], &[("NOWD_BUS", &bed.bus.address())])
}

/// A figure of the kernel's about the process, in KiB; there is none of one that has ended.
fn memory(process: &Process, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A plugin, a map and the simulator: what must not be disturbed.
const GOOD: [(&str, &str); 3] = [("gate.open", "{}"), ("window.set", "{\"percent\":40}"), ("echo", "{}")];

/// How long the good calls take, one after the other, as long as `more` says; each must be `ok`.
async fn good(cloud: &Invoker, more: impl Fn(usize) -> bool) -> BTreeMap<&'static str, Duration> {
    let mut took: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut round = 0;
    while more(round) {
        for (method, json) in GOOD {
            let began = BootInstant::now();
            let answer = cloud.invoke(request(method, json)).await;
            assert_eq!(answer.status.as_str(), "ok", "{method}: {}, {:?}", words(&answer), answer.error);
            took.entry(method).or_default().push(BootInstant::now().saturating_since(began));
        }
        round += 1;
    }
    let median = |mut took: Vec<Duration>| {
        took.sort();
        took[took.len() / 2]
    };
    took.into_iter().map(|(method, took)| (method, median(took))).collect()
}

/// The good calls alone, and then beside whatever is bad while the future lasts. Prints the medians, and how much memory the
/// gateway has taken.
async fn beside(what: &str, gateway: &Process, cloud: &Invoker, bad: impl Future<Output = ()>) {
    let alone = good(cloud, |round| round < 30).await;
    let before = memory(gateway, "VmRSS");
    let over = Cell::new(false);
    let bad = async {
        bad.await;
        over.set(true);
    };
    let (beside, ()) = tokio::join!(good(cloud, |_| !over.get()), bad);
    let (most, after) = (memory(gateway, "VmHWM"), memory(gateway, "VmRSS"));
    let medians: Vec<String> = GOOD
        .iter()
        .map(|(method, _)| {
            let (alone, beside) = (alone[method], beside[method]);
            format!("{method} {alone:.1?} -> {beside:.1?}")
        })
        .collect();
    println!("beside {what}: {}; {before} KiB -> {after}, at most {most}", medians.join(", "));
    for (method, alone) in alone {
        let beside = beside[method];
        assert!(
            beside < alone * 20 || beside < Duration::from_millis(100),
            "{method} beside {what}: {alone:?} alone, {beside:?} beside"
        );
    }
    assert!(most < before + ROOM, "{most} KiB beside {what}, {before} before");
}

/// The calls of one that means no good, for a while, several at a time: what is said of them, by method.
async fn its_own(cloud: &Invoker, mode: &Mode) -> BTreeMap<&'static str, BTreeSet<String>> {
    let until = Deadline::after(WORST);
    let mut said: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    while until.check().is_ok() {
        for (method, _) in mode.calls {
            let ask = || cloud.invoke(within_ms(method, "{}", 500));
            let (one, other) = tokio::join!(ask(), ask());
            for answer in [one, other] {
                let words = format!("{} {}", answer.status.as_str(), answer.outcome.as_str());
                said.entry(method).or_default().insert(words);
            }
        }
    }
    said
}

async fn next_to(mode: &Mode) {
    let mut bed = Bed::new().await;
    bed.drop_in("gate", GATE);
    bed.drop_in("hostile", HOSTILE);
    let mut tasks = JoinSet::new();
    let _gate = gate(&bed, &mut tasks, &["gate.open"]);
    let gateway = gateway(&bed).await;
    let cloud = bed.cloud().await;
    until(&cloud, "gate.open", "ok executed \"gate.open\"").await;
    let (mut plague, mut said) = (None, BTreeMap::new());
    let bad = async {
        let process = plague.insert(hostile(&bed, mode.name));
        process.wait_for_line(PATIENCE, "ready").await;
        if mode.describes {
            gateway.wait_for_line(PATIENCE, "com.example.Hostile describes").await;
            // What it describes is on offer a moment later.
            let (last, _) = mode.calls.last().unwrap();
            let known =
                async || cloud.invoke(within_ms(last, "{}", 500)).await.status.as_str() != "unknown_method";
            within(PATIENCE, "its methods on offer", async { while !known().await {} }).await;
        }
        said = its_own(&cloud, mode).await;
    };
    beside(mode.name, &gateway, &cloud, bad).await;
    println!("    {said:?}");
    for (method, may) in mode.calls {
        for found in &said[method] {
            assert!(may.iter().chain(HONEST).any(|may| may == found), "{}: {method} is {found:?}", mode.name);
        }
    }
}

/// One after the other: together they would measure each other.
#[tokio::test]
async fn plugins_that_mean_no_good_hurt_nobody_else() {
    for mode in MODES {
        next_to(mode).await;
    }
}
