//! Disks that are full, fail, or hang, and somebody else who has the record.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{Sender, channel};

use super::*;

/// A disk that fails after so many writes and syncs, and then writes half of what it is given.
#[derive(Clone, Default)]
struct Failing {
    file: Option<Arc<File>>,
    left: Arc<AtomicUsize>,
}

impl Failing {
    fn of(left: &Arc<AtomicUsize>, file: File) -> Self {
        Self { file: Some(Arc::new(file)), left: Arc::clone(left) }
    }

    fn step(&self) -> std::io::Result<()> {
        let step = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) {
            Ok(_) => Ok(()),
            Err(_) => Err(std::io::ErrorKind::StorageFull.into()),
        }
    }

    fn file(&self) -> &File {
        self.file.as_ref().unwrap()
    }
}

impl Disk for Failing {
    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        let works = self.step();
        let len = if works.is_ok() { bytes.len() } else { bytes.len() / 2 };
        self.file().write_all_at(&bytes[..len], at)?;
        works
    }

    fn sync_data(&mut self) -> std::io::Result<()> {
        self.step()
    }
}

#[test]
fn wherever_the_disk_fails_the_record_is_sound_again() {
    for steps in 0..60 {
        let bench = Bench::new(1 << 15);
        bench.write(20, true);
        let left = Arc::new(AtomicUsize::new(steps));
        let mut wrap = |file| Failing::of(&left, file);
        if let Ok((mut store, _)) = Store::open(&bench.path(), 1 << 15, SEALER, &mut wrap) {
            for number in 0..200 {
                let event = executed();
                let mut words = String::new();
                let what = What::of(&event, &mut words);
                let written = store.add(moment(number), &what, &mut wrap).and_then(|()| store.flush());
                if written.is_err() {
                    break;
                }
            }
        }
        assert_eq!(left.load(Ordering::SeqCst), 0, "it must have failed");
        bench.write(3, true);
        let report = bench.verify();
        assert!(report.sound, "{steps}: {report:?}");
    }
}

fn start<D: Disk + Send + 'static>(
    folder: PathBuf,
    wrap: impl FnMut(File) -> D + Send + 'static,
) -> (Audit, Entries) {
    let audit =
        Audit::with(about(folder), |about, shared| Writer::new(about, shared, Box::new(wrap))).unwrap();
    let entries = audit.entries().unwrap();
    (audit, entries)
}

#[test]
fn a_full_disk_is_told_and_what_was_lost_is_recorded() {
    let bench = Bench::new(1 << 20);
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let disk = Arc::clone(&left);
    let (audit, mut entries) = start(bench.path(), move |file| Failing::of(&disk, file));
    let shared = Arc::clone(audit.shared());
    entries.push(executed());
    wait_until("the first entry", || shared.report_of().head.is_some_and(|head| head.starts_with("3:")));
    left.store(0, Ordering::SeqCst);
    entries.push(executed());
    wait_until("the failure", || shared.counts().failing);
    for _ in 0..10 {
        entries.push(executed());
    }
    let report = shared.report_of();
    assert_eq!(report.state, "failing");
    assert!(report.error.unwrap().contains("00000000000000000001.jsonl"));
    left.store(usize::MAX, Ordering::SeqCst);
    wait_until("the disk", || !shared.counts().failing);
    entries.push(Event::Stopped);
    drop(entries);
    drop(audit);
    wait_until("the end", || whats(&bench.path()).last().is_some_and(|entry| entry["what"] == "stop"));
    let (all, counts) = (whats(&bench.path()), shared.counts());
    let calls = all.iter().filter(|entry| entry["what"] == "call").count();
    let lost: u64 = all
        .iter()
        .filter(|entry| entry["what"] == "lost")
        .map(|entry| entry["count"].as_u64().unwrap())
        .sum();
    assert_eq!((calls, lost, counts.lost), (11, 1, 1), "ten were held, and one was lost");
    let report = bench.verify();
    assert!(report.sound && report.lost == 1, "{report:?}");
}

/// A disk that does nothing until it is let go.
struct Hanging {
    file: File,
    begun: Sender<()>,
    go: Arc<Mutex<()>>,
}

impl Disk for Hanging {
    fn write_all_at(&mut self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        self.begun.send(()).ok();
        drop(self.go.lock().unwrap());
        self.file.write_all_at(bytes, at)
    }

