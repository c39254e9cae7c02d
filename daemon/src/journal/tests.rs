use std::sync::mpsc::sync_channel;

use super::*;

mod corpus;

fn started(id: u128) -> JournalLine {
    let mark = Mark { content: Uuid::from_u128(id + 1_000), asker: Uuid::from_u128(id + 2_000) };
    JournalLine::Started { id: Uuid::from_u128(id), mark }
}

fn ended(id: u128) -> JournalLine {
    JournalLine::Ended { id: Uuid::from_u128(id), status: Status::Failed, outcome: Outcome::Unknown }
}

/// Writes as the thread does.
fn write(folder: &Path, lines: impl IntoIterator<Item = JournalLine>) {
    let (journal, _) = Journal::open(folder).unwrap();
    for line in lines {
        while !journal.append(line, None) {
            std::thread::yield_now();
        }
    }
}

fn opened(folder: &Path) -> Vec<JournalLine> {
    Journal::open(folder).unwrap().1
}

#[test]
fn what_was_written_is_there_again_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state");
    assert_eq!(opened(&folder), []);
    let not_started = JournalLine::NotStarted { id: Uuid::from_u128(2) };
    let lines = [started(1), started(2), ended(1), not_started];
    write(&folder, lines);
    write(&folder, [started(3)]);
    assert_eq!(opened(&folder), [&lines[..], &[started(3)]].concat());
}

#[test]
fn the_form_on_disk() {
    let mut record = [0_u8; RECORD];
    record[..8].copy_from_slice(&7_u64.to_le_bytes());
    record[8..12].copy_from_slice(&[1, 2, 2, 2]);
    record[16..32].copy_from_slice(Uuid::from_u128(5).as_bytes());
    let sum = checksum(&record[..COVERED]);
    record[COVERED..80].copy_from_slice(sum.as_bytes());
    assert_eq!(encode(7, &ended(5)), record);
    assert_eq!(decode(&record), Some((7, ended(5))));
}

#[test]
fn the_oldest_are_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let count = u128::from(SLOTS) + 10;
    write(folder.path(), (0..count).map(started));
    let lines = opened(folder.path());
    assert_eq!(lines.len(), usize::try_from(SLOTS).unwrap());
    assert_eq!((lines[0], lines[lines.len() - 1]), (started(10), started(count - 1)));
}

#[test]
fn a_torn_record_is_none_and_hurts_no_other() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), (0..3).map(started));
    for (cut, byte) in [(0, 1), (20, 0xff), (70, 0xff)] {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(folder.path().join("journal"), copy.path().join("journal")).unwrap();
        let file = OpenOptions::new().write(true).open(copy.path().join("journal")).unwrap();
        file.write_all_at(&[byte; 16], u64::try_from(RECORD + cut).unwrap()).unwrap();
        assert_eq!(opened(copy.path()), [started(0), started(2)], "{cut}");
        write(copy.path(), [started(9)]);
        assert_eq!(opened(copy.path()), [started(0), started(2), started(9)], "{cut}");
    }
}

#[test]
fn a_file_that_is_no_journal_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal"), "somebody's notes").unwrap();
    let e = Journal::open(folder.path()).unwrap_err();
    assert!(matches!(e, JournalError::Foreign(_)), "{e}");
    assert_eq!(std::fs::read(folder.path().join("journal")).unwrap(), b"somebody's notes");
}

#[test]
fn two_processes_do_not_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_journal, _) = Journal::open(folder.path()).unwrap();
    assert!(matches!(Journal::open(folder.path()).unwrap_err(), JournalError::InUse(_)));
}

#[test]
fn a_disk_that_takes_nothing_is_told() {
    // A file that was opened for reading only refuses every write, as a full or broken disk would.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x"), "").unwrap();
    let file = File::open(folder.path().join("x")).unwrap();
    let (lines, queue) = sync_channel(8);
    let (tell_written, mut written) = mpsc::channel(8);
    let key = CallKey::from_number(7);
    lines.send((started(1), Some(key))).unwrap();
    drop(lines);
    Writer { file, next: 0, failing: false }.run(&queue, &tell_written);
    assert_eq!(written.try_recv(), Ok((key, false)));
}
