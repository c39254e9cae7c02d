//! Does a plugin keep the contract `io.nowd.Plugin1`? Asks it over the bus, in whatever language it is written, and says of
//! each rule what was seen: `nowd plugin test`.
//!
//! There are three levels. What is *harmless* moves nothing in a correct plugin: each call in it comes too late, or names a
//! method that does not exist, or (once the plugin has shown that it does not act too late) has wrong parameters. *Real* calls
//! are those that the plugin's author allows. *Life* freezes, kills and restarts the plugin's process.
//!
//! It never starts a service by its name, never waits without a bound, and believes nothing that the plugin says.

mod bench;
mod bus;
mod exchange;
mod flood;
mod garbage;
mod harmless;
mod life;
mod process;
mod questions;
mod queued;
mod real;
mod report;
mod sample;

use std::ffi::OsString;
use std::time::Duration;

use serde_json::Value;

use self::bench::Bench;
pub use self::report::{Check, Finding, Level, Problem, Report, Verdict};
use crate::BootInstant;
use crate::bus::BusAddress;

/// How long an answer that needs no work may take, unless said otherwise.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// After this long no further check is begun.
const ALL_WITHIN: Duration = Duration::from_secs(120);

/// What to test, and how far to go.
#[derive(Debug, Clone)]
pub struct Options {
    /// The plugin's well-known name.
    pub name: String,
    /// Its object.
    pub path: String,
    /// The bus that it is on. `None` is a bus of the test's own where it starts the plugin itself (and `dbus-daemon` is
    /// installed), else the system's.
    pub bus: Option<BusAddress>,
    /// Calls that may really be run: methods and parameters.
    pub calls: Vec<(String, Value)>,
    /// How the plugin is started, if its process may be frozen and killed.
    pub program: Option<Program>,
    /// Checks to leave out, by their names.
    pub skip: Vec<String>,
    /// How long an answer that needs no work may take: [`ANSWER_WITHIN`], and more on a machine that is busy.
    pub answer_within: Duration,
}

/// How the plugin's process comes and goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The test starts this program with these arguments, and ends it.
    Own(Vec<OsString>),
    /// It runs already; this command of the shell starts it again.
    Restart(OsString),
}

/// There was nothing to test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No bus.
    #[error("{0} cannot be reached: {1}")]
    Bus(String, String),
    /// The plugin is not on the bus.
    #[error("nobody owns the name {name} on {bus}{hint}")]
    Nobody {
        /// The plugin's name.
        name: String,
        /// The bus.
        bus: String,
        /// What to do, and what its program said.
        hint: String,
    },
    /// The bus's policy is in the way.
    #[error(
        "the policy of {bus} does not let this user call {name}; run this as root or as the gateway's user, and where they may \
         not either, let them in its file of dbus-1/system.d: <policy user=\"root\"><allow send_destination=\"{name}\"/></policy>"
    )]
    Denied {
        /// The plugin's name.
        name: String,
        /// The bus.
        bus: String,
    },
    /// The name or path cannot be one.
    #[error("{0}")]
    Wrong(String),
    /// The program cannot be started.
    #[error("{0:?} cannot be started: {1}")]
    Program(OsString, String),
}

impl Options {
    /// The harmless checks of the plugin of this name on the system's bus, at the path that goes with its name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let path = default_path(&name);
        Self {
            name,
            path,
            bus: None,
            calls: Vec::new(),
            program: None,
            skip: Vec::new(),
            answer_within: ANSWER_WITHIN,
        }
    }
}

/// The path that goes with a name: `/com/example/Gate` with `com.example.Gate`.
#[must_use]
pub fn default_path(name: &str) -> String {
    // A path may hold no `-`.
    format!("/{}", name.replace('.', "/").replace('-', "_"))
}

