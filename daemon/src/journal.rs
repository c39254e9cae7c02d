//! The journal on disk: which calls were started, so that no later incarnation starts one of them again.
//!
//! A file of fixed size, written round and round: [`SLOTS`] records of [`RECORD`] bytes, each with its number and a
//! checksum, none of them across a sector's border. A record that a loss of power has torn is as if it had never been
//! written; the call it would have told of was then not started, since the start waits for the disk. A thread of its
//! own writes, and brings everything that has come in meanwhile to the disk at once, so a slow disk delays only the
//! calls that need it. Nothing is decided here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use nowd_core::{CallKey, JournalLine, Mark};
use nowd_protocol::{Outcome, Status, Uuid};
use tokio::sync::mpsc;
use tracing::{error, info};

// The path is said, since the fuzz target includes this file from elsewhere.
#[path = "journal/disk.rs"]
pub(crate) mod disk;

use disk::Disk;

/// How many records the file holds: four for each call that the core remembers, where two would do.
const SLOTS: u64 = 16_384;

/// Bytes of a record; a power of two, so that none lies across two sectors.
const RECORD: usize = 128;

/// Bytes of the file: [`SLOTS`] records of [`RECORD`].
const SIZE: u64 = SLOTS * 128;

/// How much of a record its checksum covers.
const COVERED: usize = 64;

/// The form of the records.
const VERSION: u8 = 1;

/// How many lines may wait to be written. A call that finds no room is not started.
const QUEUE: usize = 1_024;

/// How long the end of the process waits for lines that are still to be written.
const FAREWELL: Duration = Duration::from_millis(100);

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file or its folder.
    #[error("the journal {} cannot be opened: {source}; `state_dir` must be a folder that this user may write to", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("the journal {} is in use by another process; each daemon needs a `state_dir` of its own", .0.display())]
    InUse(PathBuf),
    /// Something else has this name.
    #[error("{} is not a journal of this version; move it away, and what it says of earlier calls is forgotten", .0.display())]
    Foreign(PathBuf),
}

/// The queue to the writing thread, and what it has written.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: Option<SyncSender<Entry<CallKey>>>,
    written: mpsc::Receiver<(CallKey, bool)>,
    done: Receiver<Never>,
    failing: Arc<AtomicBool>,
}

/// A line, and the call that waits for it.
type Entry<K> = (JournalLine, Option<K>);

/// Nothing is ever sent: only the end of the thread is heard.
#[derive(Debug)]
enum Never {}

impl Journal {
    /// Opens the journal in `folder`, or makes one, and says what it holds.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<JournalLine>), JournalError> {
        let (path, file) = hold(folder)?;
        let failed = |source| JournalError::File { file: path.clone(), source };
        let (next, past) = read(&file, SIZE).map_err(failed)?;
        let (lines, queue) = sync_channel(QUEUE);
        let (tell_written, written) = mpsc::channel(QUEUE);
        let (tell_done, done) = sync_channel(0);
        let failing = Arc::<AtomicBool>::default();
        let writer = Writer { disk: file, next, failing: Arc::clone(&failing) };
        std::thread::Builder::new()
            .name("nowd-journal".into())
            .spawn(move || {
                writer.run(&queue, &tell_written);
                // Ends the wait of `drop`, by its own end.
                drop::<SyncSender<Never>>(tell_done);
            })
            .map_err(failed)?;
        Ok((Self { lines: Some(lines), written, done, failing }, past))
    }

    /// Whether [`open`](Self::open) would find one that can be used, or could make one. Waits for the disk.
    pub(crate) fn look(folder: &Path) -> Result<(), JournalError> {
        hold(folder).map(drop)
    }

    /// Whether the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Takes a line if there is room; never waits.
    pub(crate) fn append(&self, line: JournalLine, then: Option<CallKey>) -> bool {
        self.lines.as_ref().is_some_and(|lines| lines.try_send((line, then)).is_ok())
    }

    /// The next call whose line is on disk (`true`) or will not be. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> (CallKey, bool) {
        match self.written.recv().await {
            Some(written) => written,
            None => std::future::pending().await,
        }
    }
}

