//! A loss of power at any write: what the gateway keeps on disk is whole, or is said not to be.
//!
//! What the program does to its files is recorded, and every state that a disk could be left in is tried.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nowd_cloud::{CallRequest, Invoker};
use nowd_protocol::Uuid;
use nowd_testkit::{Process, Recording, World, recorded, snapshot, within};
use tempfile::TempDir;

use crate::bed::{Bed, PATIENCE, comes_back, nowd, request, words};

const NOWD: &str = env!("CARGO_BIN_EXE_nowd");

/// A gateway of its own, whose broker is never there.
struct Lonely {
    folder: TempDir,
}

impl Lonely {
    fn new() -> Self {
        let lonely = Self { folder: tempfile::tempdir().unwrap() };
        let text = format!(
            "target = \"gw-1\"\nstate_dir = \"{}\"\n[link]\nendpoint = \"127.0.0.1:1\"\ntls = false\n[bus]\nserve = false\n",
            lonely.state().display()
        );
        fs::write(lonely.config(), text).unwrap();
        lonely
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("nowd.toml")
    }

    /// Runs `nowd` to its end, recorded, and says how it ended.
    async fn record(&self, args: &[&str], said: &'static str) -> (Recording, i32) {
        let before = snapshot(&self.state());
        let log = self.folder.path().join("log");
        let mut command = recorded(NOWD, &log);
        command.args(args).arg("--config").arg(self.config());
        let mut process = Process::start(command);
        let code = process.exit(PATIENCE).await.code().unwrap();
        let is_mark = |_: &str, bytes: &[u8]| String::from_utf8_lossy(bytes).contains(said);
        (Recording::new(&log, &self.state(), before, is_mark), code)
    }

    /// Starts the gateway in this world, and says what it says of a lockout.
    async fn says(&self, world: &World) -> String {
        world.make(&self.state());
        let mut gateway = nowd(&["run", "--config", self.config().to_str().unwrap()]);
        gateway.wait_for_line(PATIENCE, "the link is down").await;
        gateway.terminate();
        gateway.exit(PATIENCE).await;
        let lines = gateway.lines();
        let told = lines.iter().find_map(|line| line.split_once("locked out on site: "));
        told.map(|(_, reason)| reason.to_owned()).unwrap_or_default()
    }
}

fn is_lockout(name: &Path) -> bool {
    name.to_string_lossy().starts_with("lockout")
}

/// The lockout's file in each world in which so much was said: its reason, or what it is instead.
fn reasons(recording: &Recording, marks: usize) -> BTreeSet<String> {
    let worlds = recording.worlds(is_lockout).filter(|world| world.marks == marks);
    let reason = |world: World| match world.file("lockout") {
        None => "none".to_owned(),
        Some(bytes) => serde_json::from_slice::<serde_json::Value>(bytes).map_or_else(
            |_| format!("torn: {bytes:?}"),
            |order| order.get("reason").map(ToString::to_string).unwrap_or_default(),
        ),
    };
    worlds.map(reason).collect()
}

#[tokio::test]
async fn a_lockout_is_whole_or_not_there_and_stays_once_it_was_said() {
    let lonely = Lonely::new();
    // Nobody answers, which is told; that it holds is told too.
    let (locking, code) =
        lonely.record(&["lock", "--reason", "a hand in the gate", "--wait", "0s"], "locked").await;
    assert_eq!(code, 75);
    let whole = "\"a hand in the gate\"".to_owned();
    assert_eq!(reasons(&locking, 0), ["none".to_owned(), whole.clone()].into());
    assert_eq!(reasons(&locking, 1), [whole].into(), "it was said to be locked");
    let mut found = BTreeSet::new();
    for world in locking.worlds(|name| !name.starts_with("audit")) {
        let said = lonely.says(&world).await;
        let expected = if world.file("lockout").is_some() { "a hand in the gate" } else { "" };
        assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{world:?}: {said}");
        found.insert(said.is_empty());
    }
    assert_eq!(found.len(), 2, "both were tried");
}

