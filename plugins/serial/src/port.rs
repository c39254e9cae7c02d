//! The owner of one port: opens it, opens it again for ever, and does one call at a time.
//!
//! A call for a port that is not there is answered at once; none is kept until it comes back. A port outlives a reload of
//! the maps: the plugin before and the one after run it one after the other, and it stays open in between.
//!
//! Its room holds how a port is declared (`config`, `notes`), who runs it (`runners`), the open line (`line`), what comes back
//! of what was sent (`echo`), and what is handed over for a call (`transaction`). Nothing here knows what bytes mean.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nowd_plugin::{BootInstant, Call, CallError, CancellationToken, Completion, Pulse};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::config::PortConfig;
use self::inbox::{Inbox, Senders};
use self::line::Line;
pub(crate) use self::runners::Runner;
use self::runners::Runners;
use self::transaction::{Safety, Transaction, Work};
use crate::framing::kinds::LONGEST_FRAME;
use crate::map::hears::{Ears, Hearing};

mod answers;
pub(crate) mod config;
pub(crate) mod earlier;
pub(crate) mod echo;
mod inbox;
pub(crate) mod line;
pub(crate) mod notes;
mod runners;
pub(crate) mod transaction;

/// How long to wait before the port is opened again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often to look whether the device was given up by the port that had it under other settings.
const HANDOVER_PAUSE: Duration = Duration::from_millis(20);
/// A port that stayed this long counts as sound again.
const SOUND_AFTER: Duration = Duration::from_secs(5);

/// The most that the owner may be without a wait for calls, but for a call: the pauses above.
const LONGEST_ROUND: Duration = Duration::from_secs(5);

/// One port.
#[derive(Debug)]
pub(crate) struct Port {
    name: String,
    pub(crate) config: PortConfig,
    /// Why it cannot be used now; `None` while it is open.
    gone: Mutex<Option<String>>,
    /// Whether it was opened, or could not be.
    tried: watch::Sender<bool>,
    senders: Mutex<Senders>,
    /// Held by the `run` whose turn it is. It outlives one that ended, so that the next can go on.
    inside: tokio::sync::Mutex<Inside>,
    runners: Mutex<Runners>,
    ears: Arc<Ears>,
    /// Whether it was said that the line may repeat what is sent.
    repeats: AtomicBool,
    /// The ports that had the device before reloads, under other settings.
    predecessors: Mutex<Vec<Weak<Port>>>,
    /// Whether its owner goes round.
    pulse: Arc<Pulse>,
}

#[derive(Debug)]
struct Inside {
    inbox: Inbox,
    /// The open line, while nobody runs the port.
    line: Option<Line>,
    /// The device is being opened, which goes on when it is another's turn.
    opening: JoinSet<io::Result<Line>>,
}

/// Why a line is not served any more.
enum Left {
    /// It is another's turn, or the end.
    Stopped(Line),
    /// The device is gone.
    Gone(io::Error),
}

impl Port {
    pub(crate) fn new(name: &str, config: &PortConfig) -> Self {
        let (senders, inbox) = Inbox::new();
        let owner = format!("the owner of the port {name:?} ({})", config.device.display());
        Self {
            pulse: Arc::new(Pulse::new(owner, LONGEST_ROUND)),
            name: name.into(),
            config: config.clone(),
            gone: Mutex::new(Some("it has not been opened yet".into())),
            tried: watch::Sender::new(false),
            senders: Mutex::new(senders),
            inside: tokio::sync::Mutex::new(Inside { inbox, line: None, opening: JoinSet::new() }),
            runners: Mutex::default(),
            ears: Arc::default(),
            repeats: AtomicBool::new(false),
            predecessors: Mutex::default(),
        }
    }

    /// The device is opened when `other` has given it up.
    pub(crate) fn follow(&self, other: &Arc<Self>) {
        lock(&self.predecessors).push(Arc::downgrade(other));
    }

    /// Whether it may be open or running.
    fn is_held(&self) -> bool {
        // Each line has the ears in its hands from before it is opened until it is closed.
        lock(&self.runners).are_there() || Arc::strong_count(&self.ears) > 1
    }

    /// Whether its owner goes round.
    pub(crate) const fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// What came back was what was sent: whether that was not told yet, so that a method that is polled does not fill the log.
    pub(crate) fn is_first_repeat(&self) -> bool {
        !self.repeats.swap(true, Ordering::Relaxed)
    }

