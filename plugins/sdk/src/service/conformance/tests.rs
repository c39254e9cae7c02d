//! A plugin that is right, and others that are each wrong in one way: the report must name what is wrong, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nowd_testkit::{Bus, Process, wait_for, within};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::rig::{Gate, NAME, OF_OWN, Wrong};
use super::bus::Client;
use super::*;

#[allow(clippy::wildcard_enum_match_arm, reason = "each is wrong in one place, and right in all others")]
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
    report.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn expect(report: &Report, fail: &[&str], warn: &[&str], skip: &[&str]) {
    let text = text(report);
    assert_eq!(of(report, Verdict::Fail), fail, "{text}");
    assert_eq!(of(report, Verdict::Warn), warn, "{text}");
    assert_eq!(of(report, Verdict::Skip), skip, "{text}");
}

const REAL: [&str; 6] = ["call", "late", "queued", "concurrent-calls", "meanwhile", "cancel"];
const LIFE: [&str; 4] = ["frozen", "killed", "terminated", "bus-gone"];

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
    for what in ["CLOCK_MONOTONIC", "at the start of the handler", "give a --call that takes more than"] {
        assert!(report.not_shown.iter().any(|line| line.contains(what)), "{what}: {:?}", report.not_shown);
    }
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

#[tokio::test]
async fn a_plugin_that_never_answers_is_told_soon() {
    let brief = |options: &mut Options| options.answer_within = BRIEF;
    let (report, _) = test(Wrong::Mute, brief).await;
    let skip = &["not-after", "wrong-params", "has-methods", "clock", "flood", "concurrent", "answers"];
    let fail = &["describe", "health", "unknown-method", "cancel-unknown", "garbage"];
    expect(&report, fail, &["interface"], &skipped(&[&REAL, &LIFE, skip]));
}

#[tokio::test]
async fn real_calls_show_what_the_others_cannot() {
    for (wrong, fail, skip) in [
        // Nothing harmless shows it where the method is looked up before the deadline.
        (Wrong::WallClock, &["call"][..], &["queued"][..]),
        (Wrong::DeadlineTooEarly, &["queued"], &[]),
        (Wrong::NoCancel, &["interface", "cancel-unknown", "cancel"], &[]),
        (Wrong::MisspeltStatus, &["call", "answers"], &["queued"]),
    ] {
        println!("{wrong:?}");
        let (report, _) = test(wrong, real).await;
        expect(&report, fail, &[], &skipped(&[&LIFE, skip]));
        let told = text(&report).contains("`done` is none of ok, sent, failed, ");
        assert_eq!(told, wrong == Wrong::MisspeltStatus);
    }
}

#[tokio::test]
async fn a_plugin_that_is_busy_with_a_call_hears_nothing() {
    let (report, _) = test(Wrong::BusyWithCalls, |options| {
        real(options);
        // Longer than a busy machine takes for the rest, shorter than the call.
        options.answer_within = Duration::from_secs(2);
        options.skip = ["call", "late", "queued", "concurrent-calls"].map(String::from).into();
    })
    .await;
    let failed = of(&report, Verdict::Fail);
    assert_eq!(failed, ["meanwhile", "cancel"], "{}", text(&report));
}

/// Not a test of its own: the plugin in a process of its own, for those below.
#[tokio::test]
async fn plugin_of_its_own() {
    let Ok(name) = std::env::var("NOWD_TEST_PLUGIN") else { return };
    let (_, wrong) = OF_OWN.into_iter().find(|(known, _)| *known == name).unwrap();
    let address = std::env::var("NOWD_BUS").unwrap();
    Gate::new(wrong).serve(&address, None).await;
}

fn own(name: &str) -> Program {
    let program = std::env::current_exe().unwrap();
    let set = format!("NOWD_TEST_PLUGIN={name}");
    let test = "service::conformance::tests::plugin_of_its_own";
    let command = ["env", &set, program.to_str().unwrap(), "--exact", test, "--nocapture"];
    Program::Own(command.iter().map(OsString::from).collect())
}

async fn test_own(name: &str) -> Report {
    test_own_with(name, |_| ()).await
}

async fn test_own_with(name: &str, change: impl FnOnce(&mut Options)) -> Report {
    let mut options = Options::new(NAME);
    options.answer_within = PATIENT;
    options.program = Some(own(name));
    change(&mut options);
    within(LONG, "the end of the test", run(&options, |_| ())).await.unwrap()
}

#[tokio::test]
async fn a_process_is_frozen_killed_terminated_and_left_without_a_bus() {
    let (nothing, freeze, stays, terminate) = tokio::join!(
        test_own("nothing"),
        test_own("forgets-freeze"),
        test_own("stays-without-bus"),
        test_own("ignores-terminate")
    );
    expect(&nothing, &[], &[], &REAL);
    expect(&freeze, &["frozen"], &[], &REAL);
    expect(&stays, &["bus-gone"], &[], &REAL);
    expect(&terminate, &["terminated"], &[], &REAL);
}

