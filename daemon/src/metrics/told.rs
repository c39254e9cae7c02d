//! Which metrics there are, and what they mean. Their names, labels and meaning are a contract: they are added to, never changed.

use nowd_plugin::Health;
use nowd_protocol::{Outcome, Status};

use super::micros;
use super::process::Process;
use super::text::{Kind, Text, seconds};
use crate::clock::wall_ms;
use crate::local::{PluginSnapshot, ProblemLevel, Snapshot};
use crate::log;
use crate::stats::{BOUNDS, OUTCOMES, Times, Totals};
use crate::uplink::Published;

/// How many values a label may have that the configuration chooses; there may be more lanes or plugins.
const MOST: usize = 256;

/// All of it.
pub(crate) fn told(snapshot: &Snapshot) -> String {
    let mut text = Text::new(&snapshot.target);
    let totals = snapshot.stats.totals();
    gateway(&mut text, snapshot);
    problems(&mut text, snapshot);
    link(&mut text, snapshot);
    greengrass(&mut text, snapshot);
    audit(&mut text, snapshot);
    clock(&mut text, snapshot);
    calls(&mut text, snapshot, &totals);
    methods(&mut text, &totals);
    lanes(&mut text, snapshot);
    plugins(&mut text, &snapshot.plugins);
    process(&mut text, &Process::now());
    text.finish()
}

fn gateway(text: &mut Text, snapshot: &Snapshot) {
    let incarnation = snapshot.incarnation.to_string();
    let about = [("version", env!("CARGO_PKG_VERSION")), ("incarnation", incarnation.as_str())];
    text.family(
        "nowd_info",
        Kind::Gauge,
        "Always 1; says which daemon this is. The incarnation is new at each start.",
    )
    .sample(&about, 1);
    let written = seconds(wall_ms().saturating_mul(1_000));
    let help = "When this was put into words, by the wall clock. One that does not move is of a daemon that is no more.";
    text.one("nowd_metrics_timestamp_seconds", Kind::Gauge, help, Some(written));
    let up = seconds(micros(snapshot.started, snapshot.now));
    let help = "For how long the daemon has run, by a clock that nobody sets.";
    text.one("nowd_uptime_seconds", Kind::Gauge, help, Some(up));
    let locked = u8::from(snapshot.lockout.is_some());
    text.one("nowd_locked", Kind::Gauge, "Whether it is locked out on site: nothing starts.", Some(locked));
    let (count, sum) = snapshot.stalls;
    let help = "How often the process stood still: frozen, suspended, or held up.";
    text.one("nowd_stalls_total", Kind::Counter, help, Some(count));
    let sum = seconds(u64::try_from(sum.as_micros()).unwrap_or(u64::MAX));
    let help = "For how long the process stood still, in all.";
    text.one("nowd_stall_seconds_total", Kind::Counter, help, Some(sum));
    let reloads = &snapshot.reloads;
    let help = "How often configuration and maps were read again.";
    let mut family = text.family("nowd_reloads_total", Kind::Counter, help);
    family.sample(&[("result", "taken")], reloads.taken);
    family.sample(&[("result", "rejected")], reloads.rejected);
    let help = "Whether the last attempt to read configuration and maps again was rejected.";
    let rejected = u8::from(reloads.last_rejected.is_some());
    text.one("nowd_reload_rejected", Kind::Gauge, help, Some(rejected));
    let help = "How many tables of nowd.toml were read again and take effect at the next start only.";
    text.one("nowd_configuration_needs_start", Kind::Gauge, help, Some(reloads.need_start.len()));
    let help = "Whether files of the configuration were changed since they were read.";
    text.one("nowd_configuration_unread", Kind::Gauge, help, Some(u8::from(reloads.is_stale())));
    let help = "Whether there is a journal.";
    text.one("nowd_journal_enabled", Kind::Gauge, help, Some(u8::from(snapshot.journal)));
    let help = "Whether the journal cannot be written: calls of methods that are not idempotent are refused.";
    text.one("nowd_journal_failing", Kind::Gauge, help, Some(u8::from(snapshot.journal_failing)));
    let help = "Lines of the log that were lost, because they came faster than they could be written.";
    text.one("nowd_log_lines_lost_total", Kind::Counter, help, Some(log::lost()));
}