/// The file, for this process alone.
fn hold(folder: &Path) -> Result<(PathBuf, File), JournalError> {
    let path = folder.join("journal");
    let failed = |source| JournalError::File { file: path.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let Some(file) = disk::hold(folder, &path).map_err(failed)? else {
        return Err(JournalError::InUse(path));
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() || about.len() != SIZE {
        return Err(JournalError::Foreign(path));
    }
    Ok((path, file))
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.lines = None;
        // Waits for the thread's end; a disk that hangs has had its time.
        match self.done.recv_timeout(FAREWELL) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
    }
}

/// What the file holds, in the order in which it was written, and the number of the next record.
fn read(mut file: &File, size: u64) -> io::Result<(u64, Vec<JournalLine>)> {
    let mut bytes = Vec::new();
    file.by_ref().take(size).read_to_end(&mut bytes)?;
    let records: BTreeMap<u64, JournalLine> =
        bytes.chunks_exact(RECORD).filter_map(|record| decode(record.try_into().ok()?)).collect();
    let next = records.last_key_value().map_or(0, |(number, _)| number.saturating_add(1));
    Ok((next, records.into_values().collect()))
}

struct Writer<D> {
    disk: D,
    next: u64,
    /// Whether the last write failed, so that one failure is told once.
    failing: Arc<AtomicBool>,
}

impl<D: Disk> Writer<D> {
    /// `K` names a call.
    fn run<K>(mut self, queue: &Receiver<Entry<K>>, written: &mpsc::Sender<(K, bool)>) {
        while let Ok(first) = queue.recv() {
            // Whatever has come in by now goes to the disk together.
            let batch: Vec<Entry<K>> = std::iter::once(first).chain(queue.try_iter().take(QUEUE)).collect();
            let kept = self.write(&batch);
            for key in batch.into_iter().filter_map(|(_, then)| then) {
                if written.blocking_send((key, kept)).is_err() {
                    return;
                }
            }
        }
    }

    fn write<K>(&mut self, batch: &[Entry<K>]) -> bool {
        let result = self.try_write(batch);
        let was_failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(e) if !was_failing => {
                error!(
                    see = "journal-failing",
                    "the journal cannot be written: {e}; calls of methods that are not idempotent are refused"
                );
            }
            Ok(()) if was_failing => info!("the journal can be written again"),
            Ok(()) | Err(_) => {}
        }
        result.is_ok()
    }

    fn try_write<K>(&mut self, batch: &[Entry<K>]) -> io::Result<()> {
        for (line, _) in batch {
            let at = (self.next % SLOTS).saturating_mul(RECORD.try_into().unwrap_or(u64::MAX));
            self.disk.write_all_at(&encode(self.next, line), at)?;
            self.next = self.next.saturating_add(1);
        }
        // How a call ended may be lost: it is then known that it was started.
        if batch.iter().any(|(_, then)| then.is_some()) { self.disk.sync_data() } else { Ok(()) }
    }
}

/// Number, version, kind, status, outcome, id, content, asker; checksum; zeros.
fn encode(number: u64, line: &JournalLine) -> [u8; RECORD] {
    let (kind, status, outcome, id, mark) = match *line {
        JournalLine::Started { id, mark } => (1, 0, 0, id, Some(mark)),
        JournalLine::Ended { id, status, outcome } => {
            (2, status_code(status), outcome_code(outcome), id, None)
        }
        JournalLine::NotStarted { id } => (3, 0, 0, id, None),
    };
    let Mark { content, asker } = mark.unwrap_or(Mark { content: Uuid::nil(), asker: Uuid::nil() });
    let mut bytes = Vec::with_capacity(RECORD);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&[VERSION, kind, status, outcome, 0, 0, 0, 0]);
    for id in [id, content, asker] {
        bytes.extend_from_slice(id.as_bytes());
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    let mut record = [0; RECORD];
    for (to, from) in record.iter_mut().zip(bytes) {
        *to = from;
    }
    record
}

/// `None` for what was never written, was torn, or is of another version.
fn decode(record: &[u8; RECORD]) -> Option<(u64, JournalLine)> {
    let (covered, rest) = record.split_at_checked(COVERED)?;
    if checksum(covered).as_bytes().as_slice() != rest.get(..16)? {
        return None;
    }
    let uuid = |at: usize| Some(Uuid::from_bytes(covered.get(at..at.checked_add(16)?)?.try_into().ok()?));
    let number = u64::from_le_bytes(covered.get(..8)?.try_into().ok()?);
    let id = uuid(16)?;
    let line = match covered.get(8..12)? {
        [VERSION, 1, ..] => JournalLine::Started { id, mark: Mark { content: uuid(32)?, asker: uuid(48)? } },
        [VERSION, 2, status, outcome] => {
            let status = *Status::ALL.get(usize::from(*status))?;
            JournalLine::Ended { id, status, outcome: *OUTCOMES.get(usize::from(*outcome))? }
        }
        [VERSION, 3, ..] => JournalLine::NotStarted { id },
        _ => return None,
    };
    Some((number, line))
}

/// The hash that the project uses elsewhere too; here it only tells a torn record from a whole one.
fn checksum(bytes: &[u8]) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, bytes)
}

const OUTCOMES: [Outcome; 3] = [Outcome::Executed, Outcome::NotExecuted, Outcome::Unknown];

/// The place in the table, which only ever grows at its end.
fn status_code(status: Status) -> u8 {
    code(Status::ALL, &status)
}

fn outcome_code(outcome: Outcome) -> u8 {
    code(&OUTCOMES, &outcome)
}

fn code<T: PartialEq>(table: &[T], value: &T) -> u8 {
    table.iter().position(|other| other == value).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
