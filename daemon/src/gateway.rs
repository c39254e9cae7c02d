//! The gateway: one loop that hears messages, results, time and signals, asks the core, and does what it says.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nowd_core::{Action, CallKey, Core, Event, Instant};
use nowd_plugin::host::Host;
use nowd_plugin::{BootInstant, CancellationToken, Plugin};
use nowd_protocol::Level;
use serde_json::Value;
use tokio::task::JoinSet;
use tracing::{info, warn};
use uuid::Uuid;

use crate::audit::{Audit, Event as Audited};
use crate::clock::WallClock;
use crate::config::Config;
use crate::journal::{Journal, JournalError};
use crate::local::{Local, Waiting};
use crate::lockout::{Change, Lockout};
use crate::metrics::Metrics;
use crate::record::{Line, Records};
use crate::services::Pool;
use crate::setup::Setup;
use crate::supervisor::Supervisor;
use crate::uplink::{Facts, Uplink, UplinkEvent};

mod alarm;
mod completion;
mod generations;
mod guidance;
mod local;
mod reload;
mod reply;
mod requests;
mod services;
mod stall;
mod supervised;
mod trust;

use alarm::Alarm;
use completion::ended;
use generations::{Generations, Numbers};
pub(crate) use guidance::{Candidate, Guidance, Taken};
use local::Waiters;
pub(crate) use reload::ReloadCounts;
use reload::Reloads;
pub(crate) use reload::look_at_journal;
use services::Services;
use stall::Stall;

/// How long calls that run may go on after the process was asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// How long saying offline may take; a broker that does not listen says it by the will.
const GOODBYE_WITHIN: Duration = Duration::from_millis(400);

/// How long plugins may take to let go of their hardware. With the farewells of bus, records, audit record
/// (the journal's is beside these two) and log (100 ms each) all of it fits into 4 s.
const LET_GO_WITHIN: Duration = Duration::from_millis(150);

/// How much of the 4 s is over when the last farewell must begin; and how long that one may take where there is time.
const LAST_FAREWELL_AT: Duration = Duration::from_millis(3_800);
const LAST_FAREWELL: Duration = Duration::from_secs(1);

/// The gateway. [`Gateway::run`] is all there is to do with it.
pub struct Gateway {
    core: Core<Arc<Value>>,
    host: Host<CallKey>,
    generations: Generations,
    /// The plugins compiled in.
    extra: Vec<Arc<dyn Plugin>>,
    reloads: Reloads,
    /// The plugins in processes of their own.
    pool: Arc<Pool>,
    services: Services,
    numbers: Numbers,
    /// As it was at the start, but for what is read again with the maps.
    config: Config,
    uplink: Uplink,
    clock: WallClock,
    trust: trust::Watch,
    stall: Stall,
    alarm: Alarm,
    metrics: Metrics,
    records: Records,
    journal: Option<Journal>,
    lockout: Lockout,
    /// On the bus of this machine, and what it begins with.
    local: (Local, Option<Waiting>),
    waiters: Waiters,
    supervisor: Supervisor,
    target: Level,
    incarnation: Uuid,
    started: BootInstant,
}

