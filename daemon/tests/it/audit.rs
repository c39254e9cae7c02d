//! The audit record of the real program: what is in it, and that it is whole whatever happens to the gateway and its disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nowd_cloud::{CallRequest, Invoker};
use nowd_protocol::Uuid;
use nowd_testkit::{Process, wait_for, within};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::bed::{Bed, PATIENCE, TARGET, comes_back, nowd, request, within_ms, words};
use crate::local::{self, shell, status};

mod power;

/// A belt that is stopped when it was not done in time, and something with room for one that waits.
const MAPS: [(&str, &str); 2] = [
    (
        "belt",
        r#"
[simulator]
[methods."belt.run"]
delay = "1500ms"
on_timeout = "belt.stop"
[methods."belt.stop"]
internal = true
"#,
    ),
    (
        "slow",
        r#"
[simulator]
[lane]
depth = 1
[methods."slow"]
delay = "1s"
"#,
    ),
];

fn add_maps(bed: &Bed) {
    for (name, map) in MAPS {
        fs::write(bed.folder.path().join(format!("methods.d/{name}.toml")), map).unwrap();
    }
}

fn folder(bed: &Bed) -> PathBuf {
    bed.folder.path().join("state/audit")
}

/// All entries that are whole, in their order.
fn entries(folder: &Path) -> Vec<Value> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

async fn entry(folder: &Path, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let found = || entries(folder).into_iter().find(|entry| entry["what"] == what && is(entry));
    wait_for(PATIENCE, &format!("an entry {what:?} in {}", folder.display()), || found().is_some()).await;
    found().unwrap()
}

async fn call_of(folder: &Path, id: &str) -> String {
    let entry = entry(folder, "call", |entry| entry["id"] == id).await;
    let word = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    [word("method"), word("client"), word("caller"), word("status"), word("outcome")].join(" ")
}

