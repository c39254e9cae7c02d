//! One connection to one bus: kept for ever, used by all methods of that bus.
//!
//! A single task reads the connection and hands out replies and signals without ever waiting for their takers, so
//! that no call stalls another; and since replies, signals and owner changes come through it in the bus's own order,
//! a service that answers and then ends has answered. Calls write, one after the other, and never read.
//!
//! What it never does: keep a message for a bus that is not there, or send one twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nowd_plugin::{CancellationToken, Deadline, Expired, Pulse};
use tokio::sync::{Notify, watch};
use zbus::Connection;
use zbus::message::{Flags, Message, Type};

pub(crate) use self::absent::{START_PLUGIN, nobody_has};
pub(crate) use self::allowance::Allowance;
pub(crate) use self::ask::Unanswered;
use self::learn::{Learned, objects};
pub(crate) use self::learn::{Object, Undescribed};
use self::pending::Pending;
pub(crate) use self::send::SendError;
pub(crate) use self::signal::Watch;
use self::signal::{Waiter, owner_change};
use crate::map::Mapped;
use nowd_plugin::bus::BusAddress;

mod absent;
mod allowance;
mod ask;
mod learn;
mod link;
mod pending;
mod send;
mod signal;
mod told;

/// The bus's own name.
pub(crate) const BUS_NAME: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// The longest body that is read as a reply or as a signal, in bytes: what the gateway can hand on.
pub(crate) const MAX_BODY_LEN: usize = 128 * 1024;

/// How long the bus may take no data before its connection is given up, where no call's deadline says so.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// One bus, and the calls that are on their way over it.
#[derive(Debug)]
pub(crate) struct Bus {
    address: BusAddress,
    /// Match rules: owner changes of the destinations, and the signals that methods wait for.
    rules: BTreeSet<String>,
    /// Per destination: the unique name of the last owner that its name lost.
    losses: HashMap<String, watch::Sender<String>>,
    /// The objects that methods are about, which are asked to describe themselves.
    objects: BTreeMap<Object, Vec<Arc<Mapped>>>,
    /// There are objects to be asked.
    news: Notify,
    /// Whether those at the other end are trusted: the services of maps are, and plugins are not.
    trust: Trust,
    /// Raised when the connection comes or goes, and when a name that is followed gets another owner.
    changes: watch::Sender<u64>,
    /// Whether connecting has been tried.
    tried: watch::Sender<bool>,
    state: Mutex<State>,
    /// Held while a message is written, so that the deadline is checked when it is one's turn.
    writing: tokio::sync::Mutex<()>,
    /// Whether it is read, or connected to.
    pulse: Arc<Pulse>,
}

/// Who hears the signals of a bus that has no maps. Called by the task that reads the connection: must not wait.
pub(crate) trait Hear: fmt::Debug + Send + Sync {
    fn hear(&self, signal: &Message);
}

#[derive(Debug)]
enum Trust {
    /// Services of method maps, which the machine's owner chose.
    Services,
    /// Plugins, which may be wrong: messages are bounded in length, and unasked ones in number.
    Plugins(Option<Arc<dyn Hear>>),
}

#[derive(Debug, Default)]
struct State {
    /// `None` while the bus is not there.
    up: Option<Up>,
    /// Why it is not there.
    down: Option<String>,
    next_up: u64,
    next_waiter: u64,
    /// What is wrong with each object.
    #[cfg(test)]
    told: BTreeMap<Object, Vec<String>>,
}

#[derive(Debug)]
struct Up {
    /// Tells it from its successors.
    id: u64,
    connection: Connection,
    /// Raised when it must be given up.
    dead: CancellationToken,
    pending: Pending,
    waiters: HashMap<u64, Waiter>,
    owners: HashMap<String, String>,
    learned: BTreeMap<Object, Learned>,
    unlearned: BTreeSet<Object>,
}

impl Bus {
    /// A bus that is not connected yet, and the methods that will use it.
    pub(crate) fn new(address: BusAddress, users: &[Arc<Mapped>]) -> Self {
        let mut rules = BTreeSet::new();
        let mut losses = HashMap::new();
        for user in users {
            let target = &user.target;
            rules.insert(owner_rule(&target.destination));
            losses.entry(target.destination.clone()).or_default();
            if let Some(done) = &user.done {
                // A path that only the reply tells cannot be asked for before.
                let path = done.path.literal_text().map(|path| format!(",path='{path}'"));
                rules.insert(format!(
                    "type='signal',sender='{}'{},interface='{}',member='{}'",
                    target.destination,
                    path.unwrap_or_default(),
                    done.interface,
                    done.signal
                ));
            }
        }
        Self { rules, losses, objects: objects(users), ..Self::bare(address, Trust::Services) }
    }

    /// A connection of one's own for the calls to the plugin `name`, whose owner is followed.
    pub(crate) fn for_plugin(address: BusAddress, name: &str) -> Self {
        let rules = BTreeSet::from([owner_rule(name)]);
        let losses = HashMap::from([(name.to_owned(), watch::Sender::default())]);
        Self { rules, losses, ..Self::bare(address, Trust::Plugins(None)) }
    }

    /// A connection for signals alone, which are asked for while it is there.
    pub(crate) fn for_signals(address: BusAddress, hear: Arc<dyn Hear>) -> Self {
        Self::bare(address, Trust::Plugins(Some(hear)))
    }

