//! The thread that writes: it alone waits for the disk. What it cannot write it holds for a while, then counts; when the disk is
//! back it says how much is missing. Nothing that it meets ends it, or the daemon.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use nowd_plugin::BootInstant;
use tracing::{error, info, warn};

use super::entry::{Event, Moment, Sealer, What};
use super::folding::Folding;
use super::store::{Store, StoreError};
use super::{QUEUE, Shared};
use crate::clock::WallClock;
use crate::journal::disk::Disk;

/// How much is held while nothing can be written.
const HELD: usize = 1_024;

/// How soon a disk that failed is tried again: at first, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// How often the head is told to the log while entries are written.
const HEAD_EVERY: Duration = Duration::from_secs(3_600);

/// Everything that a writer has to know.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) folder: PathBuf,
    pub(super) max_size: u64,
    pub(super) sync: Duration,
    pub(super) sealer: Sealer,
    pub(super) target: String,
    pub(super) clock: WallClock,
}

pub(super) struct Writer<D> {
    about: About,
    wrap: Box<dyn FnMut(File) -> D + Send>,
    shared: Arc<Shared>,
    folding: Folding,
    held: VecDeque<(Moment, Event)>,
    store: Option<Store<D>>,
    /// Whether this process has said that it has started.
    started: bool,
    /// The last number that was given while this process writes, also of what was lost since.
    given: Option<u64>,
    /// How many of those that are recorded as lost would be lost again, if the disk failed now.
    told_lost: u64,
    /// Why entries were lost.
    why: String,
    dirty_since: Option<BootInstant>,
    head_told: BootInstant,
    /// Whether a file was begun since.
    rolled: bool,
    /// When to try again, while nothing can be written.
    retry: Option<BootInstant>,
    /// How long after the last try.
    pause: Duration,
    /// Since when it can be written again.
    mended_at: Option<BootInstant>,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(about: About, shared: Arc<Shared>, wrap: Box<dyn FnMut(File) -> D + Send>) -> Self {
        Self {
            about,
            wrap,
            shared,
            folding: Folding::default(),
            held: VecDeque::new(),
            store: None,
            started: false,
            given: None,
            told_lost: 0,
            why: TOO_FAST.into(),
            dirty_since: None,
            head_told: BootInstant::now(),
            rolled: false,
            retry: None,
            pause: RETRY,
            mended_at: None,
        }
    }

    /// Until nobody can send any more.
    pub(super) fn run(mut self, queue: &Receiver<(Moment, Event)>) {
        let mut closed = false;
        loop {
            self.round(closed);
            if closed {
                if self.store.is_none() {
                    // What was found missing only now can still be recorded as lost.
                    self.round(closed);
                }
                return;
            }
            let first = match self.due() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => queue.recv_timeout(due.saturating_since(BootInstant::now())),
            };
            match first {
                Ok(first) => {
                    self.hold(first);
                    queue.try_iter().take(QUEUE).for_each(|next| self.hold(next));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => closed = true,
            }
        }
    }

    fn hold(&mut self, (moment, event): (Moment, Event)) {
        if !self.folding.admit(&event, moment) {
            return;
        }
        // Where the disk works, a queue's length comes in at most before it is written.
        let most = if self.store.is_some() { QUEUE.saturating_add(1) } else { HELD };
        if self.held.len() < most {
            self.held.push_back((moment, event));
        } else {
            self.shared.lose(1);
        }
    }

    /// When there is something to do by itself.
    fn due(&self) -> Option<BootInstant> {
        let sync = self.dirty_since.map(|since| since.saturating_add(self.about.sync));
        match self.retry {
            Some(at) => Some(at),
            None => sync.into_iter().chain(self.folding.due()).min(),
        }
    }

    fn round(&mut self, closing: bool) {
        let now = BootInstant::now();
        let may_try = closing || self.retry.is_none_or(|at| now >= at);
        let result = if self.store.is_some() || may_try { self.write(now, closing) } else { Ok(()) };
        match result {
            Ok(()) => {}
            Err(e) => self.fail(&e),
        }
    }

    fn write(&mut self, now: BootInstant, closing: bool) -> Result<(), StoreError> {
        if self.store.is_none() {
            self.open()?;
        }
        self.tell_lost()?;
        if closing || self.folding.due().is_some_and(|due| now >= due) {
            self.tell_folded()?;
        }
        while let Some((moment, event)) = self.held.pop_front() {
            if matches!(event, Event::Stopped) {
                self.tell_folded()?;
            }
            let mut reason = String::new();
            let added = self.add(moment, &What::of(&event, &mut reason));
            if added.is_err() {
                self.held.push_front((moment, event));
            }
            added?;
            if let Some(store) = self.store.as_mut().filter(|store| store.is_much()) {
                store.flush()?;
            }
        }
        let Some(store) = &mut self.store else { return Ok(()) };
        store.flush()?;
        self.rolled |= store.has_rolled();
        self.sync(now, closing)?;
        self.report();
        Ok(())
    }

