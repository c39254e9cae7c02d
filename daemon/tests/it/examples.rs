//! The example plugins keep the contract `io.nowd.Plugin1`: asked over a real bus by a raw client, frozen, killed, and with
//! the bus restarted under them. The same for each language.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nowd_plugin::BootInstant;
use nowd_plugin::clock::boottime_micros;
use nowd_plugin::service::{Description, INTERFACE};
use nowd_testkit::{Bus, Process, require, wait_for, within};
use tempfile::TempDir;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use crate::bed::{PATIENCE, nowd};

mod gateway;

const NAME: &str = "com.example.Gate";
const PATH: &str = "/com/example/Gate";

/// A budget that outlasts any test.
const LONG: Duration = Duration::from_secs(600);

/// How one of the examples is started.
struct Example {
    language: &'static str,
    command: Vec<PathBuf>,
    /// Whether it connects again by itself when the bus was gone; else it ends, and its supervisor starts it.
    connects_again: bool,
    /// What was built for this test.
    _folder: Option<TempDir>,
}

/// Those whose bus is all their own; the one in Rust has the tests of the crate that does it for it.
fn examples() -> Vec<Example> {
    vec![python(), c()]
}

fn all() -> Vec<Example> {
    vec![python(), c(), rust()]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples")
}

fn python() -> Example {
    let command = vec!["/usr/bin/python3".into(), folder().join("python/gate.py")];
    Example { language: "Python", command, connects_again: false, _folder: None }
}

