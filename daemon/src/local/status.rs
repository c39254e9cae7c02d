//! How the gateway is, as `nowd status --json` prints it. Fields are added, never changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nowd_core::LaneReport as CoreLane;
use nowd_plugin::{BootInstant, Deadline, Health, Plugin};
use nowd_plugin_dbus::service::Service;
use nowd_protocol::Uuid;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::problems::Problem;
use crate::audit::{AuditReport, Shared};
use crate::clock::Trust;
use crate::gateway::ReloadCounts;
use crate::greengrass::Report;
use crate::identity::CertificateReport;
use crate::stats::{CallsReport, FailedSafeAction, Stats};
use crate::uplink::LinkReport as Uplink;

/// How long plugins in processes of their own may take to say how they are.
const HEALTH_WITHIN: Duration = Duration::from_millis(500);

/// What the gateway's loop knows at one moment. Putting it into words is for others.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Why no gateway runs yet, in a process that waits for what is missing.
    pub(crate) waiting: Option<String>,
    /// How things are with the nucleus, in a component.
    pub(crate) greengrass: Option<Report>,
    pub(crate) target: String,
    pub(crate) incarnation: Uuid,
    pub(crate) started: BootInstant,
    pub(crate) now: BootInstant,
    pub(crate) state_dir: PathBuf,
    pub(crate) link: Uplink,
    pub(crate) clock: Trust,
    /// How often that changed.
    pub(crate) clock_changes: u64,
    pub(crate) lockout: Option<String>,
    pub(crate) journal: bool,
    pub(crate) audit: Option<Arc<Shared>>,
    pub(crate) journal_failing: bool,
    /// Why the file of the metrics cannot be written, and which it is.
    pub(crate) metrics_failing: Option<(String, PathBuf)>,
    /// Plugin and method of safe actions that failed when they last ran.
    pub(crate) failed_safe_actions: Vec<(String, String, FailedSafeAction)>,
    /// How often the process stood still, and for how long in all.
    pub(crate) stalls: (u64, Duration),
    pub(crate) reloads: ReloadCounts,
    pub(crate) plugins: Vec<PluginSnapshot>,
    pub(crate) lanes: Vec<CoreLane>,
    pub(crate) running: usize,
    pub(crate) stats: Arc<Stats>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    /// What is wrong, worst first.
    #[serde(default)]
    pub(crate) problems: Vec<Problem>,
    pub(crate) version: String,
    /// Why no gateway runs yet, in a process that waits for what is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<String>,
    pub(crate) target: String,
    pub(crate) incarnation: Uuid,
    pub(crate) uptime_ms: u64,
    pub(crate) state_dir: PathBuf,
    pub(crate) link: LinkReport,
    /// The nucleus and the deployment, where the gateway runs as a component of Greengrass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) greengrass: Option<Report>,
    pub(crate) clock: ClockReport,
    /// Why, while it is locked out on site.
    pub(crate) lockout: Option<String>,
    /// Whether there is one.
    pub(crate) journal: bool,
    /// How the audit record is; a gateway of an earlier version has none.
    #[serde(default)]
    pub(crate) audit: Option<AuditReport>,
    pub(crate) plugins: Vec<PluginReport>,
    pub(crate) lanes: Vec<LaneReport>,
    pub(crate) calls: Calls,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkReport {
    /// `up`, `connecting` or `down`.
    pub(crate) state: String,
    pub(crate) endpoint: String,
    /// `direct` or `greengrass`; a gateway of an earlier version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) via: Option<String>,
    /// For how long it has been up, or has not.
    pub(crate) for_ms: u64,
    pub(crate) last_error: Option<LastError>,
    /// The gateway's own, with TLS.
    #[serde(default)]
    pub(crate) certificate: Option<CertificateReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastError {
    pub(crate) message: String,
    pub(crate) ago_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClockReport {
    pub(crate) trusted: bool,
    pub(crate) why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginReport {
    pub(crate) name: String,
    /// `maps`, `compiled_in`, `isolated`, or `service` for one that describes itself.
    pub(crate) kind: String,
    /// How many methods it has on offer.
    pub(crate) methods: usize,
    pub(crate) health: HealthReport,
    /// What is left out of its description, and why.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

/// A plugin, and whom to ask how it is.
#[derive(Debug)]
pub(crate) struct PluginSnapshot {
    pub(crate) report: PluginReport,
    pub(crate) plugin: Arc<dyn Plugin>,
    /// Its process, where it has one of its own.
    pub(crate) service: Option<Arc<Service>>,
}

impl Snapshot {
    /// Asks the plugins in processes of their own how they are.
    pub(crate) async fn ask_plugins(&mut self) {
        let within = Deadline::after(HEALTH_WITHIN);
        let mut asking = JoinSet::new();
        for service in self.plugins.iter().filter_map(|plugin| plugin.service.clone()) {
            asking.spawn(async move { service.ask_health(within).await });
        }
        while asking.join_next().await.is_some() {}
        for plugin in &mut self.plugins {
            let health = plugin.plugin.health();
            if health != Health::Ok || plugin.report.notes.is_empty() {
                plugin.report.health = HealthReport::of(&health);
            }
        }
    }
}

impl HealthReport {
    pub(crate) fn of(health: &Health) -> Self {
        let (state, message) = health.words();
        Self { state: state.into(), message: message.into() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthReport {
    /// `ok`, `degraded` or `failed`.
    pub(crate) state: String,
    pub(crate) message: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LaneReport {
    pub(crate) name: String,
    pub(crate) concurrency: u16,
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) stuck: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Calls {
    /// How many calls, safe actions and reads of the gateway's own run.
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    /// Since the start.
    #[serde(flatten)]
    pub(crate) ended: CallsReport,
}

impl From<Snapshot> for StatusReport {
    fn from(snapshot: Snapshot) -> Self {
        let problems = snapshot.problems();
        let Snapshot { now, link, clock: Trust { trusted, why, .. }, lanes, running, .. } = snapshot;
        let since = |instant: BootInstant| {
            u64::try_from(now.saturating_since(instant).as_millis()).unwrap_or(u64::MAX)
        };
        let last_error = link.last_error.map(|(message, at)| LastError { message, ago_ms: since(at) });
        let waiting = lanes.iter().map(|lane| lane.waiting).sum();
        Self {
            problems,
            version: env!("CARGO_PKG_VERSION").into(),
            waiting: snapshot.waiting,
            target: snapshot.target,
            incarnation: snapshot.incarnation,
            uptime_ms: since(snapshot.started),
            state_dir: snapshot.state_dir,
            link: LinkReport {
                state: link.state.into(),
                endpoint: link.endpoint,
                via: Some(link.via.to_owned()),
                for_ms: since(link.since),
                last_error,
                certificate: link.certificate,
            },
            greengrass: snapshot.greengrass,
            clock: ClockReport { trusted, why },
            lockout: snapshot.lockout,
            journal: snapshot.journal,
            audit: Some(Shared::report(snapshot.audit.as_deref())),
            plugins: snapshot.plugins.into_iter().map(|plugin| plugin.report).collect(),
            lanes: lanes.into_iter().map(LaneReport::from).collect(),
            calls: Calls { running, waiting, ended: snapshot.stats.report() },
        }
    }
}

impl From<CoreLane> for LaneReport {
    fn from(lane: CoreLane) -> Self {
        let CoreLane { name, concurrency, running, waiting, stuck } = lane;
        Self { name, concurrency, running, waiting, stuck }
    }
}