    fn bare(address: BusAddress, trust: Trust) -> Self {
        let pulse = Pulse::new(format!("the reader of {}", address.called()), link::LONGEST_ROUND);
        Self {
            pulse: Arc::new(pulse),
            address,
            rules: BTreeSet::new(),
            losses: HashMap::new(),
            objects: BTreeMap::new(),
            news: Notify::default(),
            trust,
            changes: watch::Sender::default(),
            tried: watch::Sender::default(),
            state: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// The bus as the map names it, for messages.
    pub(crate) const fn address(&self) -> &BusAddress {
        &self.address
    }

    /// Whether [`Self::run`] goes round.
    pub(crate) const fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        self.lock().up.is_some()
    }

    /// The connection that there is, by a number that tells it from its successors.
    pub(crate) fn connected_as(&self) -> Option<u64> {
        self.lock().up.as_ref().map(|up| up.id)
    }

    /// Tells from now on when the connection comes or goes, or a name that is followed gets another owner or none.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether connecting has been tried.
    pub(crate) fn has_tried(&self) -> bool {
        *self.tried.borrow()
    }

    /// What the gateway is called on this bus.
    #[cfg(test)]
    pub(crate) fn unique_name(&self) -> Option<String> {
        let state = self.lock();
        state.up.as_ref().and_then(|up| up.connection.unique_name()).map(ToString::to_string)
    }

    /// Tells from now on when the name `destination` loses an owner, and the unique name of that owner.
    pub(crate) fn losses(&self, destination: &str) -> watch::Receiver<String> {
        let losses = self.losses.get(destination).map(watch::Sender::subscribe);
        losses.unwrap_or_else(|| watch::Sender::default().subscribe())
    }

    /// Ends when there is a connection, or a first attempt has failed.
    pub(crate) async fn ready(&self) {
        // The sender lives as long as this does.
        drop(self.tried.subscribe().wait_for(|tried| *tried).await);
    }

    /// Why there is no connection, in words.
    pub(crate) fn why_down(&self) -> String {
        let why = self.lock().down.clone();
        why.unwrap_or_else(|| "connecting has not ended yet".into())
    }

    /// Whether the connection of this unique name lives. When this comes back, all that the bus had to say before
    /// has arrived as well.
    pub(crate) async fn lives(&self, unique_name: &str) -> bool {
        let Ok(message) = bus_call("NameHasOwner").build(&unique_name) else { return false };
        // Nothing acts on this: the time is only a bound.
        let Ok(reply) = self.send(&message, &Deadline::after(ASK_LIMIT)).await else { return false };
        reply.await.is_ok_and(|reply| reply.body().deserialize().unwrap_or(false))
    }

    /// Hands a message to whoever waits for it. Never waits itself. Whether it is an answer that somebody waits for is
    /// in the result.
    fn dispatch(&self, message: &Message) -> bool {
        let mut state = self.lock();
        let State { up: Some(up), .. } = &mut *state else { return false };
        match message.message_type() {
            Type::MethodReturn | Type::Error => {
                return up.pending.answer(message, &up.owners);
            }
            Type::Signal => {
                if let Some(change) = owner_change(message)
                    && (self.losses.contains_key(&change.name) || matches!(self.trust, Trust::Services))
                {
                    up.unlearn(&change.name, &self.objects);
                    change.apply(&mut up.owners);
                    self.news.notify_one();
                    if let (Some(lost), Some(losses)) = (change.lost, self.losses.get(&change.name)) {
                        losses.send_replace(lost);
                    }
                    drop(state);
                    self.changed();
                } else if let Trust::Plugins(hear) = &self.trust {
                    drop(state);
                    if let Some(hear) = hear {
                        hear.hear(message);
                    }
                } else {
                    up.signal(message);
                }
            }
            // Nobody has a reason to call the gateway here.
            Type::MethodCall => {}
        }
        false
    }

    /// Drops the connection, if there is one: all who wait on it hear so.
    pub(crate) fn disconnect(&self) {
        self.lock().up = None;
        self.changed();
    }

    /// Gives the connection `id` up: all who wait on it hear so, and [`Self::run`] makes another.
    fn abandon(&self, id: u64) {
        let mut state = self.lock();
        if state.up.as_ref().is_some_and(|up| up.id == id)
            && let Some(up) = state.up.take()
        {
            up.dead.cancel();
            state.down = Some("it took no data; the gateway connects anew".into());
        }
        drop(state);
        self.changed();
    }

    /// The state. It is only ever changed in whole steps, so a panic elsewhere leaves it good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the bus for news of the owners of a name.
fn owner_rule(name: &str) -> String {
    format!(
        "type='signal',sender='{BUS_NAME}',interface='{BUS_NAME}',member='NameOwnerChanged',arg0='{name}'"
    )
}

/// The start of a call to the bus itself.
fn bus_call(member: &'static str) -> zbus::message::Builder<'static> {
    call_message(BUS_NAME, BUS_PATH, BUS_NAME, member)
}

/// The start of a method call that starts no service. The names have been checked; a wrong one is told by `build`.
pub(crate) fn call_message<'a>(
    destination: &'a str,
    path: &'a str,
    interface: &'a str,
    member: &'a str,
) -> zbus::message::Builder<'a> {
    Message::method_call(path, member)
        .destination(destination)
        .interface(interface)
        .with_flags(Flags::NO_AUTO_START)
}

fn too_late(deadline: &Deadline) -> Expired {
    deadline.check().err().unwrap_or(Expired { late_by: Duration::ZERO })
}
