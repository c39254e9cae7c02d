//! The gateway's client of `io.nowd.Plugin1`: plugins of any language, each in a process of its own.
//!
//! A [`DropIn`] names one and narrows what it offers; a [`Service`] keeps a connection to it, follows who owns its name, asks
//! it for its description and health, and makes calls; [`Signals`] hears `Changed` of all plugins of a bus. A [`ServicePlugin`]
//! is a set of methods on offer: it comes and goes with descriptions and drop-ins, while its service stays.
//!
//! A plugin is not trusted. It has a connection of its own, so that what it does there is felt by its own callers alone;
//! every message is bounded before memory is taken for it, unasked ones are bounded in number, and descriptions are read
//! away from the thread on which calls pass.
//!
//! What it never does: start a service, write a call at or after its deadline, or send one twice.

mod ask;
mod drop_in;
mod invoke;
mod plugin;
mod signals;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nowd_plugin::service::Description;
use nowd_plugin::{BootInstant, BoxFuture, CancellationToken, Health, Pulse};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::drop_in::DropIn;
pub use self::invoke::NO_OWNER;
pub use self::plugin::ServicePlugin;
pub use self::signals::Signals;

use self::ask::Asked;
use self::signals::Ear;
use crate::bus::{Allowance, Bus, START_PLUGIN, nobody_has};
use nowd_plugin::bus::BusAddress;

/// After a bug has ended a task, before it is begun again.
const PAUSE_AFTER_BUG: Duration = Duration::from_secs(1);

/// How many sentences about a plugin stand in the log: so many at once, and after that one in this time.
const LOGGED: (u32, Duration) = (16, Duration::from_secs(10));

/// Where a plugin is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceTarget {
    /// The bus, which must be reached over a Unix socket.
    pub bus: BusAddress,
    /// The plugin's well-known name: `com.example.Gate`.
    pub name: String,
    /// Its object that implements the interface: `/com/example/Gate`.
    pub path: String,
}

impl fmt::Display for ServiceTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} on {}", self.name, self.path, self.bus.called())
    }
}

/// What is known of a plugin.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Whether somebody owns its name.
    pub present: bool,
    /// What it said of itself, when it last did so rightly. It stays when the plugin goes.
    pub described: Option<Arc<Description>>,
    /// What is wrong with what it last said of itself, in one sentence; or that it said nothing.
    pub mistake: Option<String>,
    /// How it says it is.
    pub health: Health,
    /// Why nobody owns its name, in one sentence.
    pub why_absent: Option<String>,
}

/// One plugin: a connection of its own, kept for ever.
#[derive(Debug)]
pub struct Service {
    target: ServiceTarget,
    bus: Arc<Bus>,
    signals: Arc<Signals>,
    ear: Arc<Ear>,
    state: watch::Sender<State>,
    presence: Mutex<Presence>,
    /// Whether it has been asked what it is, or there was nobody to ask.
    settled: watch::Sender<bool>,
    asked: Mutex<Asked>,
    /// Whose description counts: its unique name, and the connection on which that is its name.
    described_by: Mutex<Option<(String, u64)>>,
    /// How much of it stands in the log.
    logged: Mutex<Allowance>,
}

/// When the plugin was there.
#[derive(Debug, Clone, Copy, Default)]
struct Presence {
    seen: bool,
    gone_at: Option<BootInstant>,
}