    fn sync_data(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_hangs_holds_up_nobody() {
    let bench = Bench::new(1 << 20);
    let go = Arc::new(Mutex::new(()));
    let hanging = go.lock().unwrap();
    let (begun, hangs) = channel();
    let other = Arc::clone(&go);
    let (audit, mut entries) =
        start(bench.path(), move |file| Hanging { file, begun: begun.clone(), go: Arc::clone(&other) });
    let shared = Arc::clone(audit.shared());
    hangs.recv().unwrap();
    // All of it returns although nothing is written.
    let many = u64::try_from(QUEUE).unwrap() + 500;
    for _ in 0..many {
        entries.push(executed());
    }
    assert_eq!(shared.counts().lost, 500);
    entries.push(Event::Stopped);
    assert_eq!(shared.counts().lost, 501, "the stop as well");
    let counted = Arc::new(AtomicU64::new(0));
    drop(hanging);
    wait_until("all that waited", || {
        counted.store(shared.counts().entries, Ordering::SeqCst);
        counted.load(Ordering::SeqCst) >= u64::try_from(QUEUE).unwrap()
    });
    drop((entries, audit));
    wait_until("the loss", || bench.verify().lost == 501);
    assert!(bench.verify().sound);
}

/// A disk that nobody has thought of.
struct Panicking;

impl Disk for Panicking {
    fn write_all_at(&mut self, _: &[u8], _: u64) -> std::io::Result<()> {
        panic!("on purpose");
    }

    fn sync_data(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_thread_that_has_ended_is_a_record_that_fails() {
    let bench = Bench::new(1 << 20);
    let (audit, mut entries) = start(bench.path(), |_| Panicking);
    wait_until("the failure", || {
        entries.push(executed());
        audit.shared().counts().failing
    });
    let report = audit.shared().report_of();
    assert!(report.lost > 0 && report.error.unwrap().contains("its thread has ended"));
}

#[test]
fn what_was_in_a_file_that_was_removed_is_told_as_lost() {
    for is_quiet in [false, true] {
        let bench = Bench::new(1 << 20);
        let (audit, mut entries) = start(bench.path(), std::convert::identity);
        let shared = Arc::clone(audit.shared());
        entries.push(executed());
        wait_until("the entry", || shared.report_of().head.is_some_and(|head| head.starts_with("3:")));
        fs::remove_file(&bench.segments()[0]).unwrap();
        if !is_quiet {
            entries.push(executed());
            wait_until("the loss", || shared.counts().lost > 0 && !shared.counts().failing);
        }
        entries.push(Event::Stopped);
        drop((entries, audit));
        wait_until("the end", || !bench.segments().is_empty() && bench.verify().lost > 0);
        let report = bench.verify();
        assert!(report.sound && report.lost >= 4, "{is_quiet}: {report:?}");
    }
}

#[test]
fn two_processes_do_not_share_it() {
    let bench = Bench::new(1 << 20);
    let (one, mut first) = start(bench.path(), std::convert::identity);
    first.push(executed());
    wait_until("the first", || one.shared().report_of().head.is_some());
    let (two, mut second) = start(bench.path(), std::convert::identity);
    second.push(executed());
    wait_until("the second", || two.shared().counts().failing);
    assert!(two.shared().report_of().error.unwrap().contains("in use by another process"));
    first.push(Event::Stopped);
    drop((first, one));
    wait_until("its turn", || !two.shared().counts().failing);
    second.push(Event::Stopped);
    drop((second, two));
    wait_until("the end", || whats(&bench.path()).len() == 7);
    let report = bench.verify();
    assert!(report.sound && report.unclean_ends == 0 && report.lost == 0, "{report:?}");
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), "").unwrap();
    let (audit, mut entries) = start(folder.path().join("state").join(FOLDER), std::convert::identity);
    wait_until("the failure", || audit.shared().counts().failing);
    entries.push(executed());
    fs::remove_file(folder.path().join("state")).unwrap();
    wait_until("the folder", || !audit.shared().counts().failing);
    drop((entries, audit));
    let path = folder.path().join("state").join(FOLDER);
    wait_until("the entry", || whats(&path).last().is_some_and(|entry| entry["what"] == "call"));
}

impl Shared {
    fn report_of(&self) -> AuditReport {
        Self::report(Some(self))
    }
}
