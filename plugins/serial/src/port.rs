//! The owner of one port: opens it, opens it again for ever, and does one call at a time.
//!
//! A call for a port that is not there is answered at once; none is kept until it comes back.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nowd_plugin::{BootInstant, Call, CallError, CancellationToken, Completion};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::PortConfig;
use crate::line::Line;
use crate::transaction::{Transaction, Work};

/// How long to wait before the port is opened again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A port that stayed this long counts as sound again.
const SOUND_AFTER: Duration = Duration::from_secs(5);

/// One port.
#[derive(Debug)]
pub(crate) struct Port {
    name: String,
    pub(crate) config: PortConfig,
    /// Why it cannot be used now; `None` while it is open.
    gone: Mutex<Option<String>>,
    /// The lane before it lets one call through at a time; a second one waits in `reserve`.
    sender: mpsc::Sender<Transaction>,
    /// Held by `run`. It outlives a `run` that ended by mistake, so that the next can go on.
    inbox: tokio::sync::Mutex<mpsc::Receiver<Transaction>>,
}

impl Port {
    pub(crate) fn new(name: &str, config: &PortConfig) -> Self {
        let (sender, inbox) = mpsc::channel(1);
        Self {
            name: name.into(),
            config: config.clone(),
            gone: Mutex::new(Some("it has not been opened yet".into())),
            sender,
            inbox: tokio::sync::Mutex::new(inbox),
        }
    }

    /// Runs one call; ends when the port is free again.
    pub(crate) async fn invoke(&self, call: &Call, work: Work) -> Completion {
        if let Some(unavailable) = self.unavailable() {
            return unavailable;
        }
        let (done, ended) = oneshot::channel();
        let transaction = Transaction { call: call.clone(), work, done };
        tokio::select! {
            biased;
            permit = self.sender.reserve() => match permit {
                Ok(permit) => permit.send(transaction),
                Err(_) => return self.gone_because("its task has ended"),
            },
            () = call.cancelled.cancelled() => return self.cancelled(),
            () = call.deadline.passed() => {
                return call.deadline.check().err().map_or_else(|| self.cancelled(), Completion::Expired);
            }
        }
        // Its task ended in mid-call: nobody knows whether anything was written.
        ended.await.unwrap_or_else(|_| {
            let message = format!("the task of {self} ended in mid-call, which is a bug");
            Completion::Internal(CallError::new("port_stopped", message))
        })
    }

    /// The task that ran it has ended by mistake: until the next one has opened the port, calls are refused.
    pub(crate) fn failed(&self) {
        self.set_gone(Some("its task ended by mistake, which is a bug; it will be opened again"));
        // One that waited for the call that ran was never begun.
        if let Ok(mut inbox) = self.inbox.try_lock() {
            while let Ok(transaction) = inbox.try_recv() {
                self.refuse(transaction);
            }
        }
    }

    /// Opens the port and serves calls until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let Ok(mut inbox) = self.inbox.try_lock() else {
            tracing::error!(port = self.name, "the port is already being run");
            return;
        };
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        while !stop.is_cancelled() {
            let reason = match self.open(&mut inbox, &stop).await {
                Some(Ok(line)) => {
                    tracing::info!(port = self.name, device = %self.config.device.display(), "the port is open");
                    let since = BootInstant::now();
                    self.set_gone(None);
                    let Some(reason) = self.serve(line, &mut inbox, &stop).await else { break };
                    told = false;
                    if BootInstant::now().saturating_since(since) >= SOUND_AFTER {
                        pause = FIRST_PAUSE;
                    }
                    reason.to_string()
                }
                Some(Err(reason)) => reason.to_string(),
                None => break,
            };
            if !told {
                told = true;
                tracing::warn!(
                    port = self.name, device = %self.config.device.display(), reason,
                    "the port is not there; it will be opened when it comes"
                );
            }
            self.set_gone(Some(&reason));
            self.refuse_for(pause.mul_f64(0.5 + fastrand::f64()), &mut inbox, &stop).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        self.set_gone(Some("the daemon is stopping"));
        inbox.close();
        while let Ok(transaction) = inbox.try_recv() {
            self.refuse(transaction);
        }
    }

    /// Opens the device beside the runtime's threads, which a slow device must not block. `None`: stopped.
    async fn open(
        &self,
        inbox: &mut mpsc::Receiver<Transaction>,
        stop: &CancellationToken,
    ) -> Option<io::Result<Line>> {
        let mut opening = JoinSet::new();
        let config = self.config.clone();
        opening.spawn_blocking(move || Line::open(&config));
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                Some(transaction) = inbox.recv() => self.refuse(transaction),
                opened = opening.join_next() => {
                    return Some(opened?.unwrap_or_else(|e| Err(io::Error::other(e))));
                }
            }
        }
    }

    /// Does one call after the other until the port is gone (says why) or `stop`.
    async fn serve(
        &self,
        mut line: Line,
        inbox: &mut mpsc::Receiver<Transaction>,
        stop: &CancellationToken,
    ) -> Option<io::Error> {
        loop {
            let transaction = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                transaction = inbox.recv() => transaction?,
                // What a device sends by itself is read and dropped here, so it never counts as an answer. Last,
                // because a device that never stops would let nothing else through.
                gone = line.idle() => return Some(gone),
            };
            if let Err(gone) = transaction.run(self, &mut line, stop).await {
                return Some(gone);
            }
        }
    }

    async fn refuse_for(
        &self,
        pause: Duration,
        inbox: &mut mpsc::Receiver<Transaction>,
        stop: &CancellationToken,
    ) {
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
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(Into::into);
    }

    fn unavailable(&self) -> Option<Completion> {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.as_deref().map(|reason| self.gone_because(reason))
    }

    /// The port went before anything was written.
    pub(crate) fn gone_because(&self, reason: &str) -> Completion {
        Completion::Unavailable(CallError::new("port_gone", format!("{self} is not there: {reason}")))
    }

    /// The call was cancelled before anything was written.
    pub(crate) fn cancelled(&self) -> Completion {
        let message = format!("the call was cancelled before anything was written to {self}");
        Completion::Unavailable(CallError::new("cancelled", message))
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the port {:?} ({})", self.name, self.config.device.display())
    }
}