/// Exit code and report of `nowd audit verify --json`.
async fn verify(folder: &Path, more: &[&str]) -> (i32, Value) {
    let args = [&["audit", "verify", "--json", folder.to_str().unwrap()], more].concat();
    let mut process = nowd(&args);
    let code = process.exit(PATIENCE).await.code().unwrap();
    let text = process.lines().join("\n");
    (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn end(gateway: &mut Process) {
    gateway.terminate();
    assert_eq!(gateway.exit(PATIENCE).await.code(), Some(0));
}

/// Makes a call under an id of its own, and says the id.
async fn ask(cloud: &Invoker, call: CallRequest, expected: &str) -> String {
    let id = Uuid::new_v4();
    let answer = cloud.invoke(CallRequest { id: Some(id), caller: Some("arn:ada".into()), ..call }).await;
    assert!(words(&answer).starts_with(expected), "{answer:?}");
    id.to_string()
}

#[tokio::test]
async fn however_a_call_ends_it_is_recorded() {
    let mut bed = Bed::new().await;
    add_maps(&bed);
    let mut gateway = local::gateway(&bed).await;
    let folder = folder(&bed);
    let cloud = bed.cloud().await;
    let observer = bed.observer().await;
    comes_back(&cloud).await;
    let client = cloud.client().as_str().to_owned();
    let ours = |method: &str, rest: &str| format!("{method} {client} arn:ada {rest}");

    for (call, status) in [
        (request("echo", r#""a secret""#), "ok executed"),
        (request("echo.closed", "1"), "forbidden not_executed"),
        (request("window.paint", "1"), "unknown_method not_executed"),
        (request("window.set", r#"{"percent":101}"#), "invalid_request not_executed"),
        (request("alarm.arm", r#"{"zone":9}"#), "refused not_executed"),
    ] {
        let method = call.method.as_str().to_owned();
        let id = ask(&cloud, call, status).await;
        assert_eq!(call_of(&folder, &id).await, ours(&method, status));
    }

    // Its deadline passes: a safe action, and a late result.
    let id = ask(&cloud, within_ms("belt.run", "1", 1_000), "timeout unknown").await;
    assert_eq!(call_of(&folder, &id).await, ours("belt.run", "timeout unknown"));
    let safe = entry(&folder, "safe_action", |entry| entry["method"] == "belt.stop").await;
    assert_eq!((&safe["status"], &safe["client"]), (&Value::from("ok"), &Value::Null));
    let late = entry(&folder, "late", |entry| entry["id"] == id.as_str()).await;
    assert!(late["status"].is_string() && late["caller"] == "arn:ada", "{late}");

    // Its lane is full.
    let mut all = JoinSet::new();
    for _ in 0..3 {
        let (cloud, call) = (cloud.clone(), request("slow", "1"));
        all.spawn(async move { words(&cloud.invoke(call).await) });
    }
    let mut answers = all.join_all().await;
    answers.sort();
    assert_eq!(answers[0], "busy not_executed null");
    let busy = entry(&folder, "call", |entry| entry["status"] == "busy").await;
    assert_eq!((&busy["method"], &busy["outcome"]), (&Value::from("slow"), &Value::from("not_executed")));

    // It comes too late; it comes twice; it is the sample's; it is none.
    let incarnation = status(&bed).await["incarnation"].as_str().unwrap().to_owned();
    let id = Uuid::new_v4().to_string();
    let late =
        format!(r#"{{"id":"{id}","timeout":900,"not_after":{{"incarnation":"{incarnation}","at":1}}}}"#);
    observer.say(&format!("{TARGET}/echo/cloud-x/{id}"), late);
    assert_eq!(call_of(&folder, &id).await, "echo cloud-x - expired not_executed");
    let id = Uuid::new_v4().to_string();
    for _ in 0..2 {
        observer
            .say(&format!("{TARGET}/echo/cloud-old/{id}"), format!(r#"{{"id":"{id}","request":"open"}}"#));
    }
    assert_eq!(call_of(&folder, &id).await, "echo cloud-old - ok executed");
    entry(&folder, "repeat", |entry| entry["id"] == id.as_str()).await;
    observer.say(&format!("{TARGET}/echo/{TARGET}/{id}"), format!(r#"{{"id":"{id}"}}"#));
    observer.say(&format!("{TARGET}/echo/cloud-x/{id}"), "nonsense");
    let reason = |entry: &Value| entry["reason"].as_str().unwrap_or_default().to_owned();
    entry(&folder, "dropped", |entry| reason(entry).contains("is this gateway itself")).await;
    entry(&folder, "dropped", |entry| !reason(entry).contains("is this gateway itself")).await;

    // From this machine.
    let id = Uuid::new_v4().to_string();
    let (code, text) = shell(&bed, &["call", "echo.closed", "1", "--id", &id, "--timeout", "20s"]).await;
    assert_eq!(code, 0, "{text}");
    let me = entry(&folder, "call", |entry| entry["id"] == id.as_str()).await;
    let caller = me["caller"].as_str().unwrap().to_owned();
    assert!(caller.starts_with("local:") && me["client"] == "nowd-local", "{me}");
    assert_eq!(shell(&bed, &["lock", "--reason", "a hand in the gate"]).await.0, 0);
    let locked = ask(&cloud, request("echo", "1"), "locked not_executed").await;
    assert_eq!(call_of(&folder, &locked).await, ours("echo", "locked not_executed"));
    let lockout = entry(&folder, "lockout", |_| true).await;
    assert_eq!((&lockout["reason"], &lockout["by"]), (&"a hand in the gate".into(), &caller.into()));
    let bus = bed.bus.address();
    assert_eq!(shell(&bed, &["unlock", "--bus", &bus]).await.0, 0);
    let unlock = entry(&folder, "unlock", |_| true).await;
    assert!(unlock["by"].is_null() || unlock["by"] == lockout["by"], "{unlock}");
    assert_eq!(shell(&bed, &["reload"]).await.0, 0);
    fs::write(bed.folder.path().join("methods.d/wrong.toml"), "nonsense").unwrap();
    assert_eq!(shell(&bed, &["reload"]).await.0, 78);
    entry(&folder, "reload", |entry| entry["error"].is_null()).await;
    entry(&folder, "reload", |entry| entry["error"].as_str().is_some_and(|e| e.contains("wrong.toml"))).await;

    let said = status(&bed).await["audit"].clone();
    assert_eq!((&said["state"], &said["lost"], &said["error"]), (&"ok".into(), &0.into(), &Value::Null));
    let head = said["head"].as_str().unwrap().to_owned();
    assert!(shell(&bed, &["status"]).await.1.contains("\naudit    on, "));
    end(&mut gateway).await;
    let (code, report) = verify(&folder, &["--head", &head]).await;
    assert_eq!((code, &report["sound"], &report["unclean_ends"]), (0, &true.into(), &0.into()), "{report}");
    let last = entries(&folder).pop().unwrap();
    assert_eq!(last["what"], "stop");
    let logged = format!("{}:{}", last["n"], last["hash"].as_str().unwrap());
    assert!(gateway.lines().iter().any(|line| line.contains(&logged)), "the head is in the log");
    let text = fs::read_to_string(folder.join(format!("{:020}.jsonl", 1))).unwrap();
    assert!(!text.contains("a secret"), "parameters and responses are not recorded");
}

#[tokio::test]
async fn what_verify_says_and_how_it_ends() {
    let bed = Bed::new().await;
    let mut gateway = local::gateway(&bed).await;
    let folder = folder(&bed);
    for _ in 0..3 {
        assert_eq!(shell(&bed, &["call", "echo", "1", "--timeout", "20s"]).await.0, 0);
    }
    wait_for(PATIENCE, "the calls", || entries(&folder).len() == 5).await;
    let (code, text) = shell(&bed, &["audit", "verify"]).await;
    assert!(
        code == 0 && text.starts_with("sound: 5 entries in 1 files, from number 1, "),
        "while it runs: {text}"
    );
    let kept = text.rsplit_once("head: ").unwrap().1.to_owned();
    assert!(kept.starts_with("5:"), "{text}");
    end(&mut gateway).await;
    let copy = bed.folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let name = format!("{:020}.jsonl", 1);
    let text = fs::read_to_string(folder.join(&name)).unwrap();
    for (change, head, code, expected) in [
        (text.clone(), kept.as_str(), 0, "sound: 6 entries"),
        (
            text.clone(),
            "6:0000000000000000000000000000000000000000000000000000000000000000",
            1,
            "entry 6 has another hash",
        ),
        (
            text.replacen("executed", "unknown!", 1),
            &kept,
            1,
            "problem: 00000000000000000001.jsonl, line 3: entry 3 was changed",
        ),
        (text.split_inclusive('\n').take(4).collect(), &kept, 1, "its end was cut off"),
        (text.clone(), "5:0", 64, "a head is NUMBER:HASH"),
    ] {
        fs::write(copy.join(&name), change).unwrap();
        let (found, said) = shell(&bed, &["audit", "verify", copy.to_str().unwrap(), "--head", head]).await;
        assert!(found == code && said.contains(expected), "{found} {said}");
    }
    let nowhere = bed.folder.path().join("nowhere");
    let (code, said) = verify(&nowhere, &[]).await;
    assert!(code == 74 && said.to_string().contains("cannot be read"), "{said}");
    fs::create_dir(&nowhere).unwrap();
    assert_eq!(verify(&nowhere, &[]).await.0, 0, "there is nothing to be wrong");
    let off = local::gateway_with(&bed, &["--set", "audit.enabled=false"]).await;
    assert_eq!(status(&bed).await["audit"]["state"], "off");
    drop(off);
    assert_eq!(fs::read_to_string(folder.join(&name)).unwrap(), text);
}

#[tokio::test]
async fn a_gateway_that_is_killed_again_and_again_leaves_a_record_that_is_sound() {
    const TIMES: usize = 12;
    let mut bed = Bed::new().await;
    let folder = folder(&bed);
    let cloud = bed.cloud().await;
    let mut answered = Vec::new();
    for round in 0..TIMES {
        let mut gateway = bed.gateway().await;
        comes_back(&cloud).await;
        let id = ask(&cloud, request("echo", "1"), "ok executed").await;
        call_of(&folder, &id).await;
        answered.push(id);
        // Calls are being recorded when it is killed; a little later each time.
        let mut calls = JoinSet::new();
        for _ in 0..64 {
            let cloud = cloud.clone();
            calls.spawn(async move { cloud.invoke(within_ms("echo", "1", 300)).await });
        }
        for _ in 0..round * 4 {
            calls.join_next().await.unwrap().unwrap();
        }
        gateway.kill();
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
        let (code, report) = verify(&folder, &[]).await;
        assert_eq!((code, &report["unclean_ends"]), (0, &round.into()), "{report}");
        // Once more with its end torn off, as a loss of power might.
        if round % 4 == 3 {
            let file = folder.join(format!("{:020}.jsonl", 1));
            let len = fs::metadata(&file).unwrap().len();
            fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(len - 5).unwrap();
            answered.clear();
        }
    }
    let mut gateway = bed.gateway().await;
    end(&mut gateway).await;
    let (code, report) = verify(&folder, &[]).await;
    assert_eq!((code, &report["unclean_ends"], &report["mended"]), (0, &TIMES.into(), &3.into()), "{report}");
    let found = entries(&folder);
    for id in answered {
        assert!(found.iter().any(|entry| entry["id"] == id.as_str()), "{id} was recorded, and is not there");
    }
}

#[tokio::test]
async fn the_group_may_read_it_whatever_the_umask_is() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new().await;
    let mut command = Command::new("sh");
    command.args(["-c", r#"umask 077; exec "$0" "$@""#, env!("CARGO_BIN_EXE_nowd"), "run", "--config"]);
    command.arg(bed.config());
    let mut gateway = Process::start(command);
    gateway.wait_for_line(PATIENCE, "the audit record goes on from here").await;
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(folder(&bed)), 0o750);
    assert_eq!(mode(folder(&bed).join(format!("{:020}.jsonl", 1))), 0o640);
    end(&mut gateway).await;
}

/// A file system of its own, as long as this lives.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Where this user may mount; elsewhere `audit::tests::disk` alone shows it, with a disk that only says that it is full.
fn mount(folder: &Path) -> Option<Mounted> {
    fs::create_dir_all(folder).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder).output();
    mounted.is_ok_and(|output| output.status.success()).then(|| Mounted(folder.into()))
}

#[tokio::test]
async fn a_full_disk_stops_no_call_and_what_was_lost_is_told_when_there_is_room() {
    let mut bed = Bed::new().await;
    let state = bed.folder.path().join("state");
    let Some(_mounted) = mount(&state) else {
        eprintln!(
            "NOT RUN: this user may not mount a tmpfs, so no full disk was tried with the real program"
        );
        return;
    };
    let mut gateway = local::gateway(&bed).await;
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let filler = state.join("filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "it is full");
    let mut calls = 0;
    while status(&bed).await["audit"]["state"] != "failing" {
        for _ in 0..16 {
            assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
        }
        calls += 16;
        assert!(calls < 4_000, "it does not fail");
    }
    assert!(shell(&bed, &["status"]).await.1.contains("\naudit    FAILING"));
    gateway.wait_for_line(PATIENCE, "the audit record cannot be written").await;
    let told =
        gateway.lines().iter().filter(|line| line.contains("the audit record cannot be written")).count();
    assert_eq!(told, 1);
    for _ in 0..1_200 {
        assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    }
    fs::remove_file(&filler).unwrap();
    wait_for(PATIENCE, "a record that works", || {
        entries(&folder(&bed)).iter().any(|entry| entry["what"] == "lost")
    })
    .await;
    // The entry is there a moment before its thread knows that it is on the disk.
    within(PATIENCE, "a record that says that it works", async {
        while status(&bed).await["audit"]["state"] != "ok" {}
    })
    .await;
    end(&mut gateway).await;
    let (code, report) = verify(&folder(&bed), &[]).await;
    assert!(code == 0 && report["lost"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["unclean_ends"], 0, "{report}");
}
