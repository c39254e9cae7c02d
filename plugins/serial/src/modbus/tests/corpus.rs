//! The seeds of the fuzz target, and everything that it ever found. See `docs/FUZZING.md`.

#[path = "../../../../../daemon/fuzz/checks/modbus.rs"]
mod check;
#[allow(clippy::duplicate_mod, reason = "a few lines, which the crate's other corpus has too")]
#[path = "../../../../../daemon/fuzz/checks/replay.rs"]
mod replay;

#[test]
fn what_a_device_sends() {
    replay::replay(concat!(env!("CARGO_MANIFEST_DIR"), "/../../daemon/fuzz/corpus"), "modbus", check::check);
}
