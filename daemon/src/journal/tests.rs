use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

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

/// A making that comes as far as the middle.
fn half(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    Disk::write_all_at(file, &vec![0; 1_000_000], 0)
}

#[test]
fn a_file_that_was_left_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let names = || -> Vec<_> {
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let full = |file: &mut File| half(file).and(Err(std::io::ErrorKind::StorageFull.into()));
    assert!(disk::hold_or_make(folder.path(), &path, full).is_err());
    assert!(names().is_empty(), "{:?}", names());
    let crash = |file: &mut File| half(file).map(|()| panic!("as if the process were killed"));
    assert!(std::panic::catch_unwind(|| disk::hold_or_make(folder.path(), &path, crash)).is_err());
    assert_eq!(names(), ["journal.new"]);
    write(folder.path(), [started(1)]);
    assert_eq!(names(), ["journal"]);
    std::fs::write(&path, "").unwrap();
    write(folder.path(), [started(1)]);
    // One that somebody began to make while another finished.
    std::fs::write(folder.path().join("journal.new"), "x").unwrap();
    assert_eq!(opened(folder.path()), [started(1)]);
    assert_eq!(names(), ["journal"]);
}

#[test]
fn who_makes_it_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let held = |file: &mut File| half(file).map(|()| drop(file.set_len(SIZE)));
    let first = disk::hold_or_make(folder.path(), &path, held).unwrap();
    assert!(first.is_some());
    assert!(matches!(Journal::open(folder.path()).unwrap_err(), JournalError::InUse(_)));
    drop(first);
    // The same before it has its name.
    std::fs::rename(&path, folder.path().join("journal.new")).unwrap();
    let making = File::open(folder.path().join("journal.new")).unwrap();
    making.try_lock().unwrap();
    assert!(matches!(Journal::open(folder.path()).unwrap_err(), JournalError::InUse(_)));
    drop(making);
    assert_eq!(opened(folder.path()), []);
}

#[test]
fn a_link_to_a_disk_that_is_not_there_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/nowhere/journal", folder.path().join("journal")).unwrap();
    let e = Journal::open(folder.path()).unwrap_err();
    assert!(matches!(e, JournalError::File { .. }), "{e}");
}

/// A disk that keeps what was brought to it, and loses the rest with the power.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Platter>>);

#[derive(Default)]
struct Platter {
    kept: BTreeMap<u64, Vec<u8>>,
    lost: BTreeMap<u64, Vec<u8>>,
    /// How many writes and syncs still work.
    writes: usize,
    syncs: usize,
}

impl Fake {
    fn new(writes: usize, syncs: usize) -> Self {
        Self(Arc::new(Mutex::new(Platter { writes, syncs, ..Platter::default() })))
    }

    /// What there would be after a loss of power now.
    fn kept(&self) -> Vec<JournalLine> {
        let platter = self.0.lock().unwrap();
        platter.kept.values().map(|record| decode(record[..].try_into().unwrap()).unwrap().1).collect()
    }
}

fn one_less(left: &mut usize) -> std::io::Result<()> {
    *left = left.checked_sub(1).ok_or(std::io::ErrorKind::StorageFull)?;
    Ok(())
}

impl Disk for Fake {
    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        one_less(&mut platter.writes)?;
        platter.lost.insert(at, bytes.to_vec());
        Ok(())
    }

    fn sync_data(&mut self) -> std::io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        one_less(&mut platter.syncs)?;
        let brought = std::mem::take(&mut platter.lost);
        platter.kept.extend(brought);
        Ok(())
    }
}

#[test]
fn what_is_said_to_be_kept_survives_a_loss_of_power() {
    let disk = Fake::new(usize::MAX, usize::MAX);
    let (lines, queue) = sync_channel(8);
    let (tell_written, mut written) = mpsc::channel(8);
    let writer = Writer { disk: disk.clone(), next: 0, failing: Arc::default() };
    let thread = std::thread::spawn(move || writer.run(&queue, &tell_written));
    for number in 1..20_u8 {
        lines.send((started(number.into()), Some(number))).unwrap();
        assert_eq!(written.blocking_recv(), Some((number, true)));
        assert!(disk.kept().contains(&started(number.into())), "line {number} is lost");
        lines.send((ended(number.into()), None)).unwrap();
    }
    drop(lines);
    thread.join().unwrap();
}

#[test]
fn nothing_of_a_batch_is_said_to_be_kept_when_the_disk_fails() {
    const LINES: u8 = 5;
    for (writes, syncs, kept) in [(5, 1, true), (5, 0, false), (4, 1, false), (2, 1, false), (0, 1, false)] {
        let disk = Fake::new(writes, syncs);
        let (lines, queue) = sync_channel(8);
        let (tell_written, mut written) = mpsc::channel(8);
        for number in 0..LINES {
            lines.send((started(number.into()), Some(number))).unwrap();
        }
        drop(lines);
        Writer { disk: disk.clone(), next: 0, failing: Arc::default() }.run(&queue, &tell_written);
        for number in 0..LINES {
            assert_eq!(written.try_recv(), Ok((number, kept)), "{writes} writes, {syncs} syncs");
            assert_eq!(disk.kept().contains(&started(number.into())), kept);
        }
    }
}