/// What `nowd status` says first, as numbers: whatever is added there has an alarm at once.
fn problems(text: &mut Text, snapshot: &Snapshot) {
    let problems = snapshot.problems();
    let help = "What `nowd status` says is wrong: error is what somebody must mend.";
    let mut family = text.family("nowd_problems", Kind::Gauge, help);
    for (name, level) in [("error", ProblemLevel::Error), ("warn", ProblemLevel::Warn)] {
        family.sample(&[("level", name)], problems.iter().filter(|problem| problem.level == level).count());
    }
}

fn link(text: &mut Text, snapshot: &Snapshot) {
    let link = &snapshot.link;
    let is_up = link.state == "up";
    let help = "Whether the gateway is connected and subscribed.";
    text.one("nowd_link_up", Kind::Gauge, help, Some(u8::from(is_up)));
    let help = "For how long it has been so.";
    let since = seconds(micros(link.since, snapshot.now));
    text.one("nowd_link_state_seconds", Kind::Gauge, help, Some(since));
    let help =
        "Whether the link cannot come up before somebody mends a setting, certificate, policy or name.";
    text.one("nowd_link_needs_mending", Kind::Gauge, help, Some(u8::from(link.needs_mending)));
    let help = "How often the link came up.";
    text.one("nowd_link_connects_total", Kind::Counter, help, Some(link.counts.ups));
    let help = "Connections that ended and attempts that failed, by why.";
    let mut family = text.family("nowd_link_failures_total", Kind::Counter, help);
    for reason in ALL_REASONS {
        family.sample(&[("reason", reason)], link.counts.failures.get(reason).copied().unwrap_or_default());
    }
    let help = "How long the gateway's last message to itself was under way, to the broker and back.";
    let round_trip =
        link.counts.round_trip.map(|took| seconds(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)));
    text.one("nowd_link_probe_round_trip_seconds", Kind::Gauge, help, round_trip);
    let help = "When the gateway's certificate ends; absent without TLS. One that was renewed counts when the broker has accepted it.";
    let not_after = link.certificate.as_ref().map(|certificate| certificate.not_after_s);
    text.one("nowd_link_certificate_not_after_seconds", Kind::Gauge, help, not_after);
    let help = "Whether a certificate was renewed and is not used: the broker refuses it, or its files cannot be used.";
    let failing = link
        .certificate
        .as_ref()
        .map(|certificate| u8::from(certificate.refused.is_some() || certificate.unusable.is_some()));
    text.one("nowd_link_certificate_renewal_failing", Kind::Gauge, help, failing);
    let help = "How often the gateway put its presence right, which said offline while it was online.";
    text.one("nowd_presence_corrections_total", Kind::Counter, help, Some(link.counts.corrections));
    let help =
        "Messages of the gateway that the broker refused: answers, its presence, and messages to itself.";
    let mut family = text.family("nowd_link_publishes_refused_total", Kind::Counter, help);
    for what in Published::ALL {
        family.sample(&[("what", what.as_str())], link.refusals.count(what));
    }
}

/// Absent where there is no nucleus.
fn greengrass(text: &mut Text, snapshot: &Snapshot) {
    let Some(report) = &snapshot.greengrass else { return };
    let help = "Whether the nucleus of Greengrass is connected.";
    text.one("nowd_nucleus_connected", Kind::Gauge, help, Some(u8::from(report.nucleus.connected)));
    if let Some(runs) = &report.deployment {
        let help = "Always 1; says which deployment the gateway runs: the same digest on each core that was given the same.";
        text.family("nowd_deployment_info", Kind::Gauge, help).sample(&[("digest", &runs.digest)], 1);
    }
    let help = "Whether a newer deployment was refused.";
    text.one("nowd_deployment_refused", Kind::Gauge, help, Some(u8::from(report.refused.is_some())));
}

