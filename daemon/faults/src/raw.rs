//! A second client of the broker with the cloud side's rights: it hears everything, can say everything again, and makes
//! calls of its own in any form.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nowd_link::{Connection, Event, Options, Publish, Qos, Sender};
use nowd_plugin::BootInstant;
use nowd_protocol::{Presence, Reply};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::bed::TARGET;
use crate::clock;
use crate::judge::{Answer, Call};
use crate::load::Way;

/// Its return address.
const CLIENT: &str = "raw-1";
/// Its return address as a compatibility caller, where the daemon is configured for those.
pub(crate) const COMPAT_CLIENT: &str = "raw-old-1";
/// A new connection is tried this soon.
const AGAIN: Duration = Duration::from_millis(50);

/// A message as it went over the broker.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// When it was heard.
    pub(crate) at: u64,
}

#[derive(Debug, Default)]
struct Heard {
    requests: Vec<Request>,
    /// Answers to calls of the cloud side.
    replies: Vec<Request>,
    /// Answers to calls of our own.
    answers: HashMap<String, Vec<Answer>>,
    incarnation: Option<Uuid>,
}

/// The client.
#[derive(Debug)]
pub(crate) struct Raw {
    sender: Arc<Mutex<Option<Sender>>>,
    heard: Arc<Mutex<Heard>>,
    _tasks: JoinSet<()>,
}

/// A call of our own; [`Raw::call`] makes the [`Call`] of it that is judged.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) number: u64,
    id: String,
    pub(crate) topic: String,
    pub(crate) payload: serde_json::Map<String, serde_json::Value>,
    begun: u64,
    deadline: u64,
}

impl Raw {
    /// Connects and subscribes; connects again whenever it must.
    pub(crate) async fn connect(options: Options) -> anyhow::Result<Self> {
        let (sender, heard) = (Arc::default(), Arc::default());
        let first = subscribe(&options, &sender).await?;
        let mut tasks = JoinSet::new();
        let (sends, hears) = (Arc::clone(&sender), Arc::clone(&heard));
        tasks.spawn(async move {
            let mut connection = Some(first);
            loop {
                if let Some(connection) = connection.take() {
                    listen(connection, &hears).await;
                }
                *lock(&sends) = None;
                sleep(AGAIN).await;
                connection = subscribe(&options, &sends).await.ok();
            }
        });
        Ok(Self { sender, heard, _tasks: tasks })
    }

    /// Says something; false if there is no connection, or no room.
    pub(crate) fn say(&self, topic: &str, payload: impl Into<Vec<u8>>) -> bool {
        let payload: Vec<u8> = payload.into();
        let publish = Publish {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            ..Publish::default()
        };
        lock(&self.sender).as_ref().is_some_and(|sender| sender.publish(publish).is_ok())
    }

    /// How many requests of the cloud side, or of others, have been heard.
    pub(crate) fn heard(&self) -> usize {
        lock(&self.heard).requests.len()
    }

    /// The requests heard from this one on.
    pub(crate) fn requests(&self, from: usize) -> Vec<Request> {
        lock(&self.heard).requests.get(from..).unwrap_or_default().to_vec()
    }

    /// The gateway's answers to the cloud side, heard from this one on.
    pub(crate) fn replies(&self, from: usize) -> Vec<Request> {
        lock(&self.heard).replies.get(from..).unwrap_or_default().to_vec()
    }

