//! What is asked over the bus of this machine: calls on the path of all calls, and how the gateway is. Never waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nowd_core::{Instant, LOCAL_CLIENT, Receipt, ReplyBody};
use nowd_plugin::{BootInstant, Health, Plugin, Policy};
use nowd_plugin_dbus::service::{Service, ServicePlugin};
use nowd_protocol::{
    Level, MAX_PAYLOAD_LEN, METHODS_METHOD, NotAfter, OUTCOME_METHOD, Received, Request, RequestTopic, Uuid,
};
use tokio::sync::oneshot;

use super::{Gateway, now};
use crate::journal::Journal;
use crate::local::{Ask, HealthReport, LocalCall, NotBegun, PluginReport, PluginSnapshot, Snapshot};
use crate::services::is_of;
use crate::stats::FailedSafeAction;

/// How many may wait for answers.
const MOST: usize = 256;

/// How many may wait for the answer to one call: as many repeats as the core answers, and the one they repeat.
const MOST_OF_ONE: usize = 9;

/// Whoever waits so long after the deadline gets no answer any more: too many repeats were made of one call.
const GRACE: Duration = Duration::from_secs(1);

/// Those who wait for answers, by the call's id and their attempt, which is theirs alone while they wait.
#[derive(Debug, Default)]
pub(super) struct Waiters(BTreeMap<(Uuid, u32), Waiter>);

#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Result<String, NotBegun>>,
    /// The deadline.
    until: BootInstant,
    /// Since when calls over its bus come to this process.
    since: BootInstant,
}

impl Waiters {
    /// Takes in one who waits, and says as which attempt.
    fn add(&mut self, id: Uuid, waiter: Waiter) -> Option<u32> {
        if self.0.len() >= MOST {
            self.0.retain(|_, waiter| !waiter.answer.is_closed());
        }
        let of_one = || self.0.range((id, 0)..=(id, u32::MAX));
        if self.0.len() >= MOST || of_one().count() >= MOST_OF_ONE {
            drop(waiter.answer.send(Err(NotBegun::Busy)));
            return None;
        }
        let attempt = of_one().next_back().map_or(1, |((_, attempt), _)| attempt.saturating_add(1));
        self.0.insert((id, attempt), waiter);
        Some(attempt)
    }

    /// Lets go of those who have gone, and of those whom no answer will reach.
    pub(super) fn forget(&mut self, now: BootInstant) {
        self.0.retain(|_, waiter| !waiter.answer.is_closed() && now < waiter.until.saturating_add(GRACE));
    }
}

