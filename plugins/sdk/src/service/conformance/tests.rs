//! A plugin that is right, and others that are each wrong in one way: the report must name what is wrong, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nowd_testkit::{Bus, within};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::rig::{Gate, NAME, OF_OWN, Wrong};
use super::*;

mod rig;

/// A busy machine is no mistake of a plugin's; a plugin that never answers must not take long to show it.
const PATIENT: Duration = Duration::from_secs(10);
const BRIEF: Duration = Duration::from_millis(400);

const LONG: Duration = Duration::from_secs(100);

async fn test(wrong: Wrong, change: impl FnOnce(&mut Options)) -> (Report, Arc<Gate>) {
    let bus = Bus::start();
    let gate = Gate::new(wrong);
    let ready = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let (serving, address, told) = (Arc::clone(&gate), bus.address(), Arc::clone(&ready));
    tasks.spawn(async move { serving.serve(&address, Some(told)).await });
    within(PATIENT, "the plugin on its bus", ready.notified()).await;
    let mut options = Options::new(NAME);
    options.bus = Some(BusAddress::At(bus.address()));
    options.answer_within = PATIENT;
    change(&mut options);
    let report = within(LONG, "the end of the test", run(&options, |_| ())).await.unwrap();
    (report, gate)
}

fn real(options: &mut Options) {
    options.calls = vec![("gate.open".into(), json!({"percent": 40}))];
}

fn of(report: &Report, verdict: Verdict) -> Vec<&'static str> {
    let some = report.findings.iter().filter(|finding| finding.verdict == verdict);
    some.map(|finding| finding.check.name()).collect()
}

fn text(report: &Report) -> String {
    report.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[track_caller]
fn expect(report: &Report, fail: &[&str], warn: &[&str], skip: &[&str]) {
    let text = text(report);
    assert_eq!(of(report, Verdict::Fail), fail, "{text}");
    assert_eq!(of(report, Verdict::Warn), warn, "{text}");
    assert_eq!(of(report, Verdict::Skip), skip, "{text}");
}

const REAL: [&str; 5] = ["call", "late", "concurrent-calls", "meanwhile", "cancel"];
const LIFE: [&str; 4] = ["frozen", "killed", "terminated", "bus-gone"];
const MOVES: [&str; 5] = ["wrong-params", "has-methods", "garbage", "flood", "concurrent"];

fn skipped(groups: &[&[&'static str]]) -> Vec<&'static str> {
    let named = |check: &&Check| groups.iter().any(|group| group.contains(&check.name()));
    Check::ALL.iter().filter(named).map(|check| check.name()).collect()
}

#[tokio::test]
async fn a_plugin_that_is_right_passes_and_moves_nothing() {
    let (report, gate) = test(Wrong::Nothing, |_| ()).await;
    expect(&report, &[], &[], &skipped(&[&REAL, &LIFE]));
    assert_eq!(gate.moved.load(Ordering::SeqCst), 0, "harmless");
    assert_eq!(report.findings.len(), Check::ALL.len());
}

#[tokio::test]
async fn real_calls_are_run_when_they_are_allowed() {
    let (report, gate) = test(Wrong::Nothing, real).await;
    expect(&report, &[], &[], &skipped(&[&LIFE]));
    assert!(gate.moved.load(Ordering::SeqCst) >= 3, "{}", text(&report));
}

#[tokio::test]
async fn each_mistake_is_told_and_nothing_else() {
    for (wrong, fail, warn, skip) in [
        (
            Wrong::IgnoresDeadline,
            &["not-after"][..],
            &[][..],
            &["wrong-params", "garbage", "flood", "concurrent"][..],
        ),
        (
            Wrong::ContradictsItself,
            &["not-after", "answers"],
            &[],
            &["wrong-params", "garbage", "flood", "concurrent"],
        ),
        (Wrong::DescribesMore, &["has-methods"], &["not-after"], &[]),
        (
            Wrong::TooManyMethods,
            &["describe"],
            &[],
            &["not-after", "wrong-params", "has-methods", "flood", "concurrent"],
        ),
        (Wrong::NoCancel, &["interface", "cancel-unknown"], &[], &[]),
        (Wrong::NoIntrospection, &[], &["interface"], &[]),
        (Wrong::ParamsUnchecked, &["wrong-params"], &[], &[]),
        (Wrong::ChangesItsMind, &["describe"], &[], &[]),
        (Wrong::UnknownHealth, &["health"], &[], &[]),
        (Wrong::DiesOnGarbage, &["garbage"], &[], &["flood", "concurrent"]),
        (
            Wrong::AnswersNonsense,
            &["not-after", "unknown-method", "wrong-params", "garbage", "answers"],
            &[],
            &["wrong-params", "has-methods", "clock", "flood", "concurrent"],
        ),
        (
            Wrong::HugeAnswers,
            &["not-after", "unknown-method", "garbage"],
            &[],
            &["wrong-params", "has-methods", "clock", "flood", "concurrent", "answers"],
        ),
    ] {
        println!("{wrong:?}");
        let (report, _) = test(wrong, |_| ()).await;
        let fail: Vec<&str> = fail.iter().filter(|name| !skip.contains(name)).copied().collect();
        expect(&report, &fail, warn, &skipped(&[&REAL, &LIFE, skip]));
    }
}