    /// Waits until the gateway's presence says which incarnation runs, other than `but`.
    pub(crate) async fn incarnation(&self, but: Option<Uuid>) -> anyhow::Result<Uuid> {
        for _ in 0..6_000 {
            if let Some(found) = lock(&self.heard).incarnation.filter(|found| Some(*found) != but) {
                return Ok(found);
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("the gateway's presence was not heard")
    }

    /// What became of a call of our own.
    pub(crate) fn call(&self, own: &Own, refusals_needed: usize) -> Call {
        let answers = lock(&self.heard).answers.get(&own.id).cloned().unwrap_or_default();
        Call {
            number: own.number,
            deadline: own.deadline,
            begun: own.begun,
            ended: own.deadline,
            answers,
            refusals_needed,
            answer_needed: false,
        }
    }
}

impl Own {
    /// A call with a timestamp, and with `not_after` if an incarnation is given.
    pub(crate) fn new(number: u64, (method, how): Way, timeout_ms: u64, runs: Option<Uuid>) -> Self {
        let id = Uuid::new_v4().to_string();
        // Before the other clock, so that what lies between them is not counted as late.
        let timestamp = clock::wall() / 1_000;
        let at = BootInstant::now().saturating_add(Duration::from_millis(timeout_ms));
        let begun = clock::now();
        let deadline = begun + timeout_ms * 1_000;
        let mut payload = serde_json::Map::new();
        payload.insert("id".into(), id.as_str().into());
        payload.insert("timestamp".into(), timestamp.into());
        payload.insert("timeout".into(), timeout_ms.into());
        payload.insert("request".into(), serde_json::json!({ "number": number, "how": how }));
        if let Some(incarnation) = runs {
            // Both ends share the machine, and its steady clock but for some microseconds.
            let not_after =
                serde_json::json!({ "incarnation": incarnation.to_string(), "at": at.as_micros() });
            payload.insert("not_after".into(), not_after);
        }
        Self { number, topic: format!("{TARGET}/{method}/{CLIENT}/{id}"), id, payload, begun, deadline }
    }

    /// A call in the form of the public sample, which states no deadline and must not be served at all: it is sent while
    /// the daemon stands still.
    pub(crate) fn stale(number: u64, (method, how): Way) -> Self {
        let own = Self::new(number, (method, how), 1, None);
        let mut payload = own.payload;
        payload.remove("timestamp");
        payload.remove("timeout");
        let topic = format!("{TARGET}/{method}/{COMPAT_CLIENT}/{}", own.id);
        Self { topic, payload, deadline: own.begun, ..own }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::Value::Object(self.payload.clone()).to_string().into_bytes()
    }
}

async fn subscribe(options: &Options, sender: &Mutex<Option<Sender>>) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(options).await.context("the broker is not there")?;
    let ours = connection.sender();
    ours.subscribe(&["#"], Qos::AtLeastOnce)?;
    for _ in 0..1_000 {
        if let Event::Subscribed { results, .. } = connection.next().await? {
            ensure!(results.iter().all(|(_, granted)| granted.is_ok()), "the broker refuses: {results:?}");
            *lock(sender) = Some(ours);
            return Ok(connection);
        }
    }
    anyhow::bail!("the broker does not answer a subscription")
}

async fn listen(mut connection: Connection, heard: &Mutex<Heard>) {
    while let Ok(event) = connection.next().await {
        if let Event::Message(message) = event {
            lock(heard).hear(&message.topic, &message.payload);
            if let Some(ack) = message.ack {
                drop(ack.send());
            }
        }
    }
}

impl Heard {
    fn hear(&mut self, topic: &str, payload: &[u8]) {
        if topic.strip_prefix(TARGET).is_some_and(|rest| rest.starts_with('/')) {
            let (topic, payload) = (topic.to_owned(), payload.to_vec());
            return self.requests.push(Request { topic, payload, at: clock::now() });
        }
        if topic.starts_with("nowd/presence/") {
            if let Some(presence) = Presence::parse(payload).ok().filter(|presence| presence.online) {
                self.incarnation = Some(presence.incarnation);
            }
            return;
        }
        if topic.starts_with("cloud-") && topic.ends_with("/ack") {
            let (topic, payload) = (topic.to_owned(), payload.to_vec());
            return self.replies.push(Request { topic, payload, at: clock::now() });
        }
        let own = topic.strip_prefix(CLIENT).and_then(|rest| rest.strip_prefix('/'));
        if let (Some(_), Ok(reply)) = (own, Reply::parse(payload)) {
            let status = reply.status.as_str().to_owned();
            let answer = Answer { id: reply.id.to_string(), status, outcome: reply.outcome };
            self.answers.entry(reply.id.to_string()).or_default().push(answer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