impl Gateway {
    pub(super) fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Call(call, answer) => self.local_call(*call, answer),
            // Whoever asked may be gone.
            Ask::Methods(answer) => {
                drop(answer.send(self.generations.registry().methods().cloned().collect()));
            }
            Ask::Status(answer) => drop(answer.send(Box::new(self.snapshot()))),
            Ask::Reload(answer) => self.reloads.ask(answer),
            Ask::Look(by, answer) => {
                self.look_for_lockout_of(Some(by));
                answer.send(()).unwrap_or_default();
            }
        }
    }

    fn local_call(&mut self, call: LocalCall, answer: oneshot::Sender<Result<String, NotBegun>>) {
        let LocalCall { id, method, request, not_after, caller, since } = call;
        let Ok(client) = Level::new(LOCAL_CLIENT) else { return };
        self.look_for_lockout();
        let now = now();
        let built_in = [METHODS_METHOD, OUTCOME_METHOD].contains(&method.as_str());
        let found = self.generations.registry().get(method.as_str()).filter(|_| !built_in);
        let at = Instant::from_micros(not_after.as_micros());
        let timeout = timeout(found.map(|(method, _)| &method.policy), at, now);
        let waiter = Waiter { answer, until: not_after, since };
        let Some(attempt) = self.waiters.add(id, waiter) else { return };
        let request = Request {
            topic: RequestTopic { target: self.target.clone(), method, client, id },
            timestamp: Some(self.clock.now_ms()),
            request,
            timeout: Some(timeout),
            not_after: Some(NotAfter { incarnation: self.incarnation, at: at.as_micros() }),
            attempt,
            caller: Some(caller),
            traceparent: None,
        };
        let since = Instant::from_micros(since.as_micros());
        let receipt = Receipt { wall: None, stalled: false, retained: false, since, local: true };
        self.received(now, Received::Request(request), receipt);
    }

    /// Answers one who asked over the bus.
    pub(super) fn local_reply(&mut self, body: ReplyBody) {
        let Some(waiter) = self.waiters.0.remove(&(body.topic.id, body.attempt)) else { return };
        let reply = self.payload(body, Some(waiter.since), MAX_PAYLOAD_LEN);
        // Whoever has gone is not told.
        drop(waiter.answer.send(Ok(reply)));
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            waiting: None,
            greengrass: self.of_greengrass(),
            target: self.target.as_str().to_owned(),
            incarnation: self.incarnation,
            started: self.started,
            now: BootInstant::now(),
            state_dir: self.config.state_dir.clone(),
            link: self.uplink.report(),
            clock: self.clock.trust(),
            clock_changes: self.trust.changes(),
            lockout: self.lockout.reason().map(str::to_owned),
            journal: self.journal.is_some(),
            audit: self.records.audit().cloned(),
            metrics_failing: self.metrics.failing().zip(self.config.metrics.wanted()),
            failed_safe_actions: self.failed_safe_actions(),
            journal_failing: self.journal.as_ref().is_some_and(Journal::is_failing),
            stalls: self.stall.gaps(),
            reloads: self.reloads.counts(),
            plugins: self.plugins(),
            lanes: self.core.lanes(),
            running: self.core.running(),
            stats: Arc::clone(self.records.stats()),
        }
    }

    /// Safe actions that failed when they last ran, and whose they are.
    fn failed_safe_actions(&self) -> Vec<(String, String, FailedSafeAction)> {
        let plugin = |method: &str| {
            self.generations.registry().get(method).map(|(_, plugin)| plugin.name().to_owned())
        };
        let failed = self.records.stats().failed_safe_actions().into_iter();
        failed.map(|(method, failed)| (plugin(&method).unwrap_or_default(), method, failed)).collect()
    }

    /// Every plugin that has methods on offer, or would have if it described itself.
    fn plugins(&self) -> Vec<PluginSnapshot> {
        let plugins = &self.generations.current().plugins;
        let extra = self.extra.iter().map(|plugin| (Arc::clone(plugin), "compiled_in", None));
        let of_maps = plugins.of_maps.iter().map(|plugin| {
            let service = plugins.isolated.iter().find(|service| is_of(service, plugin.name()));
            let kind = if service.is_some() { "isolated" } else { "maps" };
            (Arc::clone(plugin), kind, service.cloned())
        });
        let described = plugins.described.iter().map(|described| {
            let service = Arc::clone(&described.service);
            let plugin = ServicePlugin { service: Arc::clone(&service), methods: Vec::new() };
            let plugin: Arc<dyn Plugin> = Arc::new(plugin);
            (plugin, "service", Some(service))
        });
        let all = extra.chain(of_maps).chain(described);
        all.map(|(plugin, kind, service)| self.plugin(plugin, kind, service)).collect()
    }

    fn plugin(&self, plugin: Arc<dyn Plugin>, kind: &str, service: Option<Arc<Service>>) -> PluginSnapshot {
        let name = plugin.name().to_owned();
        let all = self.generations.registry().all();
        let notes = self.services.notes().get(&name).cloned().unwrap_or_default();
        let mut health = plugin.health();
        if health == Health::Ok && !notes.is_empty() {
            health = Health::Degraded("not all that is said of its methods can be followed".into());
        }
        let report = PluginReport {
            methods: all.filter(|(_, other)| other.name() == name).count(),
            kind: kind.into(),
            health: HealthReport::of(&health),
            notes,
            name,
        };
        PluginSnapshot { report, plugin, service }
    }
}

