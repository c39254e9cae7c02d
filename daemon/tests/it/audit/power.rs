//! A loss of power at any write of the audit record: what is left is whole or told, and what was told to the log is there. Some 40
//! of the states that a disk may be left in are tried; with `NOWD_POWER` in the environment all.

use std::collections::BTreeSet;

use nowd_testkit::{Recording, recorded, snapshot};

use super::*;

/// So long that a few of them fill a file.
fn long_caller() -> String {
    "\u{1}".repeat(2_000)
}

async fn fill(cloud: &Invoker, calls: usize) {
    for _ in 0..calls {
        let call = CallRequest { caller: Some(long_caller()), ..request("echo", "1") };
        assert_eq!(words(&cloud.invoke(call).await), "ok executed 1");
    }
}

#[tokio::test]
async fn wherever_the_power_goes_the_record_is_whole_or_says_what_is_not() {
    let small = ["--set", "audit.max_size=1MiB", "--set", "audit.sync=0s"];
    let mut bed = Bed::new().await;
    let state = bed.folder.path().join("state");
    let cloud = bed.cloud().await;
    // Nearly as large as it may be, so that files are begun and removed later.
    let mut gateway = bed.gateway_with(&small).await;
    comes_back(&cloud).await;
    fill(&cloud, 400).await;
    end(&mut gateway).await;
    let before = snapshot(&state);
    let log = bed.folder.path().join("log");
    let mut command = recorded(env!("CARGO_BIN_EXE_nowd"), &log);
    command.args(["run", "--config"]).arg(bed.config()).args(small);
    let mut gateway = Process::start(command);
    gateway.wait_for_line(PATIENCE, "the link is up").await;
    comes_back(&cloud).await;
    fill(&cloud, 62).await;
    end(&mut gateway).await;
    // A line of the log that tells a head is a promise.
    let told = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(line.get("head")?.as_str()?.to_owned())
    };
    let heads: Vec<String> = gateway.lines().iter().filter_map(|line| told(line)).collect();
    let tells = |_: &str, bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| told(text).is_some());
    let recording = Recording::new(&log, &state, before, tells);
    let is_audit = |name: &Path| name.starts_with("audit");
    let worlds: Vec<_> = recording.worlds(is_audit).collect();
    let (mut pruned, mut torn, mut marks) = (BTreeSet::new(), false, BTreeSet::new());
    eprintln!("{} states", worlds.len());
    // Each takes most of a second.
    let step = if std::env::var_os("NOWD_POWER").is_some() { 1 } else { worlds.len().div_ceil(40) };
    for (number, world) in worlds.iter().enumerate().filter(|(number, _)| number % step == 0) {
        world.make(&state);
        let config = bed.config();
        let mut again = nowd(&[&["run", "--config", config.to_str().unwrap()], &small[..]].concat());
        again.wait_for_line(PATIENCE, "the audit record goes on from here").await;
        end(&mut again).await;
        let head = world.marks.checked_sub(1).and_then(|last| heads.get(last));
        let more: Vec<&str> = head.iter().flat_map(|head| ["--head", head.as_str()]).collect();
        let (code, report) = verify(&folder(&bed), &more).await;
        assert_eq!(
            code,
            0,
            "world {number} of {}, step {} ({}): {report}",
            worlds.len(),
            world.step,
            world.how
        );
        pruned.insert(report["pruned"].as_u64());
        torn |= report["mended"].as_u64() > Some(0);
        marks.insert(world.marks);
    }
    assert!(pruned.len() > 2 && torn && marks.len() > 2, "{pruned:?} {torn} {marks:?} {}", worlds.len());
}
