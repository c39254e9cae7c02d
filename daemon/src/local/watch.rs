//! Those who watch calls end. Each gets signals of its own until it leaves the bus; nobody waits for a watcher.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use zbus::Connection;
use zbus::message::Message;

use super::link::LIMIT;
use super::{NAME, PATH, Told};

/// How many may watch at once.
pub(super) const MOST: usize = 16;

/// The watchers of one connection.
#[derive(Debug)]
pub(super) struct Watchers {
    all: Mutex<Vec<Watcher>>,
    /// Whether there is any.
    any: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
struct Watcher {
    name: String,
    /// How many had been lost when it was told last.
    lost: Option<u64>,
}

impl Watchers {
    pub(super) fn new(any: Arc<AtomicBool>) -> Self {
        any.store(false, Ordering::Relaxed);
        Self { all: Mutex::default(), any }
    }

    /// Says whether it is new; `None` where there is no room.
    pub(super) fn add(&self, name: &str) -> Option<bool> {
        let mut all = self.lock();
        if all.iter().any(|watcher| watcher.name == name) {
            return Some(false);
        }
        if all.len() >= MOST {
            return None;
        }
        all.push(Watcher { name: name.to_owned(), lost: None });
        self.any.store(true, Ordering::Relaxed);
        Some(true)
    }

    /// Says whether it watched.
    pub(super) fn remove(&self, name: &str) -> bool {
        let mut all = self.lock();
        let before = all.len();
        all.retain(|watcher| watcher.name != name);
        self.any.store(!all.is_empty(), Ordering::Relaxed);
        all.len() < before
    }

    /// Tells them of each call that ends, until the connection takes nothing any more.
    pub(super) async fn tell(&self, connection: &Connection, ended: &mut mpsc::Receiver<Told>) {
        while let Some(told) = ended.recv().await {
            for (name, lost) in self.due(told.lost) {
                let signal = Message::signal(PATH, NAME, "CallEnded").destination(name.as_str());
                let signal = signal.build(&(told.json.as_str(), lost));
                match signal {
                    Ok(signal) => {
                        tokio::select! {
                            sent = connection.send(&signal) => if sent.is_err() { return },
                            () = tokio::time::sleep(LIMIT) => return,
                        }
                    }
                    Err(e) => tracing::debug!("the end of a call cannot be told: {e}"),
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// Who is to be told now, and how many each has missed before.
    fn due(&self, lost: u64) -> Vec<(String, u64)> {
        let told = |watcher: &mut Watcher| {
            let before = watcher.lost.replace(lost).unwrap_or(lost);
            (watcher.name.clone(), lost.saturating_sub(before))
        };
        self.lock().iter_mut().map(told).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells of this one's leaving the bus.
pub(super) fn rule(name: &str) -> String {
    format!(
        "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{name}'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_what_it_has_missed() {
        let any = Arc::new(AtomicBool::new(true));
        let watchers = Watchers::new(Arc::clone(&any));
        assert!(!any.load(Ordering::Relaxed));
        assert!(watchers.add(":1.1") == Some(true) && any.load(Ordering::Relaxed));
        assert_eq!(watchers.due(3), [(":1.1".to_owned(), 0)], "what was lost before it came");
        assert_eq!((watchers.add(":1.2"), watchers.add(":1.2")), (Some(true), Some(false)));
        assert_eq!(watchers.due(5), [(":1.1".to_owned(), 2), (":1.2".to_owned(), 0)]);
        assert!(watchers.remove(":1.1") && !watchers.remove(":1.1") && any.load(Ordering::Relaxed));
        assert!(watchers.remove(":1.2") && !any.load(Ordering::Relaxed));
    }

    #[test]
    fn there_are_not_too_many() {
        let watchers = Watchers::new(Arc::default());
        assert!((0..MOST).all(|number| watchers.add(&format!(":1.{number}")) == Some(true)));
        assert_eq!((watchers.add(":1.99"), watchers.add(":1.0")), (None, Some(false)));
    }
}
