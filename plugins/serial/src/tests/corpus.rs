//! The seeds of the fuzz target, and everything that it ever found. See `docs/FUZZING.md`.

#[path = "../../../../daemon/fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../../daemon/fuzz/checks/serial.rs"]
mod serial;

#[test]
fn what_a_device_sends() {
    replay::replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../daemon/fuzz/corpus"), "serial", serial::check);
}
