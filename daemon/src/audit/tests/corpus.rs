//! The seeds of the fuzz target, and everything that it ever found. See `docs/FUZZING.md`.

#[path = "../../../fuzz/checks/audit.rs"]
mod audit;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../fuzz/checks/sentence.rs"]
mod sentence;

#[test]
fn any_file_of_the_record() {
    replay::replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"), "audit", audit::check);
}
