//! What is wrong, in words, and what to do: the first thing that somebody at three in the morning reads. May wait for the disk.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PluginReport, Snapshot};
use crate::audit::Shared;
use crate::identity::Standing;
use crate::metrics::file;
use crate::stats::FailedSafeAction;
use crate::uplink::{self, Published, Refusal};

/// A link that is down for longer does not just come back.
const LONG: Duration = Duration::from_secs(60);

/// How long lost entries of the audit record are told.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many of a kind are told one by one.
const MOST: usize = 20;

/// Something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) level: Level,
    /// What it is, and what it means for callers.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// As in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Somebody must act: it will not mend itself.
    Error,
    /// It works less well, or somebody wants it so.
    Warn,
}

impl Snapshot {
    /// Worst first.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        problems(self)
    }
}

fn problems(snapshot: &Snapshot) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(why) = &snapshot.waiting {
        return vec![error(
            format!("no gateway runs yet, so no call comes from anywhere: {why}"),
            "mend what it says, here or by a deployment; it goes on by itself then, and need not be started again",
        )];
    }
    safe_actions(snapshot, &mut problems);
    problems.extend(link(snapshot));
    refusals(snapshot, &mut problems);
    lockout(snapshot, &mut problems);
    if snapshot.journal_failing {
        problems.push(error(
            "the journal cannot be written, so calls of methods that are not idempotent are refused",
            format!("see whether the disk of {} is full or read-only", snapshot.state_dir.display()),
        ));
    }
    certificate(snapshot, &mut problems);
    audit(snapshot, &mut problems);
    problems.extend(lost_entries(snapshot));
    lanes(snapshot, &mut problems);
    plugins(snapshot, &mut problems);
    configuration(snapshot, &mut problems);
    clock(snapshot, &mut problems);
    polls(snapshot, &mut problems);
    if let Some((why, file)) = &snapshot.metrics_failing {
        problems.push(error(format!("the metrics cannot be written to {why}"), file::remedy(file)));
    }
    // Those of a level stay in their order.
    problems.sort_by_key(|problem| problem.level);
    problems
}

fn error(what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { level: Level::Error, what: what.into(), remedy: remedy.into() }
}

fn warn(what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { level: Level::Warn, ..error(what, remedy) }
}

fn link(snapshot: &Snapshot) -> Option<Problem> {
    let link = &snapshot.link;
    if link.state == "up" {
        return None;
    }
    let down_for = snapshot.now.saturating_since(link.since);
    let why = link.last_error.as_ref().map_or_else(|| "not connected yet".to_owned(), |(why, _)| why.clone());
    let what = format!(
        "the link to {} is down, for {} now, so no call comes from the cloud: {why}",
        link.endpoint,
        about(down_for)
    );
    if link.needs_mending {
        return Some(error(
            what,
            "mend what it says; the gateway goes on trying, and need not be started again",
        ));
    }
    let remedy = if link.via == "greengrass" {
        "see whether the nucleus runs and is connected to AWS, and its log; the gateway tries on at least every 30 s"
    } else {
        "look at the network, the name server and the broker; the gateway tries on at least every 30 s"
    };
    Some(if down_for > LONG { error(what, remedy) } else { warn(what, remedy) })
}

fn refusals(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for (what, refusal) in snapshot.link.refusals.now() {
        let Refusal { topic, reason, at } = refusal;
        let ago = about(snapshot.now.saturating_since(*at));
        let who = if snapshot.link.via == "greengrass" { "the nucleus" } else { "the broker" };
        let (means, allow, over) = match what {
            Published::Answer => (
                "answers of this gateway, so that callers hear nothing and take their calls for unknown",
                format!("+/+/{}/+/ack", snapshot.target),
                "it is over with the next answer that is taken",
            ),
            Published::Presence => (
                "this gateway's presence, so that callers may take it for offline",
                format!("{topic} (retained)"),
                "it is tried again every 5 min and with each connection",
            ),
            Published::Probe => (
                "messages of this gateway to itself, so that a lost subscription is not found",
                topic.clone(),
                "it is tried again after five times `link.probe`, or after an hour where the broker ends the connection instead of refusing",
            ),
        };
        problems.push(error(
            format!("{who} refuses {means}: {topic}, {ago} ago: {reason}"),
            format!("{}; {over}", uplink::remedy(reason, &allow)),
        ));
    }
}

