//! A journal file. Included where `crate::journal` is the daemon's.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nowd_core::{JournalLine, Mark};
use nowd_protocol::Uuid;

use crate::journal::Journal;

const SIZE: u64 = 16_384 * 128;

/// `data` is a number of records: the place (2 bytes), whether the checksum is right (1), what it covers (64).
pub(crate) fn check(data: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = OpenOptions::new().write(true).create_new(true).open(folder.path().join("journal")).unwrap();
    file.set_len(SIZE).unwrap();
    // What stands at each place in the end: number and kind of the records that are whole.
    let mut places: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    for record in data.chunks_exact(67).take(64) {
        let (head, covered) = record.split_at(3);
        let [low, high, whole] = head else { return };
        let place = u64::from(u16::from_le_bytes([*low, *high])) % 16_384;
        let mut bytes = covered.to_vec();
        let sum = Uuid::new_v5(&Uuid::NAMESPACE_OID, covered);
        bytes.extend(if whole & 1 == 1 { *sum.as_bytes() } else { [*whole; 16] });
        file.write_all_at(&bytes, place * 128).unwrap();
        let number = covered.first_chunk().map(|number| u64::from_le_bytes(*number));
        places.insert(place, number.filter(|_| whole & 1 == 1));
    }
    drop(file);
    let lines = open(folder.path());
    assert!(lines.len() <= places.values().flatten().count(), "{lines:?}");
    // A forged number near the end of all numbers leaves no room for another; no journal gets there.
    if places.values().flatten().any(|number| *number > u64::MAX - 8) {
        return;
    }
    let fresh = JournalLine::Started {
        id: Uuid::from_u128(1),
        mark: Mark { content: Uuid::from_u128(2), asker: Uuid::from_u128(3) },
    };
    let (journal, again) = Journal::open(folder.path()).unwrap();
    assert_eq!(again, lines, "not the same when opened again");
    assert!(journal.append(fresh, None));
    drop(journal);
    assert_eq!(open(folder.path()).last(), Some(&fresh), "what is written is the last");
}

fn open(folder: &Path) -> Vec<JournalLine> {
    Journal::open(folder).unwrap().1
}
