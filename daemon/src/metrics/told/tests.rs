use std::collections::BTreeSet;

use super::*;

/// What ends a connection is counted under a word that is told.
#[test]
fn every_reason_is_told() {
    let mut words: BTreeSet<&str> = BTreeSet::new();
    for source in [include_str!("../../../link/src/error.rs"), include_str!("../../uplink/relay.rs")] {
        let (_, kinds) = source.split_once("fn kind(").unwrap();
        let (kinds, _) = kinds.split_once("\n    }\n").unwrap();
        words.extend(kinds.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap()));
    }
    for source in [include_str!("../../uplink.rs"), include_str!("../../uplink/refusals.rs")] {
        for note in source.split(".note(\"").skip(1) {
            words.insert(note.split('"').next().unwrap());
        }
    }
    assert_eq!(words, ALL_REASONS.into_iter().collect());
}
