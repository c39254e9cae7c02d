//! The seeds of the fuzz targets, and everything that they ever found. See `docs/FUZZING.md`.

#[path = "../../../../daemon/fuzz/checks/frames.rs"]
mod frames;
#[path = "../../../../daemon/fuzz/checks/hex.rs"]
mod hex;
#[path = "../../../../daemon/fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../../daemon/fuzz/checks/serial.rs"]
mod serial;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../daemon/fuzz/corpus");

#[test]
fn what_a_device_sends() {
    replay::replay(CORPUS, "serial", serial::check);
}

#[test]
fn frames_of_all_kinds() {
    replay::replay(CORPUS, "frames", frames::check);
}

#[test]
fn bytes_and_fields() {
    replay::replay(CORPUS, "hex", hex::check);
}
