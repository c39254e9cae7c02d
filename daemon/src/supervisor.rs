//! Tells the service manager how the gateway is, and that it lives: only while everything that must move has moved.
//!
//! Each part has a bound of its own, and stands still when it has not moved for longer. A part that has nothing to do is
//! asked, through the loop that it works in. What may rightly stand still is none of the parts: a device, a bus, the broker,
//! a disk, the log. Nothing here ends the process, or waits: that is the service manager's part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_rfc3339_seconds;
use nowd_plugin::{BootInstant, Pulse};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, info};

use crate::clock;

mod manager;

pub use manager::ServiceManager;

/// How often the parts are looked at, where the watchdog leaves that long.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How many looks the watchdog's time has room for.
const LOOKS: u32 = 4;

/// How often it is looked whether all has begun.
const BEGIN_EVERY: Duration = Duration::from_millis(10);

/// The longest text that the service manager is shown, in characters.
const LONGEST_STATUS: usize = 200;

/// Something that must move, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What people call it.
    pub(crate) name: String,
    /// Tells it from others of the same name.
    pub(crate) id: u64,
    /// How often it has moved.
    pub(crate) moves: u64,
    /// How long it may be without another move.
    pub(crate) bound: Duration,
}

impl Part {
    /// The only one of its name.
    pub(crate) fn new(name: &str, moves: u64, bound: Duration) -> Self {
        Self { name: name.to_owned(), id: 0, moves, bound }
    }

    /// The loop of a plugin, which is asked to answer until the next look.
    pub(crate) fn ask(pulse: &Arc<Pulse>) -> Self {
        let part = Self {
            name: pulse.name().to_owned(),
            id: pulse.id(),
            moves: pulse.moves(),
            bound: pulse.bound(),
        };
        pulse.ask();
        part
    }
}

/// How the gateway is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// Since when the link is up, if it is.
    pub(crate) up_since: Option<BootInstant>,
    /// The broker.
    pub(crate) endpoint: String,
    /// What went wrong with the link last.
    pub(crate) last_error: Option<String>,
    /// Why nothing may move, if so.
    pub(crate) lockout: Option<String>,
}

impl Status {
    /// One line, whatever others have put into it.
    fn line(&self) -> String {
        let lockout =
            self.lockout.as_ref().map(|reason| format!("locked out: {reason}; ")).unwrap_or_default();
        shown(&match (self.up_since, &self.last_error) {
            (Some(since), _) => {
                let since = format_rfc3339_seconds(clock::wall_at(since));
                format!("{lockout}the link to {} is up since {since}", self.endpoint)
            }
            (None, Some(reason)) => format!("{lockout}the link is down: {reason}"),
            (None, None) => format!("{lockout}connecting to {}", self.endpoint),
        })
    }
}

/// What the service manager knows.
#[derive(Debug)]
pub(crate) struct Supervisor {
    manager: Option<ServiceManager>,
    is_ready: bool,
    status: Option<Status>,
    beat: Option<Interval>,
    /// At most so long after the one before a look counts: a process that stood still has not waited.
    every: Duration,
    watch: Watch,
}

impl Supervisor {
    /// Without a service manager nobody is told anything.
    pub(crate) fn new(manager: Option<ServiceManager>) -> Self {
        let beat = manager.as_ref().map(|_| beats(BEGIN_EVERY));
        Self {
            manager,
            is_ready: false,
            status: None,
            beat,
            every: LOOK_EVERY,
            watch: Watch::new(BootInstant::now()),
        }
    }

    /// Whether anybody is told.
    pub(crate) const fn is_there(&self) -> bool {
        self.manager.is_some()
    }

