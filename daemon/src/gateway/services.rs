//! Runs the services of plugins in processes of their own, and turns what they say of themselves into methods on offer.
//!
//! A description is compiled beside the gateway's thread. A plugin that changes its mind all the time is heard less and
//! less often; others are not held up by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::bus::BusAddress;
use nowd_plugin::service::Description;
use nowd_plugin::{BootInstant, CancellationToken};
use nowd_plugin_dbus::service::{Service, ServiceTarget};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;
use tracing::{info, warn};

use super::Gateway;
use super::generations::Numbers;
use crate::config::Config;
use crate::offer::{Difference, Set};
use crate::services::{Described, Descriptions, Notes, offered};
use crate::setup::Plugins;

/// Between two descriptions of one plugin that are taken: at first, and at most, where it never stays with one.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long plugins that are on the bus may take to say their methods before the gateway goes online without them.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The services that run, and what is known of their methods.
#[derive(Debug, Default)]
pub(super) struct Services {
    running: BTreeMap<ServiceTarget, DropGuard>,
    /// Where it is heard that plugins have changed, by their buses.
    listening: BTreeMap<BusAddress, DropGuard>,
    work: JoinSet<()>,
    /// Some service has news.
    news: Arc<Notify>,
    paces: BTreeMap<String, Pace>,
    /// When a plugin that has been heard too often is heard again.
    wake: Option<BootInstant>,
    compiling: JoinSet<Compiled>,
    /// What is left out of their descriptions.
    notes: Notes,
    /// Some may not be used any more.
    stale: bool,
}

/// How often a plugin is heard.
#[derive(Debug)]
struct Pace {
    taken: Arc<Description>,
    pause: Duration,
    free_at: BootInstant,
}

/// What is on offer with the descriptions of now.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The plugins that it is about.
    of: Arc<Plugins>,
    descriptions: Descriptions,
    set: Set,
    notes: Notes,
}

impl Services {
    /// Runs those that are not running yet.
    pub(super) fn keep(&mut self, plugins: &Plugins) {
        for service in plugins.services() {
            let target = service.target();
            if self.running.contains_key(target) {
                continue;
            }
            if !self.listening.contains_key(&target.bus) {
                let stop = CancellationToken::new();
                self.work.spawn(Arc::clone(service.signals()).run(stop.clone()));
                self.listening.insert(target.bus.clone(), stop.drop_guard());
            }
            let stop = CancellationToken::new();
            self.work.spawn(Arc::clone(service).run(stop.clone()));
            self.work.spawn(tell(Arc::clone(service), Arc::clone(&self.news), stop.clone()));
            self.running.insert(target.clone(), stop.drop_guard());
        }
    }

    /// Those of a set that never came on offer are stopped at the next [`Gateway::retire`].
    pub(super) fn look_for_unused(&mut self) {
        self.stale = true;
    }

    /// Stops those that are not `used` any more.
    fn retire(&mut self, used: &BTreeSet<&ServiceTarget>) {
        self.running.retain(|target, _| used.contains(target));
        self.listening.retain(|bus, _| used.iter().any(|target| target.bus == *bus));
        while self.work.try_join_next().is_some() {}
        self.stale = false;
    }

    /// What is left out of the descriptions of plugins.
    pub(super) const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The descriptions that count now. One that comes too soon after another of its plugin waits.
    pub(super) fn descriptions(&mut self, described: &[Described]) -> Descriptions {
        let now = BootInstant::now();
        self.wake = None;
        let mut all = Descriptions::new();
        for Described { drop_in, service } in described {
            let Some(new) = service.news().borrow().described.clone() else { continue };
            let name = drop_in.name().to_owned();
            let pace = self.paces.entry(name.clone()).or_insert_with(|| Pace::new(&new, now));
            if let Some(at) = pace.hear(new, now) {
                self.wake = Some(self.wake.map_or(at, |other| other.min(at)));
            }
            all.insert(name, Arc::clone(&pace.taken));
        }
        all
    }

    /// Waits until other descriptions count, and for the methods that they make; for ever while all stays as it is. May be
    /// dropped while waiting.
    pub(super) async fn next(
        &mut self,
        plugins: &Arc<Plugins>,
        config: &Config,
        numbers: &Numbers,
    ) -> Compiled {
        loop {
            if !self.compiling.is_empty() {
                if let Some(Ok(compiled)) = self.compiling.join_next().await {
                    return compiled;
                }
                continue;
            }
            let wake = self.wake;
            tokio::select! {
                () = self.news.notified() => {}
                () = passed(wake) => {}
            }
            let descriptions = self.descriptions(&plugins.described);
            let (of, config, number) = (Arc::clone(plugins), config.clone(), numbers.next());
            self.compiling.spawn_blocking(move || Compiled::of(of, descriptions, number, &config));
        }
    }

