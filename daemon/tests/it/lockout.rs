//! `nowd lock` and `nowd unlock`, as the person at the machine uses them.

use std::fs;
use std::path::Path;

use nowd_testkit::{Process, within};
use tokio::task::JoinSet;

use crate::bed::{Bed, PATIENCE, comes_back, nowd, request, words};

/// Exit code and what was printed.
async fn shell(args: &[&str], config: &Path) -> (i32, String) {
    let mut process = nowd(&[args, &["--config", config.to_str().unwrap()]].concat());
    let code = process.exit(PATIENCE).await.code().unwrap();
    (code, process.lines().join("\n"))
}

#[tokio::test]
async fn nothing_starts_while_locked_not_even_after_a_restart() {
    let mut bed = Bed::new().await;
    let mut gateway = bed.gateway().await;
    let config = bed.config();
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let locked = shell(&["lock", "--reason", "a hand in the gate"], &config).await;
    assert_eq!(locked, (0, "locked: the gateway starts nothing, and no call runs".into()));
    let answer = cloud.invoke(request("window.set", r#"{"percent":10}"#)).await;
    assert_eq!(words(&answer), "locked not_executed null");
    assert!(answer.error.unwrap().message.ends_with("a hand in the gate"));
    gateway.kill();
    drop(gateway);
    let _gateway = bed.gateway().await;
    within(PATIENCE, "the gateway", async {
        while words(&cloud.invoke(request("echo", "1")).await) != "locked not_executed null" {}
    })
    .await;
    assert_eq!(shell(&["unlock"], &config).await, (0, "unlocked".into()));
    assert_eq!(words(&cloud.invoke(request("echo", "1")).await), "ok executed 1");
    assert_eq!(shell(&["unlock"], &config).await, (0, "it was not locked".into()));
}

#[tokio::test]
async fn who_locks_is_told_of_what_still_runs() {
    let mut bed = Bed::new().await;
    let gateway = bed.gateway().await;
    let config = bed.config();
    let cloud = bed.cloud().await;
    comes_back(&cloud).await;
    let mut running = JoinSet::new();
    for method in ["long", "one"] {
        let cloud = cloud.clone();
        running.spawn(async move { words(&cloud.invoke(request(method, "1")).await) });
    }
    comes_back(&bed.cloud().await).await;
    let (code, text) = shell(&["lock", "--reason", "x", "--wait", "0s"], &config).await;
    assert_eq!(code, 75, "{text}");
    assert!(text.starts_with("nowd: locked, but calls that were started before still run: "), "{text}");
    let (code, _) = shell(&["lock", "--reason", "x", "--wait", "60s"], &config).await;
    assert_eq!(code, 0, "both have ended");
    while let Some(answer) = running.join_next().await {
        assert_eq!(answer.unwrap(), "ok executed 1", "what ran could end");
    }
    drop(gateway);
    let (code, text) = shell(&["lock", "--reason", "x"], &config).await;
    assert!(code == 75 && text.contains("no gateway has answered, since none lives"), "{text}");
    let (code, text) = shell(&["lock", "--reason", " \n"], &config).await;
    assert!(code == 64 && text.contains("say in one line"), "{text}");
    let nowhere = ["lock", "--reason", "x", "--set", "state_dir=/dev/null/state"];
    let (code, text) = shell(&nowhere, &config).await;
    assert!(code == 74 && text.contains("NOT locked"), "{text}");
}

#[tokio::test]
async fn every_daemon_that_shares_the_folder_must_have_seen_it() {
    let bed = Bed::new().await;
    let one = bed.gateway().await;
    let two = bed.gateway_with(&["--set", "link.client_id=gw-2"]).await;
    let config = bed.config();
    assert_eq!(shell(&["lock", "--reason", "x"], &config).await.0, 0, "both have answered");
    two.pause();
    let (code, text) = shell(&["lock", "--reason", "x"], &config).await;
    assert!(code == 75 && text.contains("of the gateways that live have not answered"), "{text}");
    two.resume();
    assert_eq!(shell(&["lock", "--reason", "x"], &config).await.0, 0);
    drop((one, two));
}

#[tokio::test]
async fn a_second_reason_does_not_replace_the_first() {
    let bed = Bed::new().await;
    let _gateway = crate::local::gateway(&bed).await;
    let config = bed.config();
    let bus = bed.bus.address();
    assert_eq!(shell(&["lock", "--reason", "a hand in the gate"], &config).await.0, 0);
    for args in [&["lock", "--reason", "two"][..], &["lock", "--reason", "two", "--bus", &bus]] {
        let (code, text) = shell(args, &config).await;
        assert!(code == 75 && text.starts_with("nowd: NOT locked for you: "), "{code} {text}");
        assert!(text.contains("for this reason: a hand in the gate; your reason was not written"), "{text}");
    }
    assert_eq!(shell(&["unlock"], &config).await, (0, "unlocked".into()));
    assert_eq!(shell(&["lock", "--reason", "two"], &config).await.0, 0);
}

#[tokio::test]
async fn what_is_locked_is_what_the_siblings_talk_to() {
    let bed = Bed::new().await;
    let gateway = crate::local::gateway(&bed).await;
    let (folder, bus) = (bed.folder.path(), bed.bus.address());
    let here = |folder: &Path, args: &[&str]| {
        // The shell of somebody who stands in a folder, and names nothing.
        let line = format!("cd '{}' && exec \"$0\" \"$@\"", folder.display());
        let args = [&["-c", &line, env!("CARGO_BIN_EXE_nowd")], args].concat();
        Process::spawn("sh", &args, &[("RUST_BACKTRACE", "0")])
    };
    let said = async |folder: &Path, args: &[&str]| {
        let mut process = here(folder, args);
        let code = process.exit(PATIENCE).await.code().unwrap();
        (code, process.lines().join("\n"))
    };
    let locked = (0, "locked: the gateway starts nothing, and no call runs".to_owned());
    assert_eq!(said(folder, &["lock", "--reason", "x"]).await, locked);
    assert!(folder.join("state/lockout").exists());
    assert_eq!(said(folder, &["unlock"]).await, (0, "unlocked".into()));
    // A configuration with another folder, on the bus of the gateway that runs.
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    let text = format!("state_dir = \"{}\"\n[bus]\naddress = {bus:?}\n", other.join("state").display());
    fs::write(other.join("nowd.toml"), text).unwrap();
    let (code, text) = said(&other, &["lock", "--reason", "x"]).await;
    assert_eq!(
        (code, text.as_str()),
        (0, "locked: the gateway on the bus starts nothing, and no call of it runs")
    );
    assert!(folder.join("state/lockout").exists() && other.join("state/lockout").exists());
    assert_eq!(said(&other, &["unlock"]).await, (0, "unlocked".into()));
    assert!(!folder.join("state/lockout").exists() && !other.join("state/lockout").exists());
    // A bus that is named is asked, and nothing else.
    assert_eq!(said(&other, &["lock", "--reason", "x", "--bus", &bus]).await.0, 0);
    assert!(folder.join("state/lockout").exists() && !other.join("state/lockout").exists());
    assert_eq!(said(&other, &["unlock", "--bus", &bus]).await, (0, "unlocked".into()));
    drop(gateway);
    for (args, code, expected) in [
        (&["lock", "--reason", "x", "--bus", &bus][..], 69, "nowd: NOT locked: no gateway runs on the bus"),
        (&["unlock", "--bus", "unix:path=/nowhere"], 69, "nowd: NOT unlocked: no gateway can be asked"),
        (&["lock", "--reason", "x", "--config", "no.toml"], 78, "nowd: NOT locked: no.toml: cannot be read"),
        (&["unlock", "--config", "no.toml"], 78, "nowd: NOT unlocked: no.toml: cannot be read"),
        (&["status", "--config", "no.toml"], 78, "nowd: no.toml: cannot be read: No such file"),
        (
            &["call", "echo", "--config", "no.toml", "--bus", &bus],
            78,
            "nowd: no.toml: cannot be read: No such",
        ),
        (&["reload", "--config", "no.toml"], 78, "nowd: no.toml: cannot be read: No such file"),
    ] {
        let (found, text) = said(&other, args).await;
        assert!(found == code && text.starts_with(expected), "{args:?}: {found} {text}");
    }
}

#[tokio::test]
async fn a_mistake_elsewhere_stops_no_lock() {
    let bed = Bed::new().await;
    let _gateway = bed.gateway().await;
    let config = bed.config();
    let drop_ins = bed.folder.path().join("nowd.toml.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("10.toml"), "[link]\nendpiont = 1\n").unwrap();
    fs::write(bed.folder.path().join("methods.d/broken.toml"), [0xff, 0xfe]).unwrap();
    let (code, text) = shell(&["lock", "--reason", "x"], &config).await;
    assert_eq!(code, 0, "{text}");
    let folder = bed.folder.path().join("state");
    assert!(text.contains("10.toml") && text.contains(folder.to_str().unwrap()), "{text}");
    assert!(text.ends_with("locked: the gateway starts nothing, and no call runs"), "{text}");
    let (code, text) = shell(&["unlock"], &config).await;
    assert!(code == 0 && text.ends_with("unlocked"), "{text}");
    assert!(!folder.join("lockout").exists());
}