fn safe_actions(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for (plugin, method, failed) in snapshot.failed_safe_actions.iter().take(MOST) {
        let FailedSafeAction { status, why, at } = failed;
        let ago = about(snapshot.now.saturating_since(*at));
        let of = if plugin.is_empty() { String::new() } else { format!(" of the plugin {plugin}") };
        problems.push(error(
            format!(
                "the safe action {method}{of} failed {ago} ago, so the device may not be as its map wants it: {}: {why}",
                status.as_str()
            ),
            "look at the device, and mend what it says; it is told until the next time that this safe action works, or the next \
             reload or start",
        ));
    }
}

fn certificate(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let Some(certificate) = &snapshot.link.certificate else { return };
    let renew = if certificate.provisioned {
        "renew it: `sudo -u nowd nowd provision --renew`; what is new is picked up by itself"
    } else {
        "renew it: put new files where `link.certificate` and `link.key` are; they are picked up by themselves"
    };
    let left = certificate.days_left.unwrap_or_default();
    let ends = format!("this gateway's certificate ends in {left} days, at {}", certificate.not_after);
    match certificate.standing {
        Some(Standing::Ended) => problems.push(error(
            format!(
                "this gateway's certificate ended at {}: the broker does not let it connect any more",
                certificate.not_after
            ),
            renew,
        )),
        Some(Standing::NotYet) => problems.push(error(
            format!("this gateway's certificate is not valid before {}", certificate.not_before),
            "set this machine's clock (`timedatectl`), or look at who made it",
        )),
        Some(Standing::Urgent) => problems.push(error(ends, renew)),
        Some(Standing::Warned) => problems.push(warn(ends, renew)),
        Some(Standing::Good) | None => {}
    }
    if let Some(why) = &certificate.refused {
        problems.push(error(
            format!(
                "the broker does not take the renewed certificate, and the one of before is used as long as it holds: {why}"
            ),
            "activate it at the broker and attach its policy, or renew it again; it is tried again within an hour, and at once \
             when its files change",
        ));
    }
    if let Some(why) = &certificate.unusable {
        problems.push(error(
            format!(
                "the files of certificate and key have changed and cannot be used, and those of before go on in memory only: {why}"
            ),
            "put both there anew; they are picked up by themselves",
        ));
    }
    if let (Some(key), Some(close)) = (&certificate.readable_key, &certificate.close_key) {
        problems.push(warn(
            format!("{}: every user of this machine may read the private key", key.display()),
            format!("`{close}`"),
        ));
    }
}

fn audit(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let report = Shared::report(snapshot.audit.as_deref());
    if let Some(why) = report.error {
        problems.push(error(
            format!("the audit record cannot be written, and calls go on without it: {why}"),
            format!(
                "see whether the disk of {} is full or read-only; it tries on, and counts what is missing",
                snapshot.state_dir.display()
            ),
        ));
    }
}

/// The record itself says for good that entries are missing.
fn lost_entries(snapshot: &Snapshot) -> Option<Problem> {
    let lost = Shared::report(snapshot.audit.as_deref()).lost;
    let ago = snapshot.now.saturating_since(snapshot.audit.as_ref()?.lost_at()?);
    (ago < DAY).then(|| {
        warn(
            format!("entries of the audit record were lost: {lost} since the start, the last {} ago", about(ago)),
            "the log says why: `journalctl -u nowd NOWD_SEE=audit-lost`, or, under Greengrass, \"audit-lost\" in the log of the component; this note is gone a day after the last one",
        )
    })
}

fn lockout(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    if let Some(reason) = &snapshot.lockout {
        problems.push(warn(
            format!("it is LOCKED out on site, so no call starts: {reason}"),
            "whoever locked it ends it with `nowd unlock`; ask them first",
        ));
    }
}

fn lanes(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for lane in snapshot.lanes.iter().filter(|lane| lane.stuck > 0).take(MOST) {
        problems.push(error(
            format!("the lane {} is stuck: a call has not come back from it, and others are answered `unavailable`", lane.name),
            "look at the device or service behind it; the lane is free again when that answers or goes away",
        ));
    }
}