#[tokio::test]
async fn a_lockout_that_was_said_to_be_gone_does_not_come_back() {
    let lonely = Lonely::new();
    lonely.record(&["lock", "--reason", "x", "--wait", "0s"], "locked").await;
    let (unlocking, code) = lonely.record(&["unlock"], "unlocked").await;
    assert_eq!(code, 0);
    assert_eq!(reasons(&unlocking, 0), ["none".to_owned(), "\"x\"".to_owned()].into());
    assert_eq!(reasons(&unlocking, 1), ["none".to_owned()].into(), "it was said to be unlocked");
}

fn arm(id: Uuid) -> CallRequest {
    CallRequest { id: Some(id), caller: Some("arn:x".into()), ..request("alarm.arm", r#"{"zone":1}"#) }
}

async fn is_known(cloud: &Invoker, id: Uuid) -> bool {
    let question = CallRequest {
        caller: Some("arn:x".into()),
        ..request("nowd.outcome", &format!(r#"{{"id":"{id}"}}"#))
    };
    let answer = cloud.invoke(question).await;
    assert_eq!(answer.status.as_str(), "ok", "{answer:?}");
    answer.response.get() != r#"{"state":"not_known"}"#
}

#[tokio::test]
async fn what_has_acted_is_in_the_journal_whenever_the_power_goes() {
    let mut bed = Bed::new().await;
    let state = bed.folder.path().join("state");
    let before = snapshot(&state);
    let log = bed.folder.path().join("log");
    let mut command = recorded(NOWD, &log);
    command.args(["run", "--set", "journal.enabled=true", "--config"]).arg(bed.config());
    let mut gateway = Process::start(command);
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    for id in ids {
        assert_eq!(words(&cloud.invoke(arm(id)).await), r#"ok executed {"state":"armed"}"#);
    }
    gateway.terminate();
    gateway.exit(PATIENCE).await;
    let acts = |path: &str, bytes: &[u8]| path.starts_with("/dev/pts/") && bytes.starts_with(b"ARM");
    let recording = Recording::new(&log, &state, before, acts);
    let is_journal = |name: &Path| name.to_string_lossy().starts_with("journal");
    let mut tried = BTreeSet::new();
    for (number, world) in recording.worlds(is_journal).enumerate() {
        // While the file is being made there are many worlds that are alike: nothing has acted yet.
        if world.marks == 0 && number % 16 != 0 {
            continue;
        }
        world.make(&state);
        let mut gateway = bed.gateway_with(&["--set", "journal.enabled=true"]).await;
        let cloud = bed.cloud().await;
        within(Duration::from_secs(60), "the gateway", comes_back(&cloud)).await;
        for id in ids.iter().take(world.marks) {
            assert!(is_known(&cloud, *id).await, "{id} acted at {} ({})", world.step, world.how);
        }
        tried.insert(world.marks);
        gateway.kill();
    }
    assert_eq!(tried, [0, 1, 2].into(), "before, between and after");
}

/// nowd never writes to its configuration. Of what an editor left behind it says what is missing or cannot be read; a file that ends
/// after a whole line is one that somebody may have meant.
#[tokio::test]
async fn a_configuration_that_is_cut_off_anywhere_is_sound_or_told_by_name() {
    let lonely = Lonely::new();
    let whole = fs::read(lonely.config()).unwrap();
    let maps = lonely.folder.path().join("methods.d");
    fs::create_dir(&maps).unwrap();
    let map = b"[simulator]\n[methods.\"lamp.set\"]\nparams.level = { type = \"integer\", maximum = 9 }\ntimeout = \"1s\"\n";
    let mut told = 0;
    for (file, content) in [(lonely.config(), whole.as_slice()), (maps.join("lamp.toml"), map.as_slice())] {
        for length in 0..content.len() {
            fs::write(&file, content.get(..length).unwrap()).unwrap();
            let mut check = nowd(&["check", "--config", lonely.config().to_str().unwrap()]);
            let code = check.exit(PATIENCE).await.code().unwrap();
            let said = check.lines().join("\n");
            let name = file.file_name().unwrap().to_str().unwrap();
            let is_told = said.contains(name) || said.contains("is not set");
            assert!(code == 0 || code == 78 && is_told, "{length} bytes of {name}: {code} {said}");
            assert!(!said.contains("panicked"), "{said}");
            told += usize::from(code == 78);
        }
        fs::write(&file, content).unwrap();
    }
    assert!(told > 100, "most cuts are no TOML, or leave something out that must be there: {told}");
}
