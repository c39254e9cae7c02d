//! The gateway: one loop that hears messages, results, time and signals, asks the core, and does what it says.

use std::sync::Arc;
use std::time::Duration;

use nowd_core::{Action, CallKey, Core, Event, Instant, Receipt, ReplyBody, Start};
use nowd_link::{Message, Properties, Publish, Qos};
use nowd_plugin::host::{Host, Registry};
use nowd_plugin::{BootInstant, Call, CancellationToken, Deadline, Plugin};
use nowd_protocol::{
    ErrorBody, GatewayStamp, MAX_PAYLOAD_LEN, RawValue, Received, Reply, ReplyStatus, ReplyTopic, Request,
};
use serde_json::Value;
use tokio::task::JoinSet;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::clock::WallClock;
use crate::journal::{Journal, JournalError};
use crate::lockout::{Change, Lockout};
use crate::record::{Line, Records};
use crate::setup::Setup;
use crate::uplink::{Facts, Uplink, UplinkEvent};

mod completion;
mod stall;

use completion::ended;
use stall::Stall;

/// How long calls that run may go on after the process was asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// How long saying offline may take; a broker that does not listen says it by the will.
const GOODBYE_WITHIN: Duration = Duration::from_millis(400);

/// How long plugins may take to let go of their hardware. With the farewells of journal, records and log
/// (100 ms each) all of it fits into 4 s.
const LET_GO_WITHIN: Duration = Duration::from_millis(150);

/// A plugin whose background work ended by mistake gets it again after this.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The gateway. [`Gateway::run`] is all there is to do with it.
pub struct Gateway {
    core: Core<Arc<Value>>,
    host: Host<CallKey>,
    registry: Registry,
    plugins: Vec<Arc<dyn Plugin>>,
    uplink: Uplink,
    clock: WallClock,
    stall: Stall,
    records: Records,
    journal: Option<Journal>,
    lockout: Lockout,
    incarnation: Uuid,
}