/// A gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal was asked for and cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The machine gives no more threads.
    #[error("no thread can be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that has not started yet. To be called inside a tokio runtime.
    pub fn new(setup: Setup) -> Result<Self, StartError> {
        let Setup { settings, plugins, set, extra, pool, link, certificates, clock, config } = setup;
        let state_dir = config.state_dir.clone();
        // First, since it makes the folder for both.
        let lockout = Lockout::new(state_dir.clone());
        let (journal, past) = if settings.journal {
            let (journal, past) = Journal::open(&state_dir)?;
            info!(lines = past.len(), "the journal of {} is open", state_dir.display());
            (Some(journal), past)
        } else {
            (None, Vec::new())
        };
        let incarnation = settings.incarnation;
        let audit = Audit::start(&config.audit, &state_dir, settings.target.as_str(), incarnation, &clock);
        let audit = audit.map_err(StartError::Thread)?;
        let facts = Facts { target: settings.target.clone(), incarnation, methods: set.hash.clone() };
        let stall = Stall::new(!settings.offer.compat.prefixes.is_empty());
        let (local, waiting, feed) = Local::new();
        let target = settings.target.clone();
        Ok(Self {
            core: Core::new(settings, past),
            host: Host::default(),
            generations: Generations::new(plugins, set),
            extra,
            reloads: Reloads::none(),
            pool,
            services: Services::default(),
            numbers: Numbers::default(),
            uplink: Uplink::new(link, certificates, facts, config.link.probe),
            config,
            trust: trust::Watch::new(&clock),
            clock,
            stall,
            alarm: Alarm::new(),
            metrics: Metrics::none(),
            records: Records::start(feed, audit).map_err(StartError::Thread)?,
            journal,
            lockout,
            local: (local, Some(waiting)),
            waiters: Waiters::default(),
            supervisor: Supervisor::new(None),
            target,
            incarnation,
            started: BootInstant::now(),
        })
    }

    /// Runs until `stop`, then lets calls that run end, says offline, and returns: all inside 4 s.
    pub async fn run(self, stop: CancellationToken) {
        // A task is woken by another of the same thread without a look at what the kernel has, which the future that a runtime
        // blocks on is not.
        let mut work = JoinSet::new();
        work.spawn(self.work(stop));
        // Nothing ends it but its own end, or a panic, which goes on here.
        if let Some(Err(e)) = work.join_next().await
            && let Ok(panic) = e.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    async fn work(mut self, stop: CancellationToken) {
        self.generations.start(&self.extra);
        self.look_for_lockout();
        self.meet_services().await;
        if let Some(waiting) = self.local.1.take() {
            self.metrics.start(&self.config.metrics, waiting.asks());
            self.local.0.start(waiting, &self.config.bus, self.config.state_dir.clone());
        }
        self.serve(&stop).await;
        self.supervisor.stopping();
        info!(running = self.core.unanswered(), "stopping");
        let asked = BootInstant::now();
        self.drain().await;
        let Self { uplink, records, journal, generations, services, local, waiters, metrics, .. } = self;
        // Nobody answers them any more.
        drop(waiters);
        local.0.end().await;
        tokio::select! {
            () = uplink.close() => {}
            () = tokio::time::sleep(GOODBYE_WITHIN) => info!("the broker did not hear the goodbye in time; the last will says it"),
        }
        tokio::select! {
            ((), ()) = async { tokio::join!(async { generations.end().await; services.end().await }, metrics.end()) } => {}
            () = tokio::time::sleep(LET_GO_WITHIN) => warn!(see = "plugin-held-on", "a plugin, or the disk of the metrics, did not let go in time"),
        }
        info!("stopped");
        records.push(Line::Audit(Audited::Stopped));
        // Both may wait for the disk, and all of this has to fit into 4 s.
        std::thread::scope(|scope| {
            // Where there is no thread for it, it is dropped here.
            drop(std::thread::Builder::new().spawn_scoped(scope, || drop(journal)));
            let left = LAST_FAREWELL_AT.saturating_sub(BootInstant::now().saturating_since(asked));
            records.end(left.min(LAST_FAREWELL));
        });
    }

    async fn serve(&mut self, stop: &CancellationToken) {
        let mut stopped = pin!(stop.cancelled());
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return,
                () = self.step() => {}
            }
            others_first().await;
        }
    }

    /// Lets calls that run end.
    async fn drain(&mut self) {
        self.reloads.end();
        self.decide(Event::Stop);
        let given_up = BootInstant::now().saturating_add(DRAIN_WITHIN);
        while self.core.unanswered() > 0 {
            let left = given_up.saturating_since(BootInstant::now());
            if left.is_zero() {
                warn!(
                    see = "calls-given-up",
                    running = self.core.unanswered(),
                    "calls that still run are given up; they may have acted"
                );
                return self.decide(Event::Abandon);
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.step() => {}
            }
        }
    }

    /// Hears one thing and deals with it. May be dropped while waiting.
    async fn step(&mut self) {
        let wake = self.core.wake_at().map(until);
        if let Some(left) = wake {
            self.alarm.ring_in(left);
        }
        let calls = self.core.calls();
        self.uplink.set_quiet(calls == 0);
        self.tell_calls(calls);
        tokio::select! {
            event = self.uplink.next() => {
                let stalled_again = self.check_stall();
                match event {
                    UplinkEvent::Message(message) => self.message(message),
                    // What came back may have lain there through the gap that has only just been noticed.
                    UplinkEvent::ProbeReturned if stalled_again => {}
                    UplinkEvent::ProbeReturned | UplinkEvent::Down => self.stall.over(),
                }
            }
            (key, completion) = self.host.next() => {
                let ended = ended(completion);
                self.decide(Event::Ended { key, ended });
            }
            ask = self.local.0.next() => self.asked(ask),
            (key, kept) = journaled(self.journal.as_mut()) => self.decide(Event::Journaled { key, kept }),
            step = self.reloads.next(&self.extra, &self.clock, &self.pool, self.generations.serial()) => self.reloaded(step),
            compiled = self.services.next(&self.generations.current().plugins, &self.config, &self.numbers) => self.described(compiled),
            () = self.alarm.rings(), if wake.is_some() => self.decide(Event::Time),
            () = self.stall.beat() => {
                self.check_stall();
                self.trust.look(&self.clock);
                self.look_for_lockout();
                self.waiters.forget(BootInstant::now());
                self.tell_status();
            }
            () = self.supervisor.beat() => self.supervise(),
        }
    }

    /// Obeys a lockout, and tells the one who locked how much still runs.
    fn look_for_lockout(&mut self) {
        self.look_for_lockout_of(None);
    }

    /// The same, for the one who has just locked or unlocked.
    fn look_for_lockout_of(&mut self, by: Option<String>) {
        match self.lockout.look() {
            Some(Change::Locked(reason)) => {
                warn!(see = "locked", "locked out on site: {reason}; `nowd unlock` ends it");
                let by = self.lockout.by().map(str::to_owned).or(by);
                self.records.push(Line::Audit(Audited::Locked { reason: reason.clone(), by }));
                self.act(now(), Event::Lockout(Some(reason)));
            }
            Some(Change::Unlocked) => {
                info!("not locked out any more");
                self.records.push(Line::Audit(Audited::Unlocked { by }));
                self.act(now(), Event::Lockout(None));
            }
            None => {}
        }
        if let Err(e) = self.lockout.tell(self.core.running()) {
            warn!(
                see = "lock-unanswered",
                "who locked this gateway cannot be told how many calls still run: {e}"
            );
        }
    }

    /// Says whether a gap has just ended.
    fn check_stall(&mut self) -> bool {
        let Some(gap) = self.stall.check(BootInstant::now()) else { return false };
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        if !self.stall.is_on() {
            warn!(
                see = "stood-still",
                gap_ms, "the process stood still; calls from that time may have expired"
            );
            return true;
        }
        warn!(
            see = "stood-still",
            gap_ms, "the process stood still; requests of compatibility callers from that time are dropped"
        );
        if !self.uplink.probe() {
            self.stall.over();
        }
        true
    }

    /// Nothing is started without a look for somebody who wants nothing to move. The end of a call that nobody waits for starts
    /// nothing.
    fn decide(&mut self, event: Event<Arc<Value>>) {
        let is_end = matches!(event, Event::Ended { .. });
        if !is_end || self.lockout.reason().is_some() || self.core.may_start_another() {
            self.look_for_lockout();
        }
        self.act(now(), event);
    }

    fn act(&mut self, now: Instant, event: Event<Arc<Value>>) {
        let mut refused = Vec::new();
        for action in self.core.handle(now, event) {
            match action {
                Action::Journal { line, then } => {
                    let taken = self.journal.as_ref().is_some_and(|journal| journal.append(line, then));
                    refused.extend(then.filter(|_| !taken));
                }
                Action::Start(start) => self.start(start),
                Action::Cancel(key) => self.host.cancel(&key),
                Action::Reply(reply) => self.reply(*reply),
                Action::Record(record) => self.records.push(Line::Call(record)),
                Action::Dropped(reason) => self.records.push(Line::Dropped(reason)),
                Action::Polled { method, error } => self.records.push(Line::Polled { method, error }),
            }
        }
        for key in refused {
            self.act(now, Event::Journaled { key, kept: false });
        }
        self.retire();
    }
}

fn now() -> Instant {
    Instant::from_micros(BootInstant::now().as_micros())
}

/// For ever without a journal.
async fn journaled(journal: Option<&mut Journal>) -> (CallKey, bool) {
    match journal {
        Some(journal) => journal.next().await,
        None => std::future::pending().await,
    }
}

fn until(at: Instant) -> Duration {
    // The runtime's timer counts milliseconds: rather a little late, which every check survives, than early and again.
    BootInstant::from_micros(at.as_micros()).saturating_since(BootInstant::now())
}

/// Lets those go first whom the last step has woken: a call is begun, and an answer written, before the next thing is waited for.
async fn others_first() {
    let mut gone = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
