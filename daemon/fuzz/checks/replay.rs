//! Feeds a target's seeds and everything that was ever found to its check, as an ordinary test does.

use std::path::Path;

/// `corpus` is the folder of all targets.
pub(crate) fn replay(corpus: &str, target: &str, check: fn(&[u8])) {
    let folder = Path::new(corpus).join(target);
    let mut count = 0_usize;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        // Shown only if the check fails.
        eprintln!("input: {}", file.display());
        check(&std::fs::read(&file).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}
