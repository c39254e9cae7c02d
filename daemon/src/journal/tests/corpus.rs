//! The seeds of the fuzz target, and everything that it ever found. See `docs/FUZZING.md`.

#[path = "../../../fuzz/checks/journal.rs"]
mod journal;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn any_file_of_the_right_size() {
    replay::replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"), "journal", journal::check);
}
