//! The gateway on the bus of its own machine: `io.nowd.Gateway1`, for the person at the bench and for local programs.
//!
//! A task of its own keeps the connection and talks to the gateway's loop through one bounded channel; calls take the path of
//! a call from the cloud. Nothing here decides about a call, and nothing that happens on the bus, or to it, makes the
//! gateway's loop wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nowd_core::Record;
use nowd_plugin::{BootInstant, CancellationToken, Method};
use nowd_protocol::{Level, RawValue, Uuid};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::BusConfig;

mod access;
mod ended;
mod link;
mod places;
mod problems;
mod refused;
mod serve;
mod status;
mod watch;

pub(crate) use ended::{CallEnded, kind};
pub(crate) use link::open;
pub(crate) use problems::{Level as ProblemLevel, Problem};
pub(crate) use status::{HealthReport, PluginReport, PluginSnapshot, Snapshot, StatusReport};

/// The gateway's name on the bus, where it is there, and the interface.
pub(crate) const NAME: &str = "io.nowd.Gateway1";
pub(crate) const PATH: &str = "/io/nowd/Gateway1";

/// What is told for a mistake in configuration or maps.
pub(crate) const CONFIG_ERROR: &str = "io.nowd.Error.Config";

/// The D-Bus error that says that it is locked already, for another reason.
pub(crate) const LOCKED_ERROR: &str = "io.nowd.Error.Locked";

/// How many questions may wait for the gateway's loop.
const ASKS: usize = 64;

/// How many ends of calls may wait to be sent to those who watch.
const FEED: usize = 256;

/// How long the start of the gateway waits for its bus.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// How long the last answers may take to be written when the process ends.
const FAREWELL: Duration = Duration::from_millis(100);

/// What somebody on the bus wants of the gateway. Whoever asks may be gone when it is answered.
#[derive(Debug)]
pub(crate) enum Ask {
    /// To run a call. The answer is the reply as on the wire; where none comes the sender is dropped.
    Call(Box<LocalCall>, oneshot::Sender<Result<String, NotBegun>>),
    /// What is on offer.
    Methods(oneshot::Sender<Vec<Method>>),
    /// How the gateway is.
    Status(oneshot::Sender<Box<Snapshot>>),
    /// To read configuration and maps again.
    Reload(oneshot::Sender<Result<String, ReloadError>>),
    /// To look for a lockout at once, and who has locked or unlocked.
    Look(String, oneshot::Sender<()>),
}

/// A call that came over the bus.
#[derive(Debug)]
pub(crate) struct LocalCall {
    pub(crate) id: Uuid,
    pub(crate) method: Level,
    pub(crate) request: Box<RawValue>,
    pub(crate) not_after: BootInstant,
    /// Who asks, as the bus vouches.
    pub(crate) caller: String,
    /// Since when calls over this bus come to this process and to no other.
    pub(crate) since: BootInstant,
}

/// A call was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotBegun {
    /// As many wait for answers as may.
    #[error("as many calls as may wait for their answers already do; nothing was done")]
    Busy,
    /// The gateway waits for something itself.
    #[error("no gateway runs yet, so nothing was done; `nowd status` says what is missing")]
    NoGateway,
}

/// Nothing was read again, or nothing of it counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReloadError {
    /// What is wrong, where.
    #[error("{0}")]
    Config(String),
    #[error("too many wait for a reload already")]
    TooMany,
    #[error("this gateway was not told where its configuration lies")]
    NoSource,
}

/// The gateway's end.
#[derive(Debug)]
pub(crate) struct Local {
    asks: mpsc::Receiver<Ask>,
    task: JoinSet<()>,
    stop: CancellationToken,
    /// The first attempt to be on the bus has ended, one way or the other.
    tried: Arc<AtomicBool>,
    /// Until when others wait for that.
    until: Option<BootInstant>,
}

/// What the task needs to begin.
#[derive(Debug)]
pub(crate) struct Waiting {
    asks: mpsc::Sender<Ask>,
    ended: mpsc::Receiver<Told>,
    watched: Arc<AtomicBool>,
    tried: Arc<AtomicBool>,
}

/// An end of a call, for those who watch.
#[derive(Debug)]
pub(crate) struct Told {
    json: String,
    /// How many could not be told since the start.
    lost: u64,
}