/// What is left until `at`, in milliseconds rounded up, but not beyond what the method allows where less than that is left. Of
/// methods that are not on offer, and of the gateway's own, there is no policy.
fn timeout(policy: Option<&Policy>, at: Instant, now: Instant) -> u64 {
    let left = at.since(now);
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let up = ms(left.saturating_add(Duration::from_nanos(999_999)));
    let most =
        policy.filter(|policy| left <= policy.max_timeout).map_or(u64::MAX, |policy| ms(policy.max_timeout));
    up.min(most).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(until: u64) -> (Waiter, oneshot::Receiver<Result<String, NotBegun>>) {
        let (answer, answered) = oneshot::channel();
        let (until, since) = (BootInstant::from_micros(until), BootInstant::from_micros(0));
        (Waiter { answer, until, since }, answered)
    }

    #[test]
    fn what_is_left_is_rounded_up_and_not_beyond_what_is_allowed() {
        let policy = Policy { max_timeout: Duration::from_micros(5_000_500), ..Policy::default() };
        let now = Instant::from_micros(1_000_000);
        for (policy, left_us, expected) in [
            (Some(&policy), 0, 1),
            (Some(&policy), 1, 1),
            (Some(&policy), 1_000, 1),
            (Some(&policy), 1_001, 2),
            (Some(&policy), 5_000_500, 5_000),
            (Some(&policy), 5_000_501, 5_001),
            (None, 5_000_501, 5_001),
        ] {
            let at = now.after(Duration::from_micros(left_us));
            assert_eq!(timeout(policy, at, now), expected, "{left_us}");
        }
        assert_eq!(timeout(Some(&policy), Instant::from_micros(7), now), 1, "it has passed");
    }

    #[test]
    fn each_waits_for_an_answer_of_its_own() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut waiters = Waiters::default();
        let mut kept = Vec::new();
        let mut add = |waiters: &mut Waiters, id| {
            let (waiter, mut answered) = waiter(7);
            let attempt = waiters.add(id, waiter);
            let busy = answered.try_recv().is_ok_and(|answer| answer == Err(NotBegun::Busy));
            assert_eq!(busy, attempt.is_none());
            kept.push(answered);
            attempt
        };
        assert_eq!(add(&mut waiters, one), Some(1));
        assert_eq!(add(&mut waiters, two), Some(1));
        assert_eq!(add(&mut waiters, one), Some(2));
        drop(waiters.0.remove(&(one, 1)));
        assert_eq!(add(&mut waiters, one), Some(3), "the second waits still");
        for _ in 2..MOST_OF_ONE {
            assert!(add(&mut waiters, one).is_some());
        }
        assert_eq!(add(&mut waiters, one), None, "no answer would reach it");
    }

    #[test]
    fn who_has_gone_takes_no_place_for_long() {
        let mut waiters = Waiters::default();
        for number in 0..MOST {
            let (waiter, answered) = waiter(7);
            drop(answered);
            assert!(waiters.add(Uuid::from_u128(number.try_into().unwrap()), waiter).is_some());
        }
        let (waiting, answered) = waiter(7);
        assert_eq!(waiters.add(Uuid::nil(), waiting), Some(1));
        assert_eq!(waiters.0.len(), 1);
        let grace = u64::try_from(GRACE.as_micros()).unwrap();
        waiters.forget(BootInstant::from_micros(6 + grace));
        assert_eq!(waiters.0.len(), 1);
        waiters.forget(BootInstant::from_micros(7 + grace));
        assert!(waiters.0.is_empty() && answered.blocking_recv().is_err(), "it is told that none comes");
    }
}
