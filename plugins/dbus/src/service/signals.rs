//! `Changed` of all plugins of one bus, on a connection of its own: it raises a flag, and never more.
//!
//! A plugin that says it too often is not listened to for a while; its flag is raised at the end of that.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nowd_plugin::service::INTERFACE;
use nowd_plugin::{BootInstant, CancellationToken};
use tokio::sync::Notify;
use zbus::message::Message;

use super::{ServiceTarget, keep_running, lock};
use crate::bus::{Allowance, Bus, Hear};
use nowd_plugin::bus::BusAddress;

/// How often `Changed` is listened to: so many at once, and after that one in this time.
const HEARD: (u32, Duration) = (16, Duration::from_secs(1));

/// How long who says it more often is not listened to.
const MUTED: Duration = Duration::from_secs(5);

/// The connection on which plugins of one bus say that they have changed.
#[derive(Debug)]
pub struct Signals {
    pub(super) bus: Arc<Bus>,
    ears: Arc<Ears>,
}

/// Those who listen.
#[derive(Debug, Default)]
struct Ears {
    all: Mutex<Vec<Weak<Ear>>>,
    /// They are others now, or one of them is muted.
    changed: Notify,
}

/// One plugin's flag.
#[derive(Debug)]
pub(super) struct Ear {
    rule: String,
    name: String,
    path: String,
    /// Knows who the plugin is at the moment.
    bus: Arc<Bus>,
    raised: AtomicBool,
    /// The flag was raised, or somebody else owns the name.
    pub(super) wake: Notify,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    allowance: Allowance,
    muted_until: Option<BootInstant>,
}

impl Ear {
    pub(super) fn new(target: &ServiceTarget, bus: &Arc<Bus>) -> Self {
        let ServiceTarget { name, path, .. } = target;
        Self {
            rule: format!(
                "type='signal',sender='{name}',path='{path}',interface='{INTERFACE}',member='Changed'"
            ),
            name: name.clone(),
            path: path.clone(),
            bus: Arc::clone(bus),
            raised: AtomicBool::new(false),
            wake: Notify::new(),
            heard: Mutex::new(Heard { allowance: Allowance::new(HEARD.0, HEARD.1), muted_until: None }),
        }
    }

    /// Whether the flag was raised; it is not any more.
    pub(super) fn take(&self) -> bool {
        self.raised.swap(false, Ordering::AcqRel)
    }

    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The signal came. Whether that was once too often is in the result.
    fn hear(&self) -> bool {
        let mut heard = lock(&self.heard);
        if heard.muted_until.is_some() {
            return false;
        }
        let too_often = !heard.allowance.take();
        if too_often {
            heard.muted_until = Some(BootInstant::now().saturating_add(MUTED));
        }
        drop(heard);
        self.raise();
        too_often
    }

    /// How long it stays muted, if it is.
    fn muted_for(&self) -> Option<Duration> {
        let mut heard = lock(&self.heard);
        let left = heard.muted_until?.saturating_since(BootInstant::now());
        if left.is_zero() {
            heard.muted_until = None;
            return None;
        }
        Some(left)
    }
}

impl Hear for Ears {
    fn hear(&self, signal: &Message) {
        let header = signal.header();
        let (Some(sender), Some(path)) = (header.sender(), header.path()) else { return };
        let named = header.interface().is_some_and(|name| name.as_str() == INTERFACE)
            && header.member().is_some_and(|name| name.as_str() == "Changed");
        if !named {
            return;
        }
        let ears: Vec<Arc<Ear>> = lock(&self.all).iter().filter_map(Weak::upgrade).collect();
        for ear in ears.iter().filter(|ear| ear.path == path.as_str()) {
            // Anybody can send a signal straight to the gateway; it counts only if the name's owner sent it.
            if ear.bus.owner(&ear.name).as_deref() == Some(sender.as_str()) && ear.hear() {
                tracing::warn!(
                    see = "plugin-restless",
                    "{} says all the time that it has changed; not listening to that for {} s",
                    ear.name,
                    MUTED.as_secs()
                );
                self.changed.notify_one();
            }
        }
    }
}

impl Signals {
    /// The signals of one bus, which is not connected yet. Opens nothing; [`Self::run`] does.
    #[must_use]
    pub fn new(bus: BusAddress) -> Arc<Self> {
        let ears = Arc::new(Ears::default());
        let hear: Arc<dyn Hear> = Arc::<Ears>::clone(&ears);
        Arc::new(Self { bus: Arc::new(Bus::for_signals(bus, hear)), ears })
    }

    /// Keeps the connection. Never ends before `stop`. Without it, plugins are asked only when they appear.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        keep_running(&self.bus, &stop, |tasks| {
            let (this, stop) = (Arc::clone(&self), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    never = this.keep_subscribed() => match never {},
                }
            });
        })
        .await;
    }

    pub(super) fn enrol(&self, ear: &Arc<Ear>) {
        lock(&self.ears.all).push(Arc::downgrade(ear));
        self.look_again();
    }

    /// Somebody has come, or gone.
    pub(super) fn look_again(&self) {
        self.ears.changed.notify_one();
    }

    async fn keep_subscribed(&self) -> Infallible {
        let mut subscribed: BTreeSet<String> = BTreeSet::new();
        let mut connection = None;
        let mut changes = self.bus.changes();
        loop {
            changes.mark_unchanged();
            let now = self.bus.connected_as();
            if now != connection {
                connection = now;
                subscribed.clear();
            }
            let (wanted, wait) = self.wanted();
            if now.is_some() {
                self.subscribe(&mut subscribed, &wanted).await;
            }
            drop(wanted);
            tokio::select! {
                () = self.ears.changed.notified() => {}
                changed = changes.changed() => if changed.is_err() {
                    // The bus lives as long as this does.
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// What is to be listened to, and how long until that may be more.
    fn wanted(&self) -> (BTreeMap<String, Vec<Arc<Ear>>>, Option<Duration>) {
        let mut all = lock(&self.ears.all);
        all.retain(|ear| ear.strong_count() > 0);
        let ears: Vec<Arc<Ear>> = all.iter().filter_map(Weak::upgrade).collect();
        drop(all);
        let mut wanted: BTreeMap<String, Vec<Arc<Ear>>> = BTreeMap::new();
        let mut wait: Option<Duration> = None;
        for ear in ears {
            match ear.muted_for() {
                Some(left) => wait = Some(wait.map_or(left, |wait| wait.min(left))),
                None => wanted.entry(ear.rule.clone()).or_default().push(ear),
            }
        }
        (wanted, wait)
    }

    async fn subscribe(&self, subscribed: &mut BTreeSet<String>, wanted: &BTreeMap<String, Vec<Arc<Ear>>>) {
        let unwanted: Vec<String> =
            subscribed.iter().filter(|rule| !wanted.contains_key(*rule)).cloned().collect();
        for rule in unwanted {
            if self.bus.matches(&rule, false).await.is_err() {
                return;
            }
            subscribed.remove(&rule);
        }
        for (rule, ears) in wanted {
            if subscribed.contains(rule) {
                continue;
            }
            match self.bus.matches(rule, true).await {
                Ok(true) => {}
                Ok(false) => tracing::error!(
                    see = "match-refused",
                    bus = %self.bus.address(),
                    "the bus does not tell the gateway when a plugin changes; it refuses the match rule {rule}"
                ),
                // The connection is gone or going: all begins anew.
                Err(_) => return,
            }
            subscribed.insert(rule.clone());
            // What was said before was not heard.
            for ear in ears {
                ear.raise();
            }
        }
    }
}
