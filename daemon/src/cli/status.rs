//! `nowd status`: how the gateway is, on one screen.

use std::io;

use super::client::{Client, Reach};
use super::words::{duration, ms, printable, table};
use super::{Failure, say};
use crate::audit::AuditReport;
use crate::exit::Exit;
use crate::greengrass::Report;
use crate::local::{Problem, ProblemLevel, StatusReport};
use crate::stats::{HopReport, HopsReport};

/// How many methods are shown: those that took longest.
const MOST_METHODS: usize = 20;

pub(super) fn status(reach: &Reach, json: bool) -> Result<(), Failure> {
    let client = Client::connect(reach)?;
    let mut out = io::stdout();
    if json {
        say(&mut out, &client.status_json()?);
        return Ok(());
    }
    for line in lines(&client.status()?) {
        say(&mut out, &line);
    }
    Ok(())
}

/// For monitoring: the problems and nothing else. Fails if there is one that somebody must mend.
pub(super) fn check(reach: &Reach) -> Result<Exit, Failure> {
    let status = Client::connect(reach)?.status()?;
    let mut out = io::stdout();
    for line in problems(&status) {
        say(&mut out, &line);
    }
    let is_bad = status.problems.iter().any(|problem| problem.level == ProblemLevel::Error);
    Ok(if is_bad { Exit::Failed } else { Exit::Ok })
}

fn problems(status: &StatusReport) -> Vec<String> {
    if status.problems.is_empty() {
        return vec!["no problem is known".into()];
    }
    let lines = |problem: &Problem| {
        let mark = if problem.level == ProblemLevel::Error { "PROBLEM" } else { "note   " };
        [
            format!("{mark}  {}", printable(&problem.what)),
            format!("         do: {}", printable(&problem.remedy)),
        ]
    };
    status.problems.iter().flat_map(lines).collect()
}

fn lines(status: &StatusReport) -> Vec<String> {
    let mut lines = problems(status);
    lines.push(String::new());
    lines.extend(about(status));
    let calls = &status.calls.ended;
    if calls.timing.calls > 0 {
        let row = |name: &str, hop: &HopReport| {
            [name.to_owned(), ms(hop.p50), ms(hop.p90), ms(hop.p99), ms(hop.max)]
        };
        let HopsReport { queue, plugin, total, .. } = &calls.timing;
        let rows = [row("queue", queue), row("plugin", plugin), row("total", total)];
        lines.push(String::new());
        lines.extend(table(["MS", "P50", "P90", "P99", "MAX"], &rows, 1));
    }
    let plugins: Vec<[String; 4]> = status
        .plugins
        .iter()
        .map(|plugin| {
            let health = &plugin.health;
            let why = if health.message.is_empty() { String::new() } else { format!(": {}", health.message) };
            let kind = plugin.kind.replace('_', " ");
            [
                plugin.name.clone(),
                kind,
                plugin.methods.to_string(),
                printable(&format!("{}{why}", health.state)),
            ]
        })
        .collect();
    append(&mut lines, table(["PLUGIN", "KIND", "METHODS", "HEALTH"], &plugins, 4), plugins.is_empty());
    for plugin in &status.plugins {
        lines.extend(plugin.notes.iter().map(|note| format!("  {}: {}", plugin.name, printable(note))));
    }
    let lanes: Vec<[String; 4]> = status
        .lanes
        .iter()
        .filter(|lane| lane.running > 0 || lane.waiting > 0 || lane.stuck > 0)
        .map(|lane| {
            let running = format!("{} of {}", lane.running, lane.concurrency);
            [lane.name.clone(), running, lane.waiting.to_string(), lane.stuck.to_string()]
        })
        .collect();
    append(&mut lines, table(["BUSY LANE", "RUN", "WAIT", "STUCK"], &lanes, 1), lanes.is_empty());
    let methods = by_method(status);
    append(
        &mut lines,
        table(["METHOD", "CALLS", "P50 MS", "P99 MS", "MAX MS"], &methods, 1),
        methods.is_empty(),
    );
    let hidden = calls.methods.len().saturating_sub(methods.len());
    if hidden > 0 {
        lines.push(format!("and {hidden} further methods; `nowd status --json` has all"));
    }
    lines
}