impl Service {
    /// A plugin that is not connected yet. Opens nothing; [`Self::run`] does.
    #[must_use]
    pub fn new(target: ServiceTarget, signals: Arc<Signals>) -> Arc<Self> {
        let bus = Arc::new(Bus::for_plugin(target.bus.clone(), &target.name));
        let ear = Arc::new(Ear::new(&target, &bus));
        signals.enrol(&ear);
        Arc::new(Self {
            target,
            bus,
            signals,
            ear,
            state: watch::Sender::default(),
            presence: Mutex::default(),
            settled: watch::Sender::default(),
            asked: Mutex::default(),
            described_by: Mutex::default(),
            logged: Mutex::new(Allowance::new(LOGGED.0, LOGGED.1)),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn target(&self) -> &ServiceTarget {
        &self.target
    }

    /// Where it is heard that it has changed.
    #[must_use]
    pub fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// The loops that keep its two connections.
    #[must_use]
    pub fn pulses(&self) -> Vec<Arc<Pulse>> {
        vec![Arc::clone(self.bus.pulse()), Arc::clone(self.signals.bus.pulse())]
    }

    /// Keeps the connection, and what is known of the plugin. Never ends before `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        keep_running(&self.bus, &stop, |tasks| {
            let (this, stop) = (Arc::clone(&self), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    // First, since the connection that ends because of it is no plugin's that has gone.
                    biased;
                    () = stop.cancelled() => {}
                    never = this.follow() => match never {},
                    never = this.keep_asking() => match never {},
                }
            });
        })
        .await;
    }

    /// What is known of the plugin, and what becomes known.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Ends when there is a connection, or a first attempt has failed; and, if somebody owns the name, the plugin was asked
    /// what it is. Bounded, while [`Self::run`] runs.
    pub fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.bus.ready().await;
            // The sender lives as long as this does.
            drop(self.settled.subscribe().wait_for(|settled| *settled).await);
        })
    }

    /// Notes who is there, for ever.
    async fn follow(&self) -> std::convert::Infallible {
        let mut changes = self.bus.changes();
        loop {
            changes.mark_unchanged();
            self.note_presence();
            self.ear.wake.notify_one();
            if changes.changed().await.is_err() {
                // The bus lives as long as this does.
                std::future::pending::<()>().await;
            }
        }
    }

    fn note_presence(&self) {
        let present = self.bus.has_owner(&self.target.name);
        let mut presence = lock(&self.presence);
        if present {
            *presence = Presence { seen: true, gone_at: None };
        } else if presence.seen && presence.gone_at.is_none() {
            presence.gone_at = Some(BootInstant::now());
        }
        let seen = presence.seen;
        drop(presence);
        let tried = self.bus.has_tried();
        let why = (!present && tried).then(|| self.why_absent(seen));
        if !present && tried {
            self.settled.send_replace(true);
        }
        let (mut came, mut went) = (false, false);
        self.state.send_if_modified(|state| {
            if state.present == present && state.why_absent == why {
                return false;
            }
            (came, went) = (present && !state.present, state.present && !present);
            state.present = present;
            state.why_absent.clone_from(&why);
            true
        });
        if came && self.may_log() {
            tracing::info!("the plugin {} is there", self.target);
        }
        if went && self.may_log() {
            tracing::warn!(
                see = "plugin-gone",
                "the plugin {} is gone: {}",
                self.target,
                why.unwrap_or_default()
            );
        }
    }

    /// Whether the log is to have one more sentence about this plugin: one that comes and goes all the time is not to fill it.
    fn may_log(&self) -> bool {
        lock(&self.logged).take()
    }

    /// Why nobody is there, as a sentence that stays right.
    fn why_absent(&self, seen: bool) -> String {
        let (name, bus) = (&self.target.name, &self.target.bus);
        if !self.bus.is_up() {
            return format!("{} is not there: {}", bus.full(), self.bus.why_down());
        }
        if seen {
            return format!("{name} has left {}; start that plugin again", bus.called());
        }
        nobody_has(&self.target.bus, name, Some(START_PLUGIN))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signals.look_again();
    }
}

/// Runs a bus, and what `begin` begins, until `stop`; after a bug, anew.
async fn keep_running(bus: &Arc<Bus>, stop: &CancellationToken, begin: impl Fn(&mut JoinSet<()>)) {
    while !stop.is_cancelled() {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(bus).run(stop.clone()));
        begin(&mut tasks);
        while let Some(ended) = tasks.join_next().await {
            if let Err(e) = ended {
                // A connection that nobody reads would hold every call for ever.
                tracing::error!(see = "bug", error = %e, "a task of a plugin's connection failed; connecting anew");
                break;
            }
        }
        tasks.shutdown().await;
        bus.disconnect();
        if !stop.is_cancelled() {
            tokio::time::sleep(PAUSE_AFTER_BUG).await;
        }
    }
}

/// What is locked is only ever changed in whole steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
