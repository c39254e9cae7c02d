//! Numbers for people who write alarms: Prometheus' text, in a file for `node_exporter`'s textfile collector and over the bus.
//!
//! Never a listening port, and never a wait on the path of calls: a task asks the gateway's loop how it is, as anybody on
//! the bus may, and puts that into words and onto the disk on another thread. What is counted per call is counted in
//! `stats`.

use nowd_plugin::{BootInstant, CancellationToken};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::MetricsConfig;
use crate::local::{Ask, Snapshot};

pub(crate) mod file;
mod process;
mod text;
mod told;

pub(crate) use told::told;

/// What writes the file, if anything does.
#[derive(Debug)]
pub(crate) struct Metrics {
    task: JoinSet<()>,
    stop: CancellationToken,
    failing: Failing,
}

/// Why the file cannot be written, while it cannot.
#[derive(Debug, Clone, Default)]
struct Failing(Arc<Mutex<Option<String>>>);

impl Failing {
    fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Metrics {
    pub(crate) fn none() -> Self {
        Self { task: JoinSet::new(), stop: CancellationToken::new(), failing: Failing::default() }
    }

    /// Begins to write, as far as `config` wants it; `asks` reaches the gateway's loop.
    pub(crate) fn start(&mut self, config: &MetricsConfig, asks: &mpsc::Sender<Ask>) {
        if let Some(path) = config.wanted() {
            let file = file::File::new(path, self.failing.clone());
            self.task.spawn(run(file, config.interval, asks.clone(), self.stop.clone()));
        }
    }

    /// Why the file cannot be written, while it cannot.
    pub(crate) fn failing(&self) -> Option<String> {
        self.failing.get()
    }

    /// Takes the file away: nobody writes it any more. Ends when that is done, which a disk that hangs may hold up.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

/// Until `stop`, or until the gateway's loop has ended.
async fn run(mut file: file::File, every: Duration, asks: mpsc::Sender<Ask>, stop: CancellationToken) {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let snapshot = tokio::select! {
            () = stop.cancelled() => break,
            snapshot = async { beat.tick().await; ask(&asks).await } => snapshot,
        };
        let Some(snapshot) = snapshot else { continue };
        // One write at a time: a disk that hangs holds up one thread, which is none of those that calls need.
        let written = tokio::task::spawn_blocking(move || {
            file.write(&told(&snapshot));
            file
        });
        match written.await {
            Ok(back) => file = back,
            // A bug ended it; its panic is in the log.
            Err(_) => return,
        }
    }
    tokio::task::spawn_blocking(move || file.remove()).await.ok();
}

/// Nothing when the loop is asked more than it answers.
async fn ask(asks: &mpsc::Sender<Ask>) -> Option<Box<Snapshot>> {
    let (answer, answered) = oneshot::channel();
    asks.try_send(Ask::Status(answer)).ok()?;
    let mut snapshot = answered.await.ok()?;
    snapshot.ask_plugins().await;
    Some(snapshot)
}

fn micros(since: BootInstant, now: BootInstant) -> u64 {
    u64::try_from(now.saturating_since(since).as_micros()).unwrap_or(u64::MAX)
}