fn append(lines: &mut Vec<String>, table: Vec<String>, is_empty: bool) {
    if !is_empty {
        lines.push(String::new());
        lines.extend(table);
    }
}

/// What there is one of.
fn about(status: &StatusReport) -> Vec<String> {
    let link = &status.link;
    let mut lines = vec![
        format!("gateway  {}, nowd {}, up for {}", status.target, status.version, duration(status.uptime_ms)),
        format!("link     {} for {}: {}", link.state, duration(link.for_ms), link.endpoint),
    ];
    if let Some(error) = &link.last_error {
        lines.push(format!(
            "         last error, {} ago: {}",
            duration(error.ago_ms),
            printable(&error.message)
        ));
    }
    if let Some(certificate) = &link.certificate {
        let left = certificate.days_left.map(|days| format!(", {days} days left")).unwrap_or_default();
        lines.push(format!("         certificate until {}{left}", certificate.not_after));
        lines.extend(certificate.notes.iter().map(|note| format!("         {}", printable(note))));
    }
    lines.extend(status.greengrass.iter().flat_map(greengrass));
    let trusted = if status.clock.trusted { "trusted" } else { "not trusted" };
    lines.push(format!("clock    {trusted}: {}", status.clock.why));
    match &status.lockout {
        Some(reason) => lines.push(format!("lockout  LOCKED: {}", printable(reason))),
        None => lines.push("lockout  none".into()),
    }
    lines.push(format!("journal  {}", if status.journal { "on" } else { "off" }));
    lines.extend(status.audit.as_ref().map(audit));
    let calls = &status.calls;
    lines.push(format!("calls    {} running, {} waiting", calls.running, calls.waiting));
    let ended = &calls.ended;
    let mut counts: Vec<(String, u64)> =
        ended.statuses.iter().map(|(status, count)| (status.clone(), *count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let extra =
        [("repeats", ended.repeats), ("late results", ended.late), ("safe actions", ended.safe_actions)];
    counts
        .extend(extra.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| (what.into(), count)));
    if counts.is_empty() {
        lines.push("         none since the start".into());
    } else {
        let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        lines.push(format!("         since the start: {}", counts.join(", ")));
    }
    lines
}

/// The nucleus, and which deployment runs.
fn greengrass(report: &Report) -> Vec<String> {
    let Report { nucleus, deployment, refused } = report;
    let kind = if nucleus.kind == "unknown" { String::new() } else { format!(" ({})", nucleus.kind) };
    let not = if nucleus.connected { "" } else { "NOT " };
    let why = nucleus.why.as_ref().map(|why| format!(": {}", printable(why))).unwrap_or_default();
    let mut lines = vec![format!("nucleus  {not}connected for {}{kind}{why}", duration(nucleus.for_ms))];
    lines.push(match deployment {
        Some(runs) => format!("deployed {} for {}", printable(&runs.digest), duration(runs.for_ms)),
        None => "deployed nothing that a gateway runs with".into(),
    });
    if let Some(refused) = refused {
        lines.push(format!(
            "         {}, newer, was not taken {} ago: {}",
            printable(&refused.digest),
            duration(refused.ago_ms),
            printable(&refused.why)
        ));
    }
    lines
}

fn audit(audit: &AuditReport) -> String {
    let lost = if audit.lost > 0 { format!(", {} LOST", audit.lost) } else { String::new() };
    match &audit.error {
        Some(error) => format!("audit    FAILING{lost}: {}", printable(error)),
        None if audit.state == "off" => "audit    off".into(),
        None => format!("audit    on, {} entries since the start{lost}", audit.entries),
    }
}

/// Those that took longest, in all.
fn by_method(status: &StatusReport) -> Vec<[String; 5]> {
    let mut methods: Vec<(&String, &HopsReport)> = status.calls.ended.methods.iter().collect();
    methods.sort_by_key(|(_, hops)| std::cmp::Reverse(hops.total.p50.saturating_mul(hops.calls)));
    let row = |(name, hops): (&String, &HopsReport)| {
        [name.clone(), hops.calls.to_string(), ms(hops.total.p50), ms(hops.total.p99), ms(hops.total.max)]
    };
    methods.into_iter().take(MOST_METHODS).map(row).collect()
}