/// Built as its README says, with what finds mistakes and leaks: any of them ends it with another status than 0.
fn c() -> Example {
    for command in ["cc", "make", "pkg-config"] {
        require(command);
    }
    let built = tempfile::tempdir().unwrap();
    let source = folder().join("c");
    let output = Command::new("make")
        .arg("-C")
        .arg(built.path())
        .arg("-f")
        .arg(source.join("Makefile"))
        .arg(format!("VPATH={}", source.display()))
        .arg("CFLAGS=-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let command = vec![built.path().join("gate")];
    Example { language: "C", command, connects_again: false, _folder: Some(built) }
}

/// A program of this workspace. `.ci/test` has built it with all others; else cargo does, which takes its time.
fn rust() -> Example {
    let bin = Path::new(env!("CARGO_BIN_EXE_nowd")).parent().unwrap();
    let gate = bin.join("gate");
    let sources = [folder().join("rust/src"), folder().join("../sdk/src")];
    let newest = sources.iter().map(|folder| changed(folder)).max();
    if fs::metadata(&gate).and_then(|built| built.modified()).ok() < newest {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let output = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--profile", profile, "-p", "nowd-example-gate", "--bin", "gate"])
            .arg("--target-dir")
            .arg(bin.parent().unwrap())
            .current_dir(folder())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Example { language: "Rust", command: vec![gate], connects_again: true, _folder: None }
}

/// When something in a folder was changed last.
fn changed(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let of = |entry: fs::DirEntry| {
        if entry.path().is_dir() {
            changed(&entry.path())
        } else {
            entry.metadata().unwrap().modified().unwrap()
        }
    };
    entries.map(of).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A bus, a gate on it, and somebody who asks it.
struct Bench {
    bus: Bus,
    client: Connection,
    folder: TempDir,
    travel: &'static str,
}

/// Status, outcome and response of a call.
type Said = (String, String, String);

impl Bench {
    /// `travel` is how long the gate moves, in milliseconds.
    async fn new(travel: &'static str) -> Self {
        let bus = Bus::start();
        let client = connect(&bus).await;
        Self { bus, client, folder: tempfile::tempdir().unwrap(), travel }
    }

    fn record_file(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    /// Starts it, and waits until it has its name.
    async fn start(&self, example: &Example) -> Process {
        let gate = self.launch(example);
        let bus = DBusProxy::new(&self.client).await.unwrap();
        within(PATIENCE, "the gate on the bus", async {
            while !bus.name_has_owner(BusName::try_from(NAME).unwrap()).await.unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        gate
    }

    fn launch(&self, example: &Example) -> Process {
        launch(example, &self.bus, &self.record_file(), self.travel)
    }

    async fn invoke(&self, id: &str, method: &str, request: &str, not_after_us: u64) -> zbus::Result<Said> {
        let body = (id, method, request, not_after_us);
        let call = self.client.call_method(Some(NAME), PATH, Some(INTERFACE), "Invoke", &body);
        within(PATIENCE, "an answer", call).await?.body().deserialize()
    }

    async fn says(&self, id: &str, method: &str, request: &str) -> Said {
        self.invoke(id, method, request, in_time(LONG)).await.unwrap()
    }

    async fn cancel(&self, id: &str) {
        let body = (id,);
        let call = self.client.call_method(Some(NAME), PATH, Some(INTERFACE), "Cancel", &body);
        within(PATIENCE, "an answer to Cancel", call).await.unwrap();
    }

    /// What it did for a call.
    fn acted(&self, id: &str) -> Vec<String> {
        let all = records(&self.record_file()).into_iter();
        all.filter(|record| record.id == id).map(|record| record.what).collect()
    }

    async fn moves(&self, id: &str) {
        wait_for(PATIENCE, "the gate to move", || !self.acted(id).is_empty()).await;
    }

    async fn works(&self, example: &Example, id: &str) {
        let said = self.says(id, "gate.position", "{}").await;
        assert_eq!((said.0.as_str(), said.1.as_str()), ("ok", "executed"), "{}: {said:?}", example.language);
    }
}

/// What a gate did, and for which call.
struct Record {
    id: String,
    what: String,
}

/// What the gates of a test wrote down directly after acting. What came too late ends the test.
fn records(file: &Path) -> Vec<Record> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let read = |line: &str| {
        let words: [&str; 4] = line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
        let [at, id, limit, what] = words;
        let micros = |text: &str| text.parse::<u64>().unwrap();
        assert!(micros(at) < micros(limit), "it acted too late: {line}");
        Record { id: id.into(), what: what.into() }
    };
    text.lines().map(read).collect()
}

/// Starts it, with a motor that needs `travel` milliseconds for each way.
fn launch(example: &Example, bus: &Bus, record: &Path, travel: &str) -> Process {
    let (program, args) = example.command.split_first().unwrap();
    let address = bus.address();
    let env = [
        ("NOWD_BUS", address.as_str()),
        ("GATE_TRAVEL_MS", travel),
        ("GATE_RECORD", record.to_str().unwrap()),
    ];
    Process::spawn(program, args, &env)
}

async fn connect(bus: &Bus) -> Connection {
    let address = bus.address();
    zbus::connection::Builder::address(address.as_str()).build().await.unwrap()
}

/// `budget` from now, in microseconds of `CLOCK_BOOTTIME`.
fn in_time(budget: Duration) -> u64 {
    boottime_micros(BootInstant::now().saturating_add(budget))
}

/// Freezes it, and waits until it is frozen.
async fn freeze(gate: &Process) {
    gate.pause();
    let stat = format!("/proc/{}/stat", gate.id());
    wait_for(PATIENCE, "a frozen process", || fs::read_to_string(&stat).unwrap().contains(") T ")).await;
}

async fn ends_well(mut gate: Process, language: &str) {
    gate.terminate();
    let status = gate.exit(PATIENCE).await;
    assert!(status.success(), "{language}: {status}\n{}", gate.lines().join("\n"));
}

#[tokio::test]
async fn each_describes_itself_and_answers_honestly() {
    for example in examples() {
        let language = example.language;
        let bench = Bench::new("20").await;
        let gate = bench.start(&example).await;
        let described = bench.client.call_method(Some(NAME), PATH, Some(INTERFACE), "Describe", &()).await;
        let text: String = described.unwrap().body().deserialize().unwrap();
        let described = Description::parse(&text, NAME).unwrap();
        let names: Vec<_> = described.methods.iter().map(|method| method.name.as_str()).collect();
        assert_eq!(names, ["gate.halt", "gate.open", "gate.position"], "{language}");
        assert_eq!(described.methods[1].policy.on_timeout.as_deref(), Some("gate.halt"), "{language}");
        let health =
            bench.client.call_method(Some(NAME), PATH, Some(INTERFACE), "Health", &()).await.unwrap();
        assert_eq!(health.body().deserialize::<(String, String)>().unwrap().0, "ok", "{language}");

        for (id, method, request, budget, status, outcome) in [
            ("open", "gate.open", r#"{"percent": 40}"#, LONG, "ok", "executed"),
            ("position", "gate.position", "{}", LONG, "ok", "executed"),
            ("null", "gate.position", "null", LONG, "ok", "executed"),
            ("halt", "gate.halt", "{}", LONG, "ok", "executed"),
            ("late", "gate.open", r#"{"percent": 0}"#, Duration::ZERO, "expired", "not_executed"),
            ("late-look", "gate.position", "{}", Duration::ZERO, "expired", "not_executed"),
            ("late-halt", "gate.halt", "{}", Duration::ZERO, "expired", "not_executed"),
            ("much", "gate.open", r#"{"percent": 101}"#, LONG, "invalid_request", "not_executed"),
            ("bool", "gate.open", r#"{"percent": true}"#, LONG, "invalid_request", "not_executed"),
            ("more", "gate.open", r#"{"percent": 1, "x": 1}"#, LONG, "invalid_request", "not_executed"),
            ("none", "gate.open", "{}", LONG, "invalid_request", "not_executed"),
            ("list", "gate.open", "[]", LONG, "invalid_request", "not_executed"),
            ("halt-more", "gate.halt", r#"{"x": 1}"#, LONG, "invalid_request", "not_executed"),
            ("not-json", "gate.open", "{oops", LONG, "invalid_request", "not_executed"),
            ("unknown", "gate.close", "{}", LONG, "unavailable", "not_executed"),
        ] {
            let said = bench.invoke(id, method, request, in_time(budget)).await.unwrap();
            assert_eq!((said.0.as_str(), said.1.as_str()), (status, outcome), "{language} {id}: {said:?}");
            let moves = status == "ok" && method != "gate.position";
            assert_eq!(!bench.acted(id).is_empty(), moves, "{language} {id}");
        }
        let position: serde_json::Value =
            serde_json::from_str(&bench.says("where", "gate.position", "{}").await.2).unwrap();
        assert_eq!(position["position"], 40, "{language}");
        ends_well(gate, language).await;
    }
}

#[tokio::test]
async fn each_stops_when_told_to_and_lets_others_through_meanwhile() {
    for example in examples() {
        let language = example.language;
        let bench = Bench::new("60000").await;
        let gate = bench.start(&example).await;
        for (id, by, status) in [("cancelled", "cancel", "timeout"), ("halted", "gate.halt", "failed")] {
            let meanwhile = async {
                bench.moves(id).await;
                bench.works(&example, "meanwhile").await;
                let second = bench.says("second", "gate.open", r#"{"percent": 1}"#).await;
                assert_eq!((second.0.as_str(), second.1.as_str()), ("refused", "not_executed"), "{language}");
                bench.cancel("somebody-else").await;
                if by == "cancel" {
                    bench.cancel(id).await;
                } else {
                    assert_eq!(bench.says("halt", by, "{}").await.0, "ok", "{language}");
                }
            };
            let (said, ()) = tokio::join!(bench.says(id, "gate.open", r#"{"percent": 100}"#), meanwhile);
            assert_eq!((said.0.as_str(), said.1.as_str()), (status, "unknown"), "{language}: {said:?}");
        }
        // In the middle of a call.
        let call = bench.invoke("last", "gate.open", r#"{"percent": 100}"#, in_time(LONG));
        let end = async {
            bench.moves("last").await;
            ends_well(gate, language).await;
        };
        let (gone, ()) = tokio::join!(call, end);
        assert!(gone.is_err(), "{language}: {gone:?}");
    }
}

#[tokio::test]
async fn each_that_was_frozen_past_the_deadline_does_not_act() {
    for example in examples() {
        let language = example.language;
        let bench = Bench::new("20").await;
        let gate = bench.start(&example).await;
        for (id, method, request) in
            [("open", "gate.open", r#"{"percent": 100}"#), ("halt", "gate.halt", "{}")]
        {
            freeze(&gate).await;
            let limit = in_time(Duration::from_millis(100));
            let thaw = async {
                wait_for(PATIENCE, "the deadline", || in_time(Duration::ZERO) > limit).await;
                gate.resume();
            };
            let (said, ()) = tokio::join!(bench.invoke(id, method, request, limit), thaw);
            let said = said.unwrap();
            assert_eq!(
                (said.0.as_str(), said.1.as_str()),
                ("expired", "not_executed"),
                "{language}: {said:?}"
            );
            assert!(bench.acted(id).is_empty(), "{language}");
        }
        bench.works(&example, "next").await;
        ends_well(gate, language).await;
    }
}

#[tokio::test]
async fn each_that_was_killed_in_mid_call_can_be_started_again() {
    for example in examples() {
        let bench = Bench::new("60000").await;
        let mut gate = bench.start(&example).await;
        let call = bench.invoke("killed", "gate.open", r#"{"percent": 100}"#, in_time(LONG));
        let kill = async {
            bench.moves("killed").await;
            gate.kill();
        };
        let (gone, ()) = tokio::join!(call, kill);
        assert!(gone.is_err(), "{}: {gone:?}", example.language);
        let gate = bench.start(&example).await;
        bench.works(&example, "next").await;
        ends_well(gate, example.language).await;
    }
}

#[tokio::test]
async fn each_is_there_again_after_the_bus_was() {
    for example in examples() {
        let mut bench = Bench::new("20").await;
        let mut gate = bench.start(&example).await;
        bench.bus.stop();
        let status = gate.exit(PATIENCE).await;
        assert!(!status.success(), "{}: its supervisor must start it again", example.language);
        // Without a bus it does not stay either.
        let status = bench.launch(&example).exit(PATIENCE).await;
        assert!(!status.success(), "{}: {status}", example.language);
        bench.bus.restart();
        bench.client = connect(&bench.bus).await;
        let gate = bench.start(&example).await;
        bench.works(&example, "next").await;
        // Two of them are one too many.
        let status = bench.launch(&example).exit(PATIENCE).await;
        assert!(!status.success(), "{}: {status}", example.language);
        ends_well(gate, example.language).await;
    }
}

/// What an author is told to run, and what it must say of each of them.
#[tokio::test]
async fn each_passes_the_conformance_test() {
    for example in all() {
        let program: Vec<&str> = example.command.iter().map(|word| word.to_str().unwrap()).collect();
        let there = r#"gate.open {"percent": 90}"#;
        let back = r#"gate.open {"percent": 0}"#;
        let args = ["plugin", "test", NAME, "--answer-within", "10s", "--call", there, "--call", back, "--"];
        let mut test = nowd(&[&args[..], &program].concat());
        let status = test.exit(PATIENCE).await;
        let said = test.lines().join("\n");
        assert!(status.success(), "{}:\n{said}", example.language);
        assert!(said.contains("0 FAIL"), "{}:\n{said}", example.language);
    }
}