/// Runs all checks that `options` allow, and tells of each as soon as it has been made.
///
/// What it has started ends with it, also when it is dropped before its end.
pub async fn run(options: &Options, mut tell: impl FnMut(&Finding)) -> Result<Report, Unreachable> {
    let begun = BootInstant::now();
    let mut bench = Bench::set_up(options).await?;
    let mut report = Report::default();
    for check in Check::ALL.iter().copied() {
        let late = BootInstant::now().saturating_since(begun) > ALL_WITHIN;
        let seen = if options.skip.iter().any(|name| name == check.name()) {
            report::Seen::skip("left out, as asked")
        } else if let Some(reason) = bench.lacks(check) {
            report::Seen::skip(reason)
        } else if late {
            report::Seen::skip("the time for all checks is used up: the plugin answers slowly")
        } else {
            attended(check, &mut bench).await
        };
        let finding = seen.finding(check);
        tell(&finding);
        report.findings.push(finding);
    }
    report.not_shown = not_shown(&bench);
    bench.take_down().await;
    Ok(report)
}

/// The check, and whether the program ended in it or since the one before.
async fn attended(check: Check, bench: &mut Bench<'_>) -> report::Seen {
    if matches!(check, Check::HasMethods | Check::Clock | Check::Answers) {
        return make(check, bench).await;
    }
    let before = if bench.end_is_told { None } else { bench.end_of_program(false).await };
    if let Err(reason) = bench.attend(check).await {
        let seen = report::Seen::skip(reason);
        return match before {
            Some(end) => seen.ended(end),
            None => seen,
        };
    }
    let seen = make(check, bench).await;
    // These end it themselves, and it may end with its bus.
    let of_its_own = !matches!(check, Check::Killed | Check::Terminated | Check::BusGone);
    let after = if of_its_own { bench.end_of_program(!seen.is_ok()).await } else { None };
    bench.end_is_told = after.is_some();
    match after.or(before) {
        Some(end) => seen.ended(end),
        None => seen,
    }
}

/// What nobody should take for tested.
fn not_shown(bench: &Bench<'_>) -> Vec<String> {
    let mut all = vec![
        "when the device really moves: only answers are seen, so look once for yourself".to_owned(),
        "CLOCK_MONOTONIC in place of CLOCK_BOOTTIME: both are the same on a machine that was never suspended"
            .to_owned(),
    ];
    if !bench.waited {
        all.push(
            "a deadline that is compared at the start of the handler, and not directly before acting: it shows only where calls wait \
             in the plugin"
                .into(),
        );
    }
    let limit = bench.options.answer_within;
    if bench.longest_meanwhile <= limit {
        all.push(format!(
            "a handler that holds up all else while the device works: give a --call that takes more than {limit:?}"
        ));
    }
    all
}

async fn make(check: Check, bench: &mut Bench<'_>) -> report::Seen {
    match check {
        Check::Present => harmless::present(bench).await,
        Check::Interface => harmless::interface(bench).await,
        Check::Describe => harmless::describe(bench).await,
        Check::Health => harmless::health(bench).await,
        Check::NotAfter => questions::not_after(bench).await,
        Check::UnknownMethod => questions::unknown_method(bench).await,
        Check::WrongParams => questions::wrong_params(bench).await,
        Check::HasMethods => questions::has_methods(bench),
        Check::Clock => questions::clock(bench),
        Check::Garbage => garbage::garbage(bench).await,
        Check::CancelUnknown => harmless::cancel_unknown(bench).await,
        Check::Flood => flood::flood(bench).await,
        Check::Concurrent => flood::concurrent(bench).await,
        Check::Call => real::call(bench).await,
        Check::Late => real::late(bench).await,
        Check::Queued => queued::queued(bench).await,
        Check::ConcurrentCalls => real::concurrent_calls(bench).await,
        Check::Meanwhile => real::meanwhile(bench).await,
        Check::Cancel => real::cancel(bench).await,
        Check::Frozen => life::frozen(bench).await,
        Check::Killed => life::killed(bench).await,
        Check::Terminated => life::terminated(bench).await,
        Check::BusGone => life::bus_gone(bench).await,
        Check::Answers => questions::answers(bench),
    }
}

#[cfg(test)]
mod tests;
