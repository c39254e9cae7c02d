//! A loss of power at any write of `nowd provision`: every state that the disk could be left in is looked at, and gone on from.

use std::path::Path;

use nowd_testkit::{Process, Recording, Snapshot, recorded, snapshot};

use super::device::Device;
use crate::bed::PATIENCE;

/// Runs `nowd provision` to its end, recorded. What it says at the end is the mark.
async fn record(device: &Device, args: &[&str], before: Snapshot) -> Recording {
    let log = device.folder.path().join("log");
    let mut command = recorded(env!("CARGO_BIN_EXE_nowd"), &log);
    command.arg("provision").args(args).arg("--config").arg(device.config());
    let mut process = Process::start(command);
    assert_eq!(process.exit(PATIENCE).await.code(), Some(0), "{:?}", process.lines());
    let is_said = |_: &str, bytes: &[u8]| String::from_utf8_lossy(bytes).contains("done: this gateway is");
    Recording::new(&log, &device.folder.path().join("state"), before, is_said)
}

fn is_identity(name: &Path) -> bool {
    name.starts_with("identity")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_is_whole_or_not_there_whenever_the_power_goes() {
    let device = Device::new().await;
    let state = device.folder.path().join("state");
    let recording = record(&device, &[], Snapshot::default()).await;
    let mut found = [0_u32; 2];
    for world in recording.worlds(is_identity) {
        world.make(&state);
        let has_one = device.certificate().is_some();
        assert!(has_one || world.marks == 0, "it was said to be there: {} ({})", world.step, world.how);
        // It counts only if certificate and key are whole and fit each other, which this judges.
        let (code, text) = device.run(&["check"]).await;
        assert_eq!(code, if has_one { 0 } else { 78 }, "{} ({}): {text}", world.step, world.how);
        let (code, text) = device.run(&["provision"]).await;
        assert_eq!(code, 0, "{} ({}): {text}", world.step, world.how);
        let (code, text) = device.run(&["check"]).await;
        assert_eq!(code, 0, "{} ({}): {text}", world.step, world.how);
        found[usize::from(has_one)] += 1;
    }
    assert!(found.iter().all(|worlds| *worlds > 1), "before and after: {found:?}");
    device.service.assert_well_asked();
    device.serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_identity_or_the_new_one_counts_whenever_the_power_goes() {
    let device = Device::new().await;
    device.provisioned().await;
    let state = device.folder.path().join("state");
    let old = device.certificate();
    let recording = record(&device, &["--renew"], snapshot(&state)).await;
    let new = device.certificate();
    assert_ne!(old, new);
    let mut found = [0_u32; 2];
    for world in recording.worlds(is_identity) {
        world.make(&state);
        let now = device.certificate();
        assert!(now == new || now == old && world.marks == 0, "{} ({}): {now:?}", world.step, world.how);
        let (code, text) = device.run(&["check"]).await;
        assert_eq!(code, 0, "{} ({}): {text}", world.step, world.how);
        found[usize::from(now == new)] += 1;
        let (code, text) = device.run(&["provision"]).await;
        assert_eq!(code, 0, "{} ({}): {text}", world.step, world.how);
    }
    assert!(found.iter().all(|worlds| *worlds > 1), "the old and the new: {found:?}");
    device.serves().await;
}
