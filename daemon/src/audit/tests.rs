use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use nowd_core::{Drop as Dropped, Record, RecordKind};
use nowd_plugin::BootInstant;
use nowd_protocol::{ErrorBody, Level, Outcome, Status, Timing};
use tempfile::TempDir;

use super::entry::What;
use super::report::Report;
use super::store::Store;
use super::verify::{Verifier, verify};
use super::*;
use crate::config::ClockTrust;
use crate::journal::disk::Disk;

mod chain_of;
mod corpus;
mod disk;
mod fold;
mod mend;

const SEALER: Sealer = Sealer { incarnation: Uuid::from_u128(0x1234_5678) };

fn moment(ms: u64) -> Moment {
    let wall_ms = 1_795_289_952_102 + ms;
    Moment { wall_ms, trusted: true, steady: BootInstant::from_micros(1_000_000 + ms * 1_000) }
}

fn record(kind: RecordKind, client: &str, status: Status, outcome: Outcome) -> Box<Record> {
    Box::new(Record {
        id: Uuid::from_u128(7),
        method: "window.set".into(),
        client: Some(Level::new(client).unwrap()),
        caller: Some("arn:aws:iam::123456789012:user/ada \"x\"\u{1}é".into()),
        traceparent: None,
        attempt: 1,
        status,
        outcome,
        error: None,
        timing: Timing { queue: 1, plugin: 2, total: 3 },
        kind,
    })
}

fn executed() -> Event {
    Event::Call(record(RecordKind::Answered, "cloud-1", Status::Ok, Outcome::Executed))
}

/// A folder that is written without a thread.
struct Bench {
    folder: TempDir,
    max_size: u64,
}

impl Bench {
    fn new(max_size: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), max_size }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state").join(FOLDER)
    }

    /// Opens the record as a gateway does at its start, and says how often it had to be mended.
    fn open(&self) -> (Store<File>, usize) {
        self.open_of(SEALER)
    }

    fn open_of(&self, sealer: Sealer) -> (Store<File>, usize) {
        let mut wrap = std::convert::identity;
        let (mut store, mended) = Store::open(&self.path(), self.max_size, sealer, &mut wrap).unwrap();
        for mended in &mended {
            store.add(moment(0), &mended.what(), &mut wrap).unwrap();
        }
        (store, mended.len())
    }

    /// A start, so many calls, and, where it is said, a stop.
    fn write(&self, calls: u64, stop: bool) {
        let (mut store, _) = self.open();
        let mut wrap = std::convert::identity;
        let start = What::Start { version: "0.1.0", target: "gw-1" };
        store.add(moment(0), &start, &mut wrap).unwrap();
        for number in 0..calls {
            let event = executed();
            let mut words = String::new();
            store.add(moment(number), &What::of(&event, &mut words), &mut wrap).unwrap();
        }
        if stop {
            store.add(moment(calls), &What::Stop, &mut wrap).unwrap();
        }
        store.sync().unwrap();
    }

    fn segments(&self) -> Vec<PathBuf> {
        let names = super::files::Names::read(&self.path()).unwrap();
        names.segments.keys().map(|number| super::files::segment(&self.path(), *number)).collect()
    }

    fn verify(&self) -> Report {
        verify(&self.path(), &[]).unwrap()
    }
}

fn about(folder: PathBuf) -> About {
    let clock = WallClock::new(ClockTrust::Untrusted, || crate::clock::WallReading {
        now_ms: 1_795_289_952_102,
        max_error: None,
    });
    About {
        folder,
        max_size: 64 << 20,
        sync: Duration::from_millis(5),
        sealer: SEALER,
        target: "gw-1".into(),
        clock,
    }
}

/// Until it is so; a minute is never needed.
fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = BootInstant::now();
    while !is() {
        let waited = BootInstant::now().saturating_since(begun);
        assert!(waited < Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn whats(folder: &std::path::Path) -> Vec<serde_json::Value> {
    let names = super::files::Names::read(folder).unwrap();
    let mut all = Vec::new();
    for number in names.segments.keys() {
        let text = fs::read_to_string(super::files::segment(folder, *number)).unwrap();
        all.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    all
}