    /// Whether it was told that all has begun.
    pub(crate) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Waits until there is something to look at; for ever where nobody wants to know. May be dropped while waiting.
    pub(crate) async fn beat(&mut self) {
        match &mut self.beat {
            Some(beat) => drop(beat.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Everything has begun.
    pub(crate) fn ready(&mut self, status: &Status) {
        self.is_ready = true;
        self.status = Some(status.clone());
        let Some(manager) = &mut self.manager else { return };
        manager.tell(&format!("READY=1\nSTATUS={}", status.line()));
        let watchdog = manager.watchdog();
        self.every = watchdog.map_or(LOOK_EVERY, |watchdog| (watchdog / LOOKS).min(LOOK_EVERY));
        // Without a watchdog too: what could not be told is told then.
        self.beat = Some(beats(self.every));
        self.watch = Watch::new(BootInstant::now());
    }

    /// Says how the gateway is, if it is otherwise than before.
    pub(crate) fn status(&mut self, status: &Status) {
        if self.is_ready && self.status.as_ref() != Some(status) {
            self.tell(&format!("STATUS={}", status.line()));
            self.status = Some(status.clone());
        }
    }

    /// Configuration and maps are read again.
    pub(crate) fn reloading(&mut self) {
        let now = nowd_plugin::clock::monotonic_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// They were, or were rejected.
    pub(crate) fn reloaded(&mut self) {
        self.tell("READY=1");
    }

    /// The end has begun.
    pub(crate) fn stopping(&mut self) {
        self.tell("STOPPING=1\nSTATUS=stopping: calls that run may end");
    }

    /// Looks at all parts, and says that the gateway lives if every one has moved in time.
    pub(crate) fn look(&mut self, parts: impl IntoIterator<Item = Part>) {
        let Some(manager) = &mut self.manager else { return };
        let all_move = self.watch.look(BootInstant::now(), self.every, parts);
        manager.tell_unsent();
        if all_move && manager.watchdog().is_some() {
            manager.alive();
        }
    }

    fn tell(&mut self, what: &str) {
        if let Some(manager) = &mut self.manager {
            manager.tell(what);
        }
    }
}

fn beats(every: Duration) -> Interval {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

fn shown(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(LONGEST_STATUS).collect();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// Which parts stand still.
#[derive(Debug)]
struct Watch {
    /// The time in which parts could move, since the start.
    time: Duration,
    last: BootInstant,
    parts: BTreeMap<(String, u64), Seen>,
}

#[derive(Debug)]
struct Seen {
    moves: u64,
    /// When these were seen first.
    since: Duration,
    stands: bool,
}

impl Watch {
    const fn new(now: BootInstant) -> Self {
        Self { time: Duration::ZERO, last: now, parts: BTreeMap::new() }
    }

    /// Says whether every part has moved within its bound. Time beyond `every` since the last look does not count.
    fn look(&mut self, now: BootInstant, every: Duration, parts: impl IntoIterator<Item = Part>) -> bool {
        self.time = self.time.saturating_add(now.saturating_since(self.last).min(every));
        self.last = now;
        let mut seen = BTreeMap::new();
        let mut all_move = true;
        for Part { name, id, moves, bound } in parts {
            let key = (name, id);
            let mut part = match self.parts.remove(&key) {
                Some(part) if part.moves == moves => part,
                before => {
                    if before.is_some_and(|before| before.stands) {
                        info!("{} moves again", key.0);
                    }
                    Seen { moves, since: self.time, stands: false }
                }
            };
            let still = self.time.saturating_sub(part.since);
            if still > bound {
                all_move = false;
                if !std::mem::replace(&mut part.stands, true) {
                    let (still_ms, bound_ms) = (still.as_millis(), bound.as_millis());
                    error!(
                        see = "part-stands-still",
                        still_ms,
                        bound_ms,
                        "{} stands still, which is a bug; the watchdog is not fed until it moves",
                        key.0
                    );
                }
            }
            seen.insert(key, part);
        }
        // What is not there any more has ended, or is another.
        self.parts = seen;
        all_move
    }
}

#[cfg(test)]
mod tests;
