//! The audit record: which calls there were, who asked, and what came of them, in a chain that shows gaps and edits.
//!
//! Files of JSON lines in `state_dir/audit`, each line sealed to the one before ([`chain`]), the oldest removed when they
//! become too large. A thread of its own writes them; nobody waits for it. Nothing here decides about a call, keeps parameters
//! or responses, or ends the daemon: what cannot be written is counted and told.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nowd_plugin::BootInstant;
use nowd_protocol::Uuid;
use serde::{Deserialize, Serialize};

use crate::clock::WallClock;
use crate::config::AuditConfig;

pub(crate) mod chain;
mod entry;
mod files;
mod folding;
pub(crate) mod report;
mod store;
mod torn;
pub(crate) mod verify;
mod writer;

use chain::Head;
pub(crate) use entry::Event;
use entry::{Moment, Moments, Sealer};
use writer::{About, Writer};

/// The folder in `state_dir`.
pub(crate) const FOLDER: &str = "audit";

/// How many entries may wait to be written.
const QUEUE: usize = 4_096;

/// How long the end of the process waits for entries that are still to be written, at least.
const FAREWELL: Duration = Duration::from_millis(100);

/// Nothing is ever sent: only the end of the thread is heard.
#[derive(Debug)]
enum Never {}

/// The record, for the one who ends it.
#[derive(Debug)]
pub(crate) struct Audit {
    entries: Option<Entries>,
    shared: Arc<Shared>,
    done: Receiver<Never>,
    farewell: Duration,
}

/// Where entries go in.
#[derive(Debug, Clone)]
pub(crate) struct Entries {
    queue: SyncSender<(Moment, Event)>,
    shared: Arc<Shared>,
    moments: Moments,
}

/// What is known of the record, for `nowd status` and for metrics.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    entries: AtomicU64,
    lost: AtomicU64,
    /// Of those, how many are not recorded as lost yet.
    untold: AtomicU64,
    /// When the last one was lost, by the steady clock; 0: none was.
    lost_at: AtomicU64,
    failing: AtomicBool,
    /// The last entry, and why nothing can be written.
    words: Mutex<(Option<Head>, Option<String>)>,
}

/// Numbers since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// How many entries were written.
    pub(crate) entries: u64,
    /// How many were lost.
    pub(crate) lost: u64,
    /// Whether nothing can be written now.
    pub(crate) failing: bool,
}

/// How the record is, as `nowd status` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditReport {
    /// `ok`, `failing` or `off`.
    pub(crate) state: String,
    /// How many entries were written since the start.
    pub(crate) entries: u64,
    /// The last one: `NUMBER:HASH`.
    pub(crate) head: Option<String>,
    /// How many were lost since the start.
    pub(crate) lost: u64,
    /// Why nothing can be written.
    pub(crate) error: Option<String>,
}

impl Audit {
    /// Starts the thread, if the record is wanted.
    pub(crate) fn start(
        config: &AuditConfig,
        state_dir: &Path,
        target: &str,
        incarnation: Uuid,
        clock: &WallClock,
    ) -> std::io::Result<Option<Self>> {
        if !config.enabled {
            return Ok(None);
        }
        let about = About {
            folder: state_dir.join(FOLDER),
            max_size: config.max_size.bytes(),
            sync: config.sync,
            sealer: Sealer { incarnation },
            target: target.into(),
            clock: clock.clone(),
        };
        Self::with(about, |about, shared| Writer::new(about, shared, Box::new(std::convert::identity)))
            .map(Some)
    }

    fn with<D: crate::journal::disk::Disk + Send + 'static>(
        about: About,
        writer: impl FnOnce(About, Arc<Shared>) -> Writer<D>,
    ) -> std::io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE);
        let (tell_done, done) = sync_channel(0);
        let shared = Arc::<Shared>::default();
        let moments = Moments::new(about.clock.clone());
        let writer = writer(about, Arc::clone(&shared));
        std::thread::Builder::new().name("nowd-audit".into()).spawn(move || {
            writer.run(&entries);
            // Ends the wait of `drop`, by its own end.
            drop::<SyncSender<Never>>(tell_done);
        })?;
        Ok(Self {
            entries: Some(Entries { queue, shared: Arc::clone(&shared), moments }),
            shared,
            done,
            farewell: FAREWELL,
        })
    }

    /// Ends, and waits so long for what is still to be written, or 100 ms if that is longer.
    pub(crate) fn end(mut self, within: Duration) {
        self.farewell = within.max(FAREWELL);
    }

    /// Another place where entries go in; the record ends when all are gone.
    pub(crate) fn entries(&self) -> Option<Entries> {
        self.entries.clone()
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.entries = None;
        // Waits for the thread's end; a disk that hangs has had its time.
        match self.done.recv_timeout(self.farewell) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
    }
}

impl Entries {
    /// Takes an entry if there is room; never waits.
    pub(crate) fn push(&mut self, event: Event) {
        match self.queue.try_send((self.moments.now(), event)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.shared.lose(1),
            Err(TrySendError::Disconnected(_)) => {
                self.shared.lose(1);
                self.shared.fails("its thread has ended by a mistake in nowd; the next start makes another");
            }
        }
    }

    /// So many were lost before they came here.
    pub(crate) fn lost(&self, count: u64) {
        self.shared.lose(count);
    }
}

impl Shared {
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            entries: self.entries.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }

    /// `None` stands for a record that is not wanted.
    pub(crate) fn report(shared: Option<&Self>) -> AuditReport {
        let Some(shared) = shared else {
            return AuditReport { state: "off".into(), entries: 0, head: None, lost: 0, error: None };
        };
        let Counts { entries, lost, failing } = shared.counts();
        let (head, error) = shared.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = if failing { "failing" } else { "ok" };
        AuditReport { state: state.into(), entries, head: head.map(|head| head.to_string()), lost, error }
    }

    /// When an entry was last lost.
    pub(crate) fn lost_at(&self) -> Option<BootInstant> {
        let at = self.lost_at.load(Ordering::Relaxed);
        (at > 0).then(|| BootInstant::from_micros(at))
    }

    fn lose(&self, count: u64) {
        if count > 0 {
            self.lost_at.store(BootInstant::now().as_micros(), Ordering::Relaxed);
        }
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.untold.fetch_add(count, Ordering::Relaxed);
    }

    /// So many have to be recorded as lost once more.
    fn tell_again(&self, count: u64) {
        self.untold.fetch_add(count, Ordering::Relaxed);
    }

    fn take_lost(&self) -> u64 {
        self.untold.swap(0, Ordering::Relaxed)
    }

    fn wrote(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    fn works(&self) {
        self.failing.store(false, Ordering::Relaxed);
        self.words.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }

    fn fails(&self, why: &str) {
        self.failing.store(true, Ordering::Relaxed);
        self.words.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(why.to_owned());
    }

    fn reached(&self, head: Option<Head>) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).0 = head;
    }
}

#[cfg(test)]
mod tests;