fn audit(text: &mut Text, snapshot: &Snapshot) {
    let counts = snapshot.audit.as_ref().map(|audit| audit.counts());
    let help = "Whether there is an audit record.";
    text.one("nowd_audit_enabled", Kind::Gauge, help, Some(u8::from(counts.is_some())));
    let help = "Whether the audit record cannot be written: calls go on without it. Absent where there is none, as are the two that follow.";
    text.one("nowd_audit_failing", Kind::Gauge, help, counts.map(|counts| u8::from(counts.failing)));
    let help = "Entries of the audit record that were written.";
    text.one("nowd_audit_entries_total", Kind::Counter, help, counts.map(|counts| counts.entries));
    let help = "Entries of the audit record that were lost.";
    text.one("nowd_audit_lost_total", Kind::Counter, help, counts.map(|counts| counts.lost));
}

/// The words of `LinkError::kind` and those of the gateway's own.
const ALL_REASONS: [&str; 21] = [
    "certificate",
    "closed",
    "ended_by_broker",
    "internal",
    "lost",
    "name",
    "not_a_component",
    "nucleus",
    "options",
    "probe_refused",
    "protocol",
    "refused",
    "silent",
    "stale",
    "subscription_ended",
    "subscription_lost",
    "subscription_refused",
    "taken_over",
    "timeout",
    "tls",
    "unreachable",
];

fn clock(text: &mut Text, snapshot: &Snapshot) {
    let clock = &snapshot.clock;
    let help = "Whether the wall clock may judge deadlines.";
    text.one("nowd_clock_trusted", Kind::Gauge, help, Some(u8::from(clock.trusted)));
    let error = clock.max_error.map(|error| seconds(u64::try_from(error.as_micros()).unwrap_or(u64::MAX)));
    let help = "How wrong the wall clock may be, as the kernel says; absent while nobody synchronises it.";
    text.one("nowd_clock_max_error_seconds", Kind::Gauge, help, error);
    let help = "How often the wall clock began or ceased to be trusted.";
    text.one("nowd_clock_trust_changes_total", Kind::Counter, help, Some(snapshot.clock_changes));
}

fn calls(text: &mut Text, snapshot: &Snapshot, totals: &Totals) {
    let help = "Calls that were answered, by how they ended.";
    let mut family = text.family("nowd_calls_total", Kind::Counter, help);
    // Those that can be are there from the start, so that the first one of a kind is seen as a change.
    let mut counts = totals.ended.clone();
    for status in Status::ALL.iter().filter(|status| !matches!(status, Status::Offline | Status::NoReply)) {
        let outcome = status.outcome().unwrap_or(Outcome::Unknown);
        counts.entry((*status, outcome.as_str())).or_default();
    }
    for ((status, outcome), count) in &counts {
        family.sample(&[("status", status.as_str()), ("outcome", outcome)], count);
    }
    let help = "Calls, safe actions and reads of the gateway's own that run now.";
    text.one("nowd_calls_running", Kind::Gauge, help, Some(snapshot.running));
    for (name, help, count) in [
        ("nowd_repeats_total", "Repeats of calls that were answered.", totals.repeats),
        ("nowd_late_results_total", "Results that came after `timeout` had been answered.", totals.late),
        ("nowd_safe_actions_total", "Safe actions that ended.", totals.safe_actions),
        ("nowd_answers_unsent_total", "Answers that could not be sent.", totals.unsent),
        (
            "nowd_records_lost_total",
            "Records of calls that were lost, and are missing in the counts of calls, because they came too fast.",
            totals.lost,
        ),
    ] {
        text.one(name, Kind::Counter, help, Some(count));
    }
    let help = "Messages that were dropped without an answer, by why.";
    let mut family = text.family("nowd_messages_dropped_total", Kind::Counter, help);
    for reason in ["foreign_target", "loop", "not_a_request", "not_local", "retained"] {
        family.sample(&[("reason", reason)], totals.dropped.get(reason).copied().unwrap_or_default());
    }
    let help = "Safe actions that failed when they were last taken.";
    let failing = totals.failed_safe_actions.len();
    text.one("nowd_safe_actions_failing", Kind::Gauge, help, Some(failing));
    let help = "How many polled methods cannot be read now.";
    text.one("nowd_polls_failing", Kind::Gauge, help, Some(totals.unreadable.len()));
    let help = "From receipt to answer, of calls that came into a lane.";
    histogram(text, "nowd_call_duration_seconds", help, &totals.total);
    let help = "The part of that before the plugin was asked.";
    histogram(text, "nowd_call_queue_seconds", help, &totals.queue);
    let help = "The part of that in the plugin.";
    histogram(text, "nowd_call_plugin_seconds", help, &totals.plugin);
}