#[tokio::test]
async fn a_program_that_ends_by_itself_is_told_before_all_that_comes_of_it() {
    let report = test_own_with("ends-in-call", |options| {
        real(options);
        options.skip = LIFE.map(String::from).into();
    })
    .await;
    let failed = of(&report, Verdict::Fail);
    assert_eq!(failed, ["call", "late", "concurrent-calls", "meanwhile", "cancel"], "{}", text(&report));
    for finding in report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail) {
        assert!(finding.seen.starts_with("the program ended (exit status: 3); it said: "), "{finding}");
        assert!(finding.seen.contains("the motor is stuck"), "{finding}");
        assert!(finding.problems.first().unwrap().mend.starts_with("mend this first"), "{finding}");
        assert!(!finding.to_string().contains("implement Cancel"), "{finding}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_described_stops_the_test_before_anything_runs() {
    for (call, told) in [
        (
            ("gate.opne", json!({"percent": 40})),
            "describes no method of this name; did you mean `gate.open`?",
        ),
        (("gate.open", json!({"percent": 900})), "does not allow these parameters"),
        (("gate.open", json!({})), "does not allow these parameters"),
    ] {
        let bus = Bus::start();
        let mut options = Options::new(NAME);
        options.calls = vec![("gate.halt".into(), json!({})), (call.0.into(), call.1)];
        options.bus = Some(BusAddress::At(bus.address()));
        options.answer_within = PATIENT;
        options.program = Some(own("nothing"));
        let mut asked = 0;
        let wrong = within(LONG, "the end", run(&options, |_| asked += 1)).await.unwrap_err();
        assert!(matches!(wrong, Unreachable::Wrong(_)), "{wrong}");
        assert!(wrong.to_string().contains(told) && wrong.to_string().starts_with("--call '"), "{wrong}");
        assert_eq!(asked, 0);
    }
}

#[tokio::test]
async fn a_process_of_somebody_elses_is_started_again_by_a_command() {
    let bus = Bus::start();
    let Program::Own(command) = own("nothing") else { unreachable!() };
    let command = command.iter().map(|word| format!("'{}'", word.display())).collect::<Vec<_>>().join(" ");
    let address = bus.address();
    // It ends with its bus.
    let start = format!("NOWD_BUS='{address}' {command} >/dev/null 2>&1 &");
    let first = std::process::Command::new("sh").arg("-c").arg(&start).status().unwrap();
    assert!(first.success());
    let client = Client::connect(&BusAddress::At(address.clone())).await.unwrap();
    bench::arrival(&client, NAME, "", PATIENT).await.unwrap();
    let mut options = Options::new(NAME);
    options.answer_within = PATIENT;
    options.bus = Some(BusAddress::At(address));
    options.program = Some(Program::Restart(start.into()));
    let report = within(LONG, "the end of the test", run(&options, |_| ())).await.unwrap();
    expect(&report, &[], &[], &skipped(&[&REAL, &["bus-gone"]]));
    assert!(bench::arrival(&client, NAME, "", Duration::ZERO).await.is_some(), "it is left running");
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_to_do() {
    let bus = Bus::start();
    let mut options = Options::new(NAME);
    options.bus = Some(BusAddress::At(bus.address()));
    let said = |e: Unreachable| e.to_string();
    let told = run(&options, |_| ()).await.map_err(said).unwrap_err();
    assert!(told.starts_with("nobody owns the name com.example.Gate on the bus unix:path="), "{told}");
    options.program =
        Some(Program::Own(["sh", "-c", "echo no device on $NOWD_BUS; exit 3"].map(OsString::from).into()));
    let told = run(&options, |_| ()).await.map_err(said).unwrap_err();
    let bus_of_test = format!("no device on {}", bus.address());
    assert!(told.contains(&bus_of_test), "{told}");
    assert!(told.contains("its program has ended (exit status: 3)") && told.contains("no device"), "{told}");
    options.program = Some(Program::Own(vec!["/nowhere/gate".into()]));
    let told = run(&options, |_| ()).await.map_err(said).unwrap_err();
    assert!(told.starts_with("\"/nowhere/gate\" cannot be started"), "{told}");
    options.name = "gate".into();
    assert!(matches!(run(&options, |_| ()).await, Err(Unreachable::Wrong(_))));
}

#[tokio::test]
async fn a_policy_in_the_way_is_no_breach_of_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let (config, socket) = (folder.path().join("bus.conf"), folder.path().join("bus"));
    let text = format!(
        "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>\
         <allow receive_type=\"method_call\"/><allow receive_type=\"method_return\"/><allow receive_type=\"error\"/>\
         <allow receive_type=\"signal\"/></policy>\
         <policy context=\"mandatory\"><deny send_destination=\"{NAME}\"/></policy></busconfig>",
        socket.display()
    );
    std::fs::write(&config, text).unwrap();
    let option = format!("--config-file={}", config.display());
    let _bus = Process::spawn("dbus-daemon", &["--nofork", "--nopidfile", &option], &[]);
    wait_for(PATIENT, "the bus", || socket.exists()).await;
    let address = format!("unix:path={}", socket.display());
    let ready = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let (serving, at, told) = (Gate::new(Wrong::Nothing), address.clone(), Arc::clone(&ready));
    tasks.spawn(async move { serving.serve(&at, Some(told)).await });
    within(PATIENT, "the plugin on its bus", ready.notified()).await;
    let mut options = Options::new(NAME);
    options.bus = Some(BusAddress::At(address));
    options.answer_within = PATIENT;
    let told = run(&options, |_| ()).await.unwrap_err();
    assert!(matches!(told, Unreachable::Denied { .. }), "{told}");
    assert!(told.to_string().contains("does not let this user call com.example.Gate"), "{told}");
}

#[test]
fn names_are_stable_and_told_apart() {
    let names: std::collections::BTreeSet<&str> = Check::ALL.iter().map(|check| check.name()).collect();
    assert_eq!(names.len(), Check::ALL.len());
    assert_eq!(default_path("com.example.my-Gate"), "/com/example/my_Gate");
}