/// A gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal was asked for and cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The machine gives no more threads.
    #[error("no thread can be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that has not started yet. To be called inside a tokio runtime.
    pub fn new(setup: Setup) -> Result<Self, StartError> {
        let Setup { settings, plugins, registry, link, probe, clock, state_dir } = setup;
        // First, since it makes the folder for both.
        let lockout = Lockout::new(state_dir.clone());
        let (journal, past) = if settings.journal {
            let (journal, past) = Journal::open(&state_dir)?;
            info!(lines = past.len(), "the journal of {} is open", state_dir.display());
            (Some(journal), past)
        } else {
            (None, Vec::new())
        };
        let incarnation = settings.incarnation;
        let facts = Facts { target: settings.target.clone(), incarnation, methods: methods_hash(&registry) };
        let stall = Stall::new(!settings.compat.prefixes.is_empty());
        Ok(Self {
            core: Core::new(settings, past),
            host: Host::default(),
            registry,
            plugins,
            uplink: Uplink::new(link, facts, probe),
            clock,
            stall,
            records: Records::start().map_err(StartError::Thread)?,
            journal,
            lockout,
            incarnation,
        })
    }

    /// Runs until `stop`, then lets calls that run end, says offline, and returns: all inside 4 s.
    pub async fn run(mut self, stop: CancellationToken) {
        let plugins_stop = CancellationToken::new();
        let mut background = JoinSet::new();
        for plugin in &self.plugins {
            background.spawn(keep_running(Arc::clone(plugin), plugins_stop.clone()));
        }
        self.look_for_lockout();
        self.serve(&stop).await;
        info!(running = self.core.unanswered(), "stopping");
        self.drain().await;
        let Self { uplink, records, journal, .. } = self;
        tokio::select! {
            () = uplink.close() => {}
            () = tokio::time::sleep(GOODBYE_WITHIN) => warn!("the broker did not hear the goodbye in time"),
        }
        plugins_stop.cancel();
        tokio::select! {
            () = async { while background.join_next().await.is_some() {} } => {}
            () = tokio::time::sleep(LET_GO_WITHIN) => warn!("a plugin did not let go of its hardware in time"),
        }
        drop(journal);
        info!("stopped");
        drop(records);
    }

    async fn serve(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.step() => {}
            }
        }
    }

    /// Lets calls that run end.
    async fn drain(&mut self) {
        self.decide(Event::Stop);
        let given_up = BootInstant::now().saturating_add(DRAIN_WITHIN);
        while self.core.unanswered() > 0 {
            let left = given_up.saturating_since(BootInstant::now());
            if left.is_zero() {
                warn!(running = self.core.unanswered(), "calls that still run are given up");
                return self.decide(Event::Abandon);
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.step() => {}
            }
        }
    }

    /// Hears one thing and deals with it. May be dropped while waiting.
    async fn step(&mut self) {
        let wake = self.core.wake_at().map(until);
        tokio::select! {
            event = self.uplink.next() => {
                let stalled_again = self.check_stall();
                match event {
                    UplinkEvent::Message(message) => self.message(message),
                    // What came back may have lain there through the gap that has only just been noticed.
                    UplinkEvent::ProbeReturned if stalled_again => {}
                    UplinkEvent::ProbeReturned | UplinkEvent::Down => self.stall.over(),
                }
            }
            (key, completion) = self.host.next() => {
                let ended = ended(completion);
                self.decide(Event::Ended { key, ended });
            }
            (key, kept) = journaled(self.journal.as_mut()) => self.decide(Event::Journaled { key, kept }),
            () = sleep(wake), if wake.is_some() => self.decide(Event::Time),
            () = self.stall.beat() => {
                self.check_stall();
                self.look_for_lockout();
            }
        }
    }

    /// Obeys a lockout, and tells the one who locked how much still runs.
    fn look_for_lockout(&mut self) {
        match self.lockout.look() {
            Some(Change::Locked(reason)) => {
                warn!("locked out on site: {reason}");
                self.act(now(), Event::Lockout(Some(reason)));
            }
            Some(Change::Unlocked) => {
                info!("not locked out any more");
                self.act(now(), Event::Lockout(None));
            }
            None => {}
        }
        if let Err(e) = self.lockout.tell(self.core.running()) {
            warn!("who locked this gateway cannot be told how many calls still run: {e}");
        }
    }

    /// Says whether a gap has just ended.
    fn check_stall(&mut self) -> bool {
        let Some(gap) = self.stall.check(BootInstant::now()) else { return false };
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        if !self.stall.is_on() {
            warn!(gap_ms, "the process stood still");
            return true;
        }
        warn!(
            gap_ms,
            "the process stood still; requests of compatibility callers from that time are dropped"
        );
        if !self.uplink.probe() {
            self.stall.over();
        }
        true
    }

    fn message(&mut self, message: Message) {
        let Message { topic, payload, retain, ack, .. } = message;
        self.look_for_lockout();
        // Before the wall clock is read: whatever passes between the two makes the deadline earlier, never later.
        let now = now();
        match Received::parse(&topic, &payload) {
            Ok(received) => {
                // A message of a connection that has just ended is older than the next one.
                let since = self.uplink.since().map_or(now, |since| Instant::from_micros(since.as_micros()));
                let wall = self.clock.trusted();
                let receipt = Receipt { wall, stalled: self.stall.is_on(), retained: retain, since };
                let params = self.params(&received);
                self.act(now, Event::Received { message: received, receipt, params });
            }
            Err(dropped) => self.records.push(Line::Refused { topic, reason: dropped.to_string() }),
        }
        // Decided: whatever becomes of it is in the reply.
        if let Some(ack) = ack
            && let Err(e) = ack.send()
        {
            warn!("a request was not acknowledged: {e}");
        }
    }

    /// What the plugin will get, or what is wrong with it.
    fn params(&self, received: &Received) -> Result<Arc<Value>, ErrorBody> {
        let Received::Request(Request { request, topic, .. }) = received else { return Ok(Arc::default()) };
        let Some((method, _)) = self.registry.get(topic.method.as_str()) else { return Ok(Arc::default()) };
        let invalid = |message: String| ErrorBody { code: "invalid_request".into(), message };
        let value: Value =
            serde_json::from_str(request.get()).map_err(|e| invalid(format!("`request`: {e}")))?;
        match &method.params {
            Some(params) => params.check(value).map(Arc::new).map_err(|e| invalid(e.to_string())),
            None => Ok(Arc::new(value)),
        }
    }

    /// Nothing is decided without a look for somebody who wants nothing to move.
    fn decide(&mut self, event: Event<Arc<Value>>) {
        self.look_for_lockout();
        self.act(now(), event);
    }

    fn act(&mut self, now: Instant, event: Event<Arc<Value>>) {
        let mut refused = Vec::new();
        for action in self.core.handle(now, event) {
            match action {
                Action::Journal { line, then } => {
                    let taken = self.journal.as_ref().is_some_and(|journal| journal.append(line, then));
                    refused.extend(then.filter(|_| !taken));
                }
                Action::Start(start) => self.start(start),
                Action::Cancel(key) => self.host.cancel(&key),
                Action::Reply(reply) => self.reply(*reply),
                Action::Record(record) => self.records.push(Line::Call(record)),
                Action::Dropped(reason) => self.records.push(Line::Dropped(reason)),
            }
        }
        for key in refused {
            self.act(now, Event::Journaled { key, kept: false });
        }
    }

    fn start(&mut self, start: Start<Arc<Value>>) {
        let Some((method, plugin)) = self.registry.get(&start.method) else { return };
        let mut params = Arc::unwrap_or_clone(start.params);
        if start.safe_action {
            // It gets the parameters of the call that it makes safe, as far as it knows them.
            params = match &method.params {
                Some(known) => known.check(known.select(&params)).unwrap_or_default(),
                None => Value::Null,
            };
        }
        let deadline = Deadline::new(BootInstant::from_micros(start.deadline.as_micros()), start.budget);
        let call = Call::new(start.id, start.method, params, deadline);
        self.host.start(start.key, Arc::clone(plugin), call);
    }

    fn reply(&self, body: ReplyBody) {
        let id = body.topic.id;
        let unsent = |reason: String| self.records.push(Line::Unsent { id, reason });
        let Some(sender) = self.uplink.sender() else { return unsent("the link is down".into()) };
        let topic = ReplyTopic(body.topic.clone()).to_string();
        let payload = self.payload(body);
        let properties = Properties {
            correlation_data: Some(id.into_bytes().to_vec().into()),
            content_type: Some("application/json".into()),
            ..Properties::default()
        };
        let publish = Publish {
            topic,
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            properties,
            ..Publish::default()
        };
        if let Err(e) = sender.publish(publish) {
            unsent(e.to_string());
        }
    }

    fn payload(&self, body: ReplyBody) -> String {
        let mut reply = Reply {
            id: body.topic.id,
            response: body.response.unwrap_or_else(|| RawValue::NULL.to_owned()),
            status: ReplyStatus::Known(body.status),
            outcome: body.outcome,
            error: body.error,
            timing: Some(body.timing),
            attempt: Some(body.attempt),
            gateway: Some(GatewayStamp {
                incarnation: self.incarnation,
                now: BootInstant::now().as_micros(),
                since: self.uplink.since().map(BootInstant::as_micros),
                version: env!("CARGO_PKG_VERSION").into(),
            }),
        };
        let payload = reply.payload();
        if payload.len() <= MAX_PAYLOAD_LEN {
            return payload;
        }
        // What happened has happened; only its description does not fit.
        reply.response = RawValue::NULL.to_owned();
        let message =
            format!("the response does not fit into a message of {MAX_PAYLOAD_LEN} bytes and was left out");
        reply.error = Some(ErrorBody { code: "response_too_large".into(), message });
        reply.payload()
    }
}