fn plugins(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for plugin in snapshot.plugins.iter().map(|plugin| &plugin.report).take(MOST) {
        let (name, message) = (&plugin.name, &plugin.health.message);
        match plugin.health.state.as_str() {
            "failed" => problems.push(error(
                format!("the plugin {name} has failed, so its methods are `unavailable`: {message}"),
                format!("mend what it says; it is used again as soon as it is there{}", devices(plugin)),
            )),
            "degraded" => problems.push(warn(
                format!("the plugin {name} works in part: {message}"),
                format!("mend what it says; the others of its methods work{}", devices(plugin)),
            )),
            _ => {}
        }
    }
}

/// Under systemd a device may be there and hidden, or of a group that the daemon is not in; neither shows in the error.
fn devices(plugin: &PluginReport) -> &'static str {
    match (plugin.name.as_str(), plugin.kind.as_str()) {
        ("serial", "maps") => {
            ". If the device is there (`ls -l` shows it, and its group): the unit hides devices from the daemon. Let \
             nowd-plugin@serial have them (`isolate = [\"serial\"]`, `systemctl enable --now nowd-plugin@serial`), or install the \
             drop-in /usr/share/doc/nowd/examples/nowd.service.d/serial.conf, which also gives the daemon the group `dialout`; \
             another group or kind of device has to be named there (`SupplementaryGroups=`, `DeviceAllow=`). Under Greengrass nothing \
             hides it: its group, mostly `dialout`, must have the user that the component runs as, from before its start"
        }
        ("serial", "isolated") => {
            "; `systemctl status nowd-plugin@serial`. If the device is there (`ls -l` shows it, and its group): that unit may use the \
             usual serial devices of the group `dialout`; another group or kind has to be named in a drop-in \
             (`systemctl edit nowd-plugin@serial`: `SupplementaryGroups=`, `DeviceAllow=`)"
        }
        _ => "",
    }
}

fn configuration(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let reloads = &snapshot.reloads;
    if let Some((why, at)) = reloads.last_rejected.as_ref().filter(|_| reloads.waits) {
        problems.push(warn(
            format!(
                "the configuration that came {} ago waits for maps, and what was there before goes on: {why}",
                about(snapshot.now.saturating_since(*at))
            ),
            "nothing, where these are being deployed: they are looked for every 30 s",
        ));
    } else if let Some((why, at)) = &reloads.last_rejected {
        problems.push(error(
            format!(
                "the configuration was rejected {} ago and what was there before goes on: {why}",
                about(snapshot.now.saturating_since(*at))
            ),
            "mend it, try it with `nowd check`, then `nowd reload`; what came by Greengrass is mended by another deployment",
        ));
    } else if reloads.is_stale() {
        problems.push(warn(
            "files of the configuration were changed since they were read",
            "`nowd check`, then `nowd reload`, which says what of it takes a restart",
        ));
    }
    if !reloads.need_start.is_empty() {
        problems.push(warn(
            format!(
                "changed in the configuration, and in effect at the next start only: {}",
                reloads.need_start.join(", ")
            ),
            "`systemctl restart nowd`, when no call matters",
        ));
    }
}

fn clock(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let clock = &snapshot.clock;
    if clock.wanted && !clock.trusted {
        problems.push(warn(
            format!(
                "the wall clock is not trusted: {}; a first call takes one more round trip, and callers that send no \
                 `not_after` may be refused",
                clock.why
            ),
            "look at the machine's time daemon (`timedatectl`, `chronyc tracking`); if it is to be so, say `clock = \"untrusted\"`",
        ));
    }
}

fn polls(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let unreadable = snapshot.stats.totals().unreadable;
    if !unreadable.is_empty() {
        let names: Vec<&str> = unreadable.iter().take(MOST).map(String::as_str).collect();
        problems.push(warn(
            format!(
                "these methods cannot be read, and answer with what was read before: {}",
                names.join(", ")
            ),
            "the log says why: `journalctl -u nowd NOWD_SEE=poll-failing`, or, under Greengrass, \"poll-failing\" in the log of the component",
        ));
    }
}

/// How long, in one unit.
fn about(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
