//! What the core is told: once, and again when the methods are changed.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use nowd_protocol::{Level, MAX_PAGE_LEN, RawValue, Uuid};

use crate::access::Pattern;

/// Everything the core needs to know to judge requests.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The gateway's own name.
    pub target: Level,
    /// This start of the process.
    pub incarnation: Uuid,
    /// What is on offer at first; see [`crate::Event::Offer`].
    pub offer: Arc<Offer>,
    /// Bounds of memory.
    pub limits: Limits,
    /// Whether there is a journal: then calls of methods that are not idempotent are written down before they start.
    pub journal: bool,
    /// Draws a new id, for safe actions.
    pub new_id: fn() -> Uuid,
}

/// What is on offer, and to whom: all that can be changed while the gateway runs.
#[derive(Clone)]
pub struct Offer {
    /// The number of this set of methods, which no other set of the process has: by it the shell finds what runs a call.
    pub generation: u64,
    /// The methods, by name. The name `*` stands for all that are not listed.
    pub methods: BTreeMap<String, Method>,
    /// The lanes, by name.
    pub lanes: BTreeMap<String, Lane>,
    /// Who may call a method that does not say so itself.
    pub access_default: Vec<Pattern>,
    /// Callers that speak only the public sample's form.
    pub compat: Compat,
}

impl Offer {
    /// The method that a call of this name calls.
    pub(crate) fn method(&self, name: &str) -> Option<&Method> {
        self.methods.get(name).or_else(|| self.methods.get("*"))
    }

    /// Whether a call of this name is judged and run here as it is there.
    pub(crate) fn agrees(&self, other: &Self, name: &str) -> bool {
        self.compat == other.compat
            && match (self.method(name), other.method(name)) {
                (Some(one), Some(other)) => one.identity.is_some() && one.identity == other.identity,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

/// Each call holds its offer, so the whole of it would stand there once for each.
impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// How the calls of a method are judged.
#[derive(Debug, Clone)]
pub struct Method {
    /// What those who may call it are told of it: a [`nowd_protocol::MethodEntry`], written down and bounded.
    pub entry: Arc<RawValue>,
    /// Where two offers have a method of this name and the same identity, it is the same in all that the shell knows of it: its
    /// parameters, its rules, its lane, who may call it, and what runs it. `None` is like no other.
    pub identity: Option<Uuid>,
    /// The lane its calls stand in.
    pub lane: Arc<str>,
    /// The budget where a caller names none: that of a safe action.
    pub timeout: Duration,
    /// The largest budget a caller may ask for.
    pub max_timeout: Duration,
    /// A waiting call is given up when less than this is left of it.
    pub min_budget: Duration,
    /// How long after its deadline a call may hold its lane before the lane counts as stuck.
    pub stuck_after: Duration,
    /// Who may call; `None` means [`Offer::access_default`].
    pub allow: Option<Vec<Pattern>>,
    /// Whether it overtakes and clears its lane.
    pub stop: bool,
    /// Whether only the gateway itself may call it.
    pub internal: bool,
    /// Whether running it twice is as good as once: then its calls need no journal.
    pub idempotent: bool,
    /// The safe action when a call's deadline passes in mid-call.
    pub on_timeout: Option<String>,
    /// The safe action for a call that runs at shutdown.
    pub on_stop: Option<String>,
    /// How often the gateway reads it by itself, if it does; calls of it are then answered with the last value.
    pub poll: Option<Duration>,
}

/// A queue before something that can do `concurrency` things at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// How many calls run at once.
    pub concurrency: NonZeroU16,
    /// How many calls may wait.
    pub depth: u16,
}

/// Callers that speak only the public sample's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compat {
    /// What their return addresses start with. None: there are no such callers.
    pub prefixes: Vec<String>,
    /// What each of their calls gets, from receipt.
    pub budget: Duration,
}

/// Bounds of what is remembered of calls, and told of methods.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many ids are remembered of one asker (caller, or return address); a flood beyond refuses only its author.
    pub ids_per_asker: usize,
    /// How many askers are remembered.
    pub askers: usize,
    /// How many ids are remembered in all.
    pub ids: usize,
    /// How long after its deadline an id is remembered.
    pub remember: Duration,
    /// How many bytes of responses are kept for repeats, in all; the oldest go first.
    pub response_bytes: usize,
    /// How many calls of the journal are known; the oldest are forgotten first.
    pub journaled: usize,
    /// How many bytes of entries stand on one page of `nowd.methods`; one entry at least does.
    pub page_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ids_per_asker: 8_192,
            askers: 256,
            ids: 131_072,
            remember: Duration::from_secs(60),
            response_bytes: 1 << 20,
            journaled: 4_096,
            page_bytes: MAX_PAGE_LEN,
        }
    }
}