    /// Opens what is there, and says so in it.
    fn open(&mut self) -> Result<(), StoreError> {
        let About { folder, max_size, sealer, .. } = &self.about;
        let (store, mended) = Store::open(folder, *max_size, *sealer, &mut self.wrap)?;
        let found = store.head().map_or(0, |head| head.number);
        // What this process wrote and does not find again.
        let missing = self.given.map_or(0, |given| given.saturating_sub(found));
        self.shared.lose(missing);
        self.shared.tell_again(std::mem::take(&mut self.told_lost));
        self.given = Some(found);
        self.store = Some(store);
        let moment = Moment::now(&self.about.clock);
        for mended in mended {
            warn!(
                see = "audit-torn",
                bytes = mended.bytes(),
                "the end of the audit record was torn, by a loss of power or a full disk: it was taken off, and lies beside it"
            );
            self.add(moment, &mended.what())?;
        }
        if !self.started {
            let target = self.about.target.clone();
            self.add(moment, &What::Start { version: env!("CARGO_PKG_VERSION"), target: &target })?;
        }
        self.tell_lost()?;
        if let Some(store) = &mut self.store {
            store.sync()?;
            store.has_rolled();
        }
        self.synced();
        self.started = true;
        self.works();
        self.tell_head("the audit record goes on from here");
        Ok(())
    }

    fn add(&mut self, moment: Moment, what: &What<'_>) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let added = store.add(moment, what, &mut self.wrap);
        self.given = self.given.max(store.head().map(|head| head.number));
        added?;
        self.shared.wrote();
        self.dirty_since = self.dirty_since.or_else(|| Some(BootInstant::now()));
        Ok(())
    }

    fn tell_lost(&mut self) -> Result<(), StoreError> {
        let count = self.shared.take_lost();
        if count == 0 {
            return Ok(());
        }
        warn!(see = "audit-lost", count, "entries of the audit record were lost: {}", self.why);
        self.told_lost = self.told_lost.saturating_add(count);
        let why = self.why.clone();
        self.add(Moment::now(&self.about.clock), &What::Lost { count, why: &why })
    }

    fn tell_folded(&mut self) -> Result<(), StoreError> {
        while let Some((client, folded)) = self.folding.pop() {
            let what = What::Folded {
                client: Some(client.as_str()).filter(|client| !client.is_empty()),
                since: folded.since.text(),
                count: folded.statuses.values().fold(0, |sum, count| sum.saturating_add(*count)),
                statuses: &folded.statuses,
            };
            let added = self.add(Moment::now(&self.about.clock), &what);
            if added.is_err() {
                self.folding.put_back(client, folded);
            }
            added?;
        }
        Ok(())
    }

    fn sync(&mut self, now: BootInstant, closing: bool) -> Result<(), StoreError> {
        let Some(since) = self.dirty_since else { return Ok(()) };
        if !closing && now.saturating_since(since) < self.about.sync {
            return Ok(());
        }
        if let Some(store) = &mut self.store {
            store.sync()?;
        }
        self.synced();
        // Only what no loss of power can take back is told.
        if closing {
            self.tell_head("the audit record ends here for now");
        } else if std::mem::take(&mut self.rolled) {
            self.tell_head("the audit record goes on in another file");
        } else if now.saturating_since(self.head_told) >= HEAD_EVERY {
            self.tell_head("the audit record has come so far");
        }
        Ok(())
    }

    fn synced(&mut self) {
        self.dirty_since = None;
        self.told_lost = 0;
    }

    fn tell_head(&mut self, what: &str) {
        self.head_told = BootInstant::now();
        if let Some(head) = self.store.as_ref().and_then(Store::head) {
            info!(target: "nowd::audit", %head, "{what}");
        }
    }

    fn report(&self) {
        self.shared.reached(self.store.as_ref().and_then(Store::head));
    }

    fn works(&mut self) {
        let now = BootInstant::now();
        if self.retry.take().is_some() {
            if !self.is_fresh(now) {
                info!("the audit record in {} can be written again", self.about.folder.display());
            }
            self.mended_at = Some(now);
        }
        self.why = TOO_FAST.into();
        self.shared.works();
    }

    /// A disk that is full takes a little now and then: that is not told each time.
    fn is_fresh(&self, now: BootInstant) -> bool {
        self.mended_at.is_some_and(|at| now.saturating_since(at) < RETRY_MOST)
    }

    fn fail(&mut self, e: &StoreError) {
        let now = BootInstant::now();
        self.store = None;
        self.dirty_since = None;
        if self.retry.is_some() || self.is_fresh(now) {
            self.pause = self.pause.saturating_mul(2).min(RETRY_MOST);
        } else {
            self.pause = RETRY;
            error!(
                see = "audit-failing",
                "the audit record cannot be written: {e}; calls go on without it, and what is missing is counted: see that \
                 `state_dir` is on a disk that has room and can be written"
            );
        }
        self.why = e.to_string();
        self.shared.fails(&self.why);
        self.retry = Some(now.saturating_add(self.pause));
    }
}

/// Why entries are lost while the disk works.
const TOO_FAST: &str = "they came faster than they could be written";