    /// Runs one call; ends when the port is free again.
    pub(crate) async fn invoke(&self, call: &Call, work: Work, safety: &Arc<Safety>) -> Completion {
        if let Some(unavailable) = self.unavailable() {
            return unavailable;
        }
        let (done, ended) = oneshot::channel();
        let transaction = Transaction { call: call.clone(), work, safety: Arc::clone(safety), done };
        let sender = lock(&self.senders).clone().way(safety.makes_safe);
        tokio::select! {
            biased;
            permit = sender.reserve() => match permit {
                Ok(permit) => permit.send(transaction),
                Err(_) => return self.gone_because("its task has ended"),
            },
            () = call.cancelled.cancelled() => return self.cancelled(),
            () = call.deadline.passed() => {
                return call.deadline.check().err().map_or_else(|| self.cancelled(), Completion::Expired);
            }
        }
        drop(sender);
        // Its task ended in mid-call: nobody knows whether anything was written.
        ended.await.unwrap_or_else(|_| {
            let message = format!("the task of {self} ended in mid-call, which is a bug");
            Completion::Internal(CallError::new("port_stopped", message))
        })
    }

    /// Ends when the port was opened, or could not be.
    pub(crate) async fn ready(&self) {
        // The sender is `self`'s own.
        self.tried.subscribe().wait_for(|tried| *tried).await.ok();
    }

    /// The task that ran it has ended by mistake: until the next one has opened the port, calls are refused.
    pub(crate) fn failed(&self) {
        // Where another one runs it by now, all is well.
        let Ok(mut inside) = self.inside.try_lock() else { return };
        self.set_gone(Some("its task ended by mistake, which is a bug; it will be opened again"));
        // One that waited for the call that ran was never begun.
        while let Ok(transaction) = inside.inbox.try_recv() {
            self.refuse(transaction);
        }
    }

    /// From now on the port is run by one more, for whom `hearing` listens.
    pub(crate) fn join(self: &Arc<Self>, hearing: Vec<Hearing>) -> Runner {
        Runner::join(self, hearing)
    }

    /// Opens the port and serves calls until `stop`. Where others run it too, each has its turn when the one before has
    /// stopped, and a call in progress is not cut; the last one closes it.
    pub(crate) async fn run(self: Arc<Self>, runner: Runner, stop: CancellationToken) {
        let mut inside = tokio::select! {
            inside = self.inside.lock() => inside,
            () = stop.cancelled() => {
                if !runner.leave() {
                    return;
                }
                self.inside.lock().await
            }
        };
        self.pulse.moved();
        if inside.inbox.is_closed() {
            let (senders, inbox) = Inbox::new();
            *lock(&self.senders) = senders;
            inside.inbox = inbox;
        }
        tokio::select! {
            () = self.work(&mut inside, &runner, &stop) => {}
            () = async {
                stop.cancelled().await;
                runner.leave();
                std::future::pending::<()>().await;
            } => {}
        }
        if runner.leave() {
            self.set_gone(Some("the daemon is stopping"));
            inside.inbox.close();
            // Until one that had its turn already is in, or it would never be answered.
            while let Some(transaction) = inside.inbox.recv().await {
                self.refuse(transaction);
            }
            inside.line = None;
            // One that hangs must not hold up the end; what it opens is closed at once.
            inside.opening = JoinSet::new();
        }
    }

