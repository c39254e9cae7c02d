//! What a plugin says of each method it offers.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::map::MapOrigin;
use crate::params::Params;

/// A method on offer.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its name: a topic level, such as `window.set`.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// Where it was declared, for messages: `methods.d/window.toml:9`.
    pub origin: String,
    /// The same, where it was declared in a map: for messages that show the line.
    pub place: Option<MapOrigin>,
    /// The lane its calls stand in.
    pub lane: Lane,
    /// How its calls are judged.
    pub policy: Policy,
    /// The schema of its parameters; `None` takes anything.
    pub params: Option<Params>,
}

/// A queue before something that can do one thing (or `concurrency` things) at a time.
///
/// Methods that name the same lane share it; what they say of it must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// For example `port:rs485` or `dbus:system:com.example.Window1/com/example/window/left`.
    pub name: String,
    /// How many calls run at once.
    pub concurrency: NonZeroU16,
    /// How many calls may wait.
    pub depth: u16,
}

impl Lane {
    /// How many calls may wait in a lane unless its map says otherwise.
    pub const DEFAULT_DEPTH: u16 = 16;

    /// A lane that runs one call at a time.
    #[must_use]
    pub fn exclusive(name: impl Into<String>) -> Self {
        Self { name: name.into(), concurrency: NonZeroU16::MIN, depth: Self::DEFAULT_DEPTH }
    }
}

/// How the calls of a method are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The budget where a caller names none.
    pub timeout: Duration,
    /// The largest budget a caller may ask for.
    pub max_timeout: Duration,
    /// A waiting call is given up when less than this is left of it: what it takes to run, and to tell the caller.
    pub min_budget: Duration,
    /// How long after its deadline a call may hold its lane before the lane counts as stuck.
    pub stuck_after: Duration,
    /// Who may call: patterns over `client` and `caller`; `None` means the daemon's `[access] default`.
    pub allow: Option<Vec<String>>,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// Whether it overtakes and clears its lane.
    pub stop: bool,
    /// Whether only the gateway itself may call it.
    pub internal: bool,
    /// The safe action to run when a call's deadline passes in mid-call.
    pub on_timeout: Option<String>,
    /// The safe action to run at shutdown.
    pub on_stop: Option<String>,
    /// How often the gateway reads it by itself; calls are then answered with the last value and its age.
    pub poll: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(30),
            min_budget: Duration::from_millis(10),
            stuck_after: Duration::from_secs(5),
            allow: None,
            idempotent: false,
            stop: false,
            internal: false,
            on_timeout: None,
            on_stop: None,
            poll: None,
        }
    }
}