/// Where ends of calls go in. Never waits.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: mpsc::Sender<Told>,
    watched: Arc<AtomicBool>,
    lost: u64,
}

impl Waiting {
    /// What reaches the gateway's loop.
    pub(crate) const fn asks(&self) -> &mpsc::Sender<Ask> {
        &self.asks
    }
}

impl Local {
    /// Nothing is connected yet.
    pub(crate) fn new() -> (Self, Waiting, Feed) {
        let (ask, asks) = mpsc::channel(ASKS);
        let (sender, ended) = mpsc::channel(FEED);
        let watched = Arc::<AtomicBool>::default();
        let feed = Feed { sender, watched: Arc::clone(&watched), lost: 0 };
        let tried = Arc::<AtomicBool>::default();
        let waiting = Waiting { asks: ask, ended, watched, tried: Arc::clone(&tried) };
        let local = Self { asks, task: JoinSet::new(), stop: CancellationToken::new(), tried, until: None };
        (local, waiting, feed)
    }

    /// Begins to be there, as far as `config` wants it; lockouts lie in `state_dir`.
    pub(crate) fn start(&mut self, waiting: Waiting, config: &BusConfig, state_dir: PathBuf) {
        if config.serve {
            self.until = Some(BootInstant::now().saturating_add(FIRST_WITHIN));
            self.task.spawn(link::run(waiting, config.clone(), state_dir, self.stop.clone()));
        }
    }

    /// Whether it is there, as far as that can be waited for: somebody who was told that the gateway runs looks for it.
    pub(crate) fn has_begun(&self, now: BootInstant) -> bool {
        self.tried.load(Ordering::Relaxed) || self.until.is_none_or(|until| now >= until)
    }

    /// The next question. For ever where nobody can ask; may be dropped while waiting.
    pub(crate) async fn next(&mut self) -> Ask {
        match self.asks.recv().await {
            Some(ask) => ask,
            None => std::future::pending().await,
        }
    }

    /// Leaves the bus, with a moment for answers that are still to be written.
    pub(crate) async fn end(mut self) {
        drop(self.asks);
        self.stop.cancel();
        tokio::select! {
            _ = self.task.join_next() => {}
            () = tokio::time::sleep(FAREWELL) => {}
        }
    }
}

impl Feed {
    /// Tells those who watch, if anybody does.
    pub(crate) fn tell(&mut self, record: &Record) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let told = Told { json: CallEnded::of(record).json(), lost: self.lost };
        if self.sender.try_send(told).is_err() {
            self.lost(1);
        }
    }

    /// So many ends of calls cannot be told.
    pub(crate) fn lost(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use nowd_testkit::{Bus, wait_for};
    use zbus::fdo::DBusProxy;
    use zbus::names::BusName;

    use super::*;

    /// Started on this bus, at an instant that is given back.
    fn started(address: &str) -> (Local, BootInstant) {
        let (mut local, waiting, _) = Local::new();
        let now = BootInstant::now();
        assert!(local.has_begun(now), "nobody waits for what is not started");
        let config = BusConfig { address: address.parse().unwrap(), ..BusConfig::default() };
        local.start(waiting, &config, PathBuf::new());
        assert!(!local.has_begun(now));
        (local, now)
    }

    #[tokio::test]
    async fn whoever_was_told_that_it_runs_finds_it_on_the_bus() {
        let bus = Bus::start();
        let (local, now) = started(&bus.address());
        wait_for(Duration::from_secs(60), "the gateway on its bus", || local.has_begun(now)).await;
        let asks = zbus::connection::Builder::address(bus.address().as_str()).build().await.unwrap();
        let bus = DBusProxy::new(&asks).await.unwrap();
        assert!(bus.name_has_owner(BusName::try_from(NAME).unwrap()).await.unwrap());
    }

    #[tokio::test]
    async fn a_bus_that_is_missing_or_says_nothing_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let address = format!("unix:path={}", path.display());
        let (missing, now) = started(&address);
        wait_for(Duration::from_secs(60), "an attempt", || missing.has_begun(now)).await;
        let _silent = UnixListener::bind(&path).unwrap();
        let (local, _) = started(&address);
        assert!(local.has_begun(BootInstant::now().saturating_add(FIRST_WITHIN)));
    }
}
