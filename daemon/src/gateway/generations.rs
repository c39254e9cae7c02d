//! The sets of methods that a gateway runs: the one on offer, and those of before whose last calls have not ended.
//!
//! Each has plugins of its own, whose background work goes on until nothing of the set runs any more. Plugins compiled in
//! belong to all of them, and end with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nowd_plugin::host::{Registry, keep_running};
use nowd_plugin::{CancellationToken, Plugin};
use nowd_plugin_serial::SerialPlugin;
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;

use crate::offer::Set;
use crate::setup::Plugins;

/// One set of methods and what runs them.
#[derive(Debug)]
pub(super) struct Generation {
    /// The methods: those of the plugins, and what plugins in processes of their own describe now.
    pub(super) set: Set,
    /// The plugins that maps and drop-ins ask for: several sets may share them.
    pub(super) plugins: Arc<Plugins>,
    /// Ends the background work of the plugins with the last set that has them.
    work: Arc<DropGuard>,
}

/// All sets that are at work.
#[derive(Debug)]
pub(super) struct Generations {
    current: Generation,
    old: Vec<Generation>,
    /// What stops the work of the first set, until that is started.
    first: Option<CancellationToken>,
    /// The background work of all plugins.
    background: JoinSet<()>,
    /// Ends all of it.
    stop: CancellationToken,
}

/// Numbers of sets, each given once.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// Zero is the first set's.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}

impl Generation {
    /// As the core knows it.
    pub(super) fn number(&self) -> u64 {
        self.set.offer.generation
    }
}

impl Generations {
    /// The first set. Nothing is started yet.
    pub(super) fn new(plugins: Plugins, set: Set) -> Self {
        let stop = CancellationToken::new();
        let work = stop.child_token();
        let guard = Arc::new(work.clone().drop_guard());
        let current = Generation { set, plugins: Arc::new(plugins), work: guard };
        Self { current, old: Vec::new(), first: Some(work), background: JoinSet::new(), stop }
    }

    /// Starts the plugins of the first set and those compiled in.
    pub(super) fn start(&mut self, extra: &[Arc<dyn Plugin>]) {
        for plugin in extra {
            self.background.spawn(keep_running(Arc::clone(plugin), self.stop.clone()));
        }
        if let Some(work) = self.first.take() {
            for plugin in &self.current.plugins.of_maps {
                self.background.spawn(keep_running(Arc::clone(plugin), work.clone()));
            }
        }
    }

    /// The set on offer.
    pub(super) const fn current(&self) -> &Generation {
        &self.current
    }

    /// The methods on offer.
    pub(super) const fn registry(&self) -> &Registry {
        &self.current.set.registry
    }

    /// Who holds the serial ports.
    pub(super) fn serial(&self) -> Option<&Arc<SerialPlugin>> {
        self.current.plugins.serial.as_ref()
    }

    /// The methods of this set, if it is still at work.
    pub(super) fn registry_of(&self, number: u64) -> Option<&Registry> {
        let of_number = self.all().find(|generation| generation.number() == number);
        of_number.map(|generation| &generation.set.registry)
    }

    /// All sets that are at work.
    pub(super) fn all(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.current).chain(&self.old)
    }

    /// Starts the plugins of another set, beside the one on offer.
    pub(super) fn prepare(&mut self, plugins: Plugins, set: Set) -> Generation {
        let work = self.stop.child_token();
        for plugin in &plugins.of_maps {
            self.background.spawn(keep_running(Arc::clone(plugin), work.clone()));
        }
        Generation { set, plugins: Arc::new(plugins), work: Arc::new(work.drop_guard()) }
    }

    /// Other methods of the plugins on offer.
    pub(super) fn with_methods(&self, set: Set) -> Generation {
        let Generation { plugins, work, .. } = &self.current;
        Generation { set, plugins: Arc::clone(plugins), work: Arc::clone(work) }
    }

    /// Puts a set that was prepared on offer.
    pub(super) fn put_on_offer(&mut self, next: Generation) {
        self.old.push(std::mem::replace(&mut self.current, next));
    }

    /// Stops the plugins of sets that are not used any more. Says whether there were any.
    pub(super) fn retire(&mut self, is_used: impl Fn(u64) -> bool) -> bool {
        let before = self.old.len();
        self.old.retain(|generation| is_used(generation.number()));
        // Each has said itself how it ended.
        while self.background.try_join_next().is_some() {}
        self.old.len() < before
    }

    /// Stops everything and waits for its end.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while self.background.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests;