async fn keep_running(plugin: Arc<dyn Plugin>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        // In a task of its own, so that a panic ends nothing else.
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(&plugin).run(stop.clone()));
        let ended = task.join_next().await;
        if stop.is_cancelled() {
            return;
        }
        let panicked = matches!(ended, Some(Err(_)));
        error!(
            plugin = plugin.name(),
            panicked, "a plugin's background work ended by mistake; starting it again"
        );
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

fn now() -> Instant {
    Instant::from_micros(BootInstant::now().as_micros())
}

/// For ever without a journal.
async fn journaled(journal: Option<&mut Journal>) -> (CallKey, bool) {
    match journal {
        Some(journal) => journal.next().await,
        None => std::future::pending().await,
    }
}

fn until(at: Instant) -> Duration {
    // The runtime's timer counts milliseconds: rather a little late, which every check survives, than early and again.
    BootInstant::from_micros(at.as_micros()).saturating_since(BootInstant::now())
}

async fn sleep(duration: Option<Duration>) {
    tokio::time::sleep(duration.unwrap_or_default()).await;
}

/// A hash over what is on offer: names and schemas.
fn methods_hash(registry: &Registry) -> String {
    let mut offer = String::new();
    for method in registry.methods().filter(|method| !method.policy.internal) {
        offer.push_str(&method.name);
        offer.push('\n');
        if let Some(params) = &method.params {
            offer.push_str(&params.schema().to_string());
        }
        offer.push('\n');
    }
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, offer.as_bytes()).simple().to_string();
    hash.get(..16).unwrap_or_default().to_owned()
}