    /// Other plugins are on offer: what they say has not been looked at.
    pub(super) fn look_again(&self) {
        self.news.notify_one();
    }

    /// Takes what was compiled: the methods that are on offer with it.
    pub(super) fn take(&mut self, compiled: Compiled) -> Set {
        let Compiled { descriptions, set, notes, of: _ } = compiled;
        let now = BootInstant::now();
        for (name, description) in descriptions {
            let pace = self.paces.entry(name).or_insert_with(|| Pace::new(&description, now));
            pace.taken = description;
        }
        for (plugin, sentences) in &notes {
            for sentence in sentences {
                if !self.notes.get(plugin).is_some_and(|known| known.contains(sentence)) {
                    warn!(see = "plugin-in-part", plugin, "{sentence}");
                }
            }
        }
        self.notes = notes;
        set
    }

    pub(super) async fn end(mut self) {
        self.running.clear();
        self.listening.clear();
        while self.work.join_next().await.is_some() {}
    }
}

impl Compiled {
    /// Waits for nothing, but may take its time.
    fn of(of: Arc<Plugins>, descriptions: Descriptions, number: u64, config: &Config) -> Self {
        let (registry, notes) = offered(&of.registry, &of.described, &descriptions);
        Self { of, descriptions, set: Set::new(number, config, registry), notes }
    }

    /// The same with what the plugins say now, however often they have said otherwise.
    pub(super) fn of_now(of: Arc<Plugins>, number: u64, config: &Config) -> Self {
        let said = |described: &Described| {
            Some((described.drop_in.name().to_owned(), described.service.news().borrow().described.clone()?))
        };
        let descriptions = of.described.iter().filter_map(said).collect();
        Self::of(of, descriptions, number, config)
    }
}

impl Pace {
    fn new(taken: &Arc<Description>, now: BootInstant) -> Self {
        Self { taken: Arc::clone(taken), pause: PAUSES.0, free_at: now.saturating_add(PAUSES.0) }
    }

    /// Takes a description, or says when it will be taken.
    fn hear(&mut self, new: Arc<Description>, now: BootInstant) -> Option<BootInstant> {
        if Arc::ptr_eq(&self.taken, &new) {
            return None;
        }
        if now < self.free_at {
            return Some(self.free_at);
        }
        // It has stayed with one for long enough to be heard soon again.
        let long_ago = now.saturating_since(self.free_at) > PAUSES.1;
        self.pause = if long_ago { PAUSES.0 } else { self.pause.saturating_mul(2).min(PAUSES.1) };
        self.free_at = now.saturating_add(self.pause);
        self.taken = new;
        None
    }
}

impl Gateway {
    /// Starts the services, and takes what those that are there say of themselves.
    pub(super) async fn meet_services(&mut self) {
        let plugins = Arc::clone(&self.generations.current().plugins);
        self.services.keep(&plugins);
        if plugins.described.is_empty() {
            return;
        }
        let first = async {
            for service in plugins.services() {
                service.ready().await;
            }
        };
        tokio::select! {
            () = first => {}
            () = tokio::time::sleep(FIRST_WITHIN) => {}
        }
        self.services.look_again();
        let compiled = self.services.next(&plugins, &self.config, &self.numbers).await;
        self.described(compiled);
    }

    /// Stops the plugins of sets that are not used any more.
    pub(super) fn retire(&mut self) {
        self.services.stale |= self.generations.retire(|number| self.core.uses(number));
        // A set that is being prepared uses services too.
        if self.services.stale && !self.reloads.is_busy() {
            let plugins = self.generations.all().map(|generation| &generation.plugins);
            let used = plugins.flat_map(|plugins| plugins.services()).map(|service| service.target());
            self.services.retire(&used.collect());
        }
    }

    /// Plugins have described themselves anew.
    pub(super) fn described(&mut self, compiled: Compiled) {
        if !Arc::ptr_eq(&compiled.of, &self.generations.current().plugins) {
            return self.services.look_again();
        }
        let set = self.services.take(compiled);
        let Difference { added, removed, changed } = set.difference(&self.generations.current().set);
        if (added, removed, changed) == (0, 0, 0) {
            return;
        }
        let methods = set.offer.methods.len();
        self.put_on_offer(self.generations.with_methods(set));
        info!(
            added,
            removed, changed, methods, "the methods of plugins in processes of their own have changed"
        );
    }
}

/// Says when a service has described itself otherwise.
async fn tell(service: Arc<Service>, news: Arc<Notify>, stop: CancellationToken) {
    let mut state = service.news();
    let mut last: Option<Arc<Description>> = None;
    loop {
        let described = state.borrow_and_update().described.clone();
        if described.as_ref().map(Arc::as_ptr) != last.as_ref().map(Arc::as_ptr) {
            last = described;
            news.notify_one();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

async fn passed(at: Option<BootInstant>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_since(BootInstant::now())).await,
        None => std::future::pending().await,
    }
}