    async fn work(&self, inside: &mut Inside, runner: &Runner, stop: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        while !stop.is_cancelled() {
            self.pulse.moved();
            let handed_over = inside.line.take();
            let is_new = handed_over.is_none();
            let opened = match handed_over {
                Some(line) => Ok(line),
                None if self.is_held_elsewhere() => {
                    self.set_gone(Some(
                        "its settings were changed, and calls under the old ones have not ended",
                    ));
                    self.refuse_for(HANDOVER_PAUSE, &mut inside.inbox, stop).await;
                    continue;
                }
                None => match self.open(inside, stop).await {
                    Some(opened) => opened,
                    None => return,
                },
            };
            let reason = match opened {
                Ok(line) => {
                    if is_new {
                        tracing::info!(
                            port = self.name, device = %self.config.device.display(), "the port is open"
                        );
                    }
                    let since = BootInstant::now();
                    self.set_gone(None);
                    match self.serve(line, &mut inside.inbox, runner, stop).await {
                        Left::Stopped(line) => {
                            inside.line = Some(line);
                            return;
                        }
                        Left::Gone(reason) => {
                            told = false;
                            if BootInstant::now().saturating_since(since) >= SOUND_AFTER {
                                pause = FIRST_PAUSE;
                            }
                            reason.to_string()
                        }
                    }
                }
                Err(reason) => reason.to_string(),
            };
            if !told {
                told = true;
                tracing::warn!(
                    see = "port-missing",
                    port = self.name, device = %self.config.device.display(), reason,
                    "the port is not there; it will be opened when it comes"
                );
            }
            self.set_gone(Some(&reason));
            self.refuse_for(pause.mul_f64(0.5 + fastrand::f64()), &mut inside.inbox, stop).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    fn is_held_elsewhere(&self) -> bool {
        lock(&self.predecessors).iter().filter_map(Weak::upgrade).any(|other| other.is_held())
    }

    /// Opens the device beside the runtime's threads, which a slow device must not block. `None`: stopped.
    async fn open(&self, inside: &mut Inside, stop: &CancellationToken) -> Option<io::Result<Line>> {
        if inside.opening.is_empty() {
            let (config, ears) = (self.config.clone(), Arc::clone(&self.ears));
            inside.opening.spawn_blocking(move || Line::open(&config, ears));
        }
        let Inside { inbox, opening, .. } = inside;
        // A device may hang in its driver for ever.
        self.pulse
            .idle(async {
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return None,
                        Some(transaction) = inbox.recv() => self.refuse(transaction),
                        opened = opening.join_next() => {
                            return Some(opened?.unwrap_or_else(|e| Err(io::Error::other(e))));
                        }
                    }
                }
            })
            .await
    }

    /// Does one call after the other until the port is gone or `stop`.
    async fn serve(
        &self,
        mut line: Line,
        inbox: &mut Inbox,
        runner: &Runner,
        stop: &CancellationToken,
    ) -> Left {
        let mut next = None;
        loop {
            let left_over = next.take();
            let news = async {
                tokio::select! {
                    biased;
                    Some(transaction) = std::future::ready(left_over) => Ok(Some(transaction)),
                    () = stop.cancelled() => Ok(None),
                    transaction = inbox.recv() => Ok(transaction),
                    // What a device sends by itself is read here, so it never counts as an answer. Last, because a device
                    // that never stops would let nothing else through.
                    gone = line.idle() => Err(gone),
                }
            };
            let transaction = match self.pulse.idle(news).await {
                Ok(Some(transaction)) => transaction,
                Ok(None) => return Left::Stopped(line),
                Err(gone) => return Left::Gone(gone),
            };
            let safety = &transaction.safety;
            // Behind each safe action the line is to be silent anew.
            let rests = u32::try_from(safety.by.len()).unwrap_or(u32::MAX).saturating_add(1);
            let left = transaction.call.deadline.remaining().saturating_add(safety.within);
            let left = left.saturating_add(self.longest_rest().saturating_mul(rests));
            let run = transaction.run(self, &mut line, inbox, runner.ends());
            let (left_over, left) = self.pulse.busy(left, run).await;
            match (left, left_over) {
                (Ok(()), left_over) => next = left_over,
                (Err(gone), left_over) => {
                    if let Some(transaction) = left_over {
                        transaction.done.send(self.gone_because(&gone.to_string())).ok();
                    }
                    return Left::Gone(gone);
                }
            }
        }
    }

    /// How long a call may hold the line after its deadline: until its echo has come, and then the silence.
    fn longest_rest(&self) -> Duration {
        let bits = u64::try_from(LONGEST_FRAME).unwrap_or(u64::MAX).saturating_mul(12);
        let on_wire = Duration::from_secs(bits / u64::from(self.config.baud.max(1)) + 1);
        on_wire.saturating_add(line::LONGEST_SETTLE.max(self.config.silence().saturating_mul(10)))
    }

    async fn refuse_for(&self, pause: Duration, inbox: &mut Inbox, stop: &CancellationToken) {
        let mut over = std::pin::pin!(sleep(pause));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut over => return,
                Some(transaction) = inbox.recv() => self.refuse(transaction),
            }
        }
    }

    fn refuse(&self, transaction: Transaction) {
        transaction.done.send(self.unavailable().unwrap_or_else(|| self.gone_because("it was lost"))).ok();
    }

    fn set_gone(&self, reason: Option<&str>) {
        *lock(&self.gone) = reason.map(Into::into);
        self.tried.send_replace(true);
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the port {:?} ({})", self.name, self.config.device.display())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