fn histogram(text: &mut Text, name: &'static str, help: &'static str, times: &Times) {
    let mut family = text.family(name, Kind::Histogram, help);
    let mut so_far = 0_u64;
    for (bound, count) in BOUNDS.iter().zip(times.within) {
        so_far = so_far.saturating_add(count);
        family.part("_bucket", &[("le", &seconds(*bound))], so_far);
    }
    family.part("_bucket", &[("le", "+Inf")], times.count);
    family.part("_sum", &[], seconds(times.sum));
    family.part("_count", &[], times.count);
}

fn methods(text: &mut Text, totals: &Totals) {
    let help = "Calls that came into a lane, by method and outcome; of at most 256 methods.";
    let mut family = text.family("nowd_method_calls_total", Kind::Counter, help);
    for (method, (outcomes, _)) in &totals.methods {
        for (outcome, count) in OUTCOMES.iter().zip(outcomes) {
            family.sample(&[("method", method), ("outcome", outcome.as_str())], count);
        }
    }
    let help = "How long those took, in all.";
    let mut family = text.family("nowd_method_seconds_total", Kind::Counter, help);
    for (method, (_, micros)) in &totals.methods {
        family.sample(&[("method", method)], seconds(*micros));
    }
    let help = "Calls of further methods, which are not told apart.";
    text.one("nowd_methods_untold_calls_total", Kind::Counter, help, Some(totals.further));
}

fn lanes(text: &mut Text, snapshot: &Snapshot) {
    type Of = fn(&nowd_core::LaneReport) -> usize;
    let kinds: [(&'static str, &'static str, Of); 3] = [
        ("nowd_lane_running", "Calls that hold the lane.", |lane| lane.running),
        ("nowd_lane_waiting", "Calls that wait for the lane.", |lane| lane.waiting),
        ("nowd_lane_stuck", "Calls that have held the lane for too long: it is unavailable.", |lane| {
            lane.stuck
        }),
    ];
    for (name, help, of) in kinds {
        let mut family = text.family(name, Kind::Gauge, help);
        for lane in snapshot.lanes.iter().take(MOST) {
            family.sample(&[("lane", &lane.name)], of(lane));
        }
    }
}

fn plugins(text: &mut Text, plugins: &[PluginSnapshot]) {
    let help = "Whether the plugin is in this state of health: ok, degraded or failed.";
    let mut family = text.family("nowd_plugin_health", Kind::Gauge, help);
    for PluginSnapshot { report, .. } in plugins.iter().take(MOST) {
        for health in [Health::Ok, Health::Degraded(String::new()), Health::Failed(String::new())] {
            let state = health.words().0;
            let is_it = u8::from(report.health.state == state);
            family.sample(&[("plugin", &report.name), ("state", state)], is_it);
        }
    }
    let help = "Methods that the plugin has on offer.";
    let mut family = text.family("nowd_plugin_methods", Kind::Gauge, help);
    for PluginSnapshot { report, .. } in plugins.iter().take(MOST) {
        family.sample(&[("plugin", &report.name)], report.methods);
    }
}

/// Not by the usual names, which `node_exporter` has for itself: the same name twice is an error there.
fn process(text: &mut Text, process: &Process) {
    let help = "Memory of the process.";
    text.one("nowd_process_resident_memory_bytes", Kind::Gauge, help, process.resident);
    let help = "Processor time of the process.";
    text.one("nowd_process_cpu_seconds_total", Kind::Counter, help, process.processor.map(seconds));
    text.one("nowd_process_open_fds", Kind::Gauge, "Open files of the process.", process.open_files);
    text.one("nowd_process_threads", Kind::Gauge, "Threads of the process.", process.threads);
}

#[cfg(test)]
mod tests;
