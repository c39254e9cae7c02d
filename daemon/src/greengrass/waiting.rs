//! A gateway that cannot run yet, on the bus of its machine: it says why, and no call reaches anything.

use nowd_plugin::BootInstant;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::standing::Standing;
use crate::clock::WallClock;
use crate::config::{BusConfig, ClockTrust};
use crate::gateway::ReloadCounts;
use crate::local::{Ask, Feed, Local, NotBegun, ReloadError, Snapshot};
use crate::uplink::{LinkCounts, LinkReport, Refusals};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The bus's end of a gateway that waits.
#[derive(Debug)]
pub(super) struct Desk {
    local: Local,
    /// Nobody watches calls that there are none of; the bus's end wants it to stay.
    _feed: Feed,
    state_dir: PathBuf,
    since: BootInstant,
    why: String,
    /// Why the last attempt at an identity failed, where one is made.
    trouble: watch::Receiver<Option<String>>,
    target: String,
    standing: Standing,
    /// Somebody on the bus has asked for another look.
    pub(super) asked: Arc<Notify>,
}

impl Desk {
    pub(super) fn open(
        bus: &BusConfig,
        state_dir: &Path,
        target: String,
        why: String,
        (trouble, standing): (watch::Receiver<Option<String>>, Standing),
    ) -> Self {
        let (mut local, waiting, feed) = Local::new();
        local.start(waiting, bus, state_dir.to_owned());
        let (state_dir, since) = (state_dir.to_owned(), BootInstant::now());
        Self { local, _feed: feed, state_dir, since, why, trouble, target, standing, asked: Arc::default() }
    }

    /// Answers, for ever. May be dropped while waiting.
    pub(super) async fn answer(&mut self) {
        loop {
            // Whoever asked may be gone.
            match self.local.next().await {
                Ask::Call(_, answer) => drop(answer.send(Err(NotBegun::NoGateway))),
                Ask::Methods(answer) => drop(answer.send(Vec::new())),
                Ask::Status(answer) => drop(answer.send(Box::new(self.snapshot()))),
                Ask::Reload(answer) => {
                    self.asked.notify_one();
                    drop(answer.send(Err(ReloadError::Config(self.why()))));
                }
                Ask::Look(_, answer) => answer.send(()).unwrap_or_default(),
            }
        }
    }

    fn why(&self) -> String {
        match &*self.trouble.borrow() {
            Some(trouble) => format!("{}; the last attempt: {trouble}", self.why),
            None => self.why.clone(),
        }
    }

    pub(super) async fn close(self) {
        self.local.end().await;
    }

    fn snapshot(&self) -> Snapshot {
        let now = BootInstant::now();
        let link = LinkReport {
            state: "down",
            endpoint: "no broker yet".into(),
            via: "direct",
            since: self.since,
            last_error: Some((self.why(), self.since)),
            needs_mending: true,
            counts: LinkCounts::default(),
            refusals: Refusals::default(),
            certificate: None,
        };
        Snapshot {
            waiting: Some(self.why()),
            greengrass: Some(self.standing.report(now)),
            target: self.target.clone(),
            incarnation: Uuid::nil(),
            started: self.since,
            now,
            state_dir: self.state_dir.clone(),
            link,
            clock: WallClock::of_this_machine(ClockTrust::Auto).trust(),
            clock_changes: 0,
            lockout: None,
            journal: false,
            audit: None,
            journal_failing: false,
            metrics_failing: None,
            failed_safe_actions: Vec::new(),
            stalls: (0, Duration::ZERO),
            reloads: ReloadCounts::default(),
            plugins: Vec::new(),
            lanes: Vec::new(),
            running: 0,
            stats: Arc::default(),
        }
    }
}
