//! The seeds of the fuzz target, and everything that it ever found. See `docs/FUZZING.md`.

#[path = "../../../fuzz/checks/audit.rs"]
mod audit;

use std::fs;

use crate::sentence;

#[test]
fn any_file_of_the_record() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/audit");
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() >= 3, "{inputs:?}");
    for input in inputs {
        // Shown only if the check fails.
        eprintln!("input: {}", input.display());
        audit::check(&fs::read(&input).unwrap());
    }
}
