//! What the handle and the thread of the stand-in share.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::frame::frame;
use super::topics::matches;
use super::{Deferral, Deployed, Fault, Published, Style, store};

/// How many frames may wait for a component that does not read; then its connection is cut.
pub(super) const QUEUE: usize = 4096;
/// Longer packets of AWS IoT Core never reach a component of nucleus lite, in bytes: topic, payload, and what is beside them.
const LITE_PACKET: usize = 5_000;
/// Longer frames are not taken, nor made, by nucleus lite, in bytes.
pub(super) const LITE_FRAME: usize = 10_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) style: Style,
    pub(super) thing: String,
    pub(super) components: BTreeMap<String, Component>,
    pub(super) sessions: BTreeMap<u64, Session>,
    pub(super) ever: u64,
    pub(super) strangers: usize,
    pub(super) refused: BTreeMap<String, (String, String)>,
    pub(super) faults: BTreeMap<String, VecDeque<Fault>>,
    pub(super) delay: Duration,
    /// How long AWS takes to end a subscription.
    pub(super) taking_back: Duration,
    /// Which ones it is asked to end, and until when one that is made anew ends with it.
    pub(super) taken_back: Vec<(String, Instant)>,
    /// How long a deployment waits for a report.
    pub(super) validation: Duration,
    /// How long it waits for a deferral.
    pub(super) notice: Duration,
    /// By component, who waits for it, and for which deployment.
    pub(super) reports: BTreeMap<String, (String, oneshot::Sender<Result<(), String>>)>,
    pub(super) waiting: BTreeMap<String, (String, oneshot::Sender<Deferral>)>,
    pub(super) deferrals: Vec<Deferral>,
    pub(super) outcomes: BTreeMap<String, Deployed>,
    pub(super) published: Vec<Published>,
    pub(super) calls: BTreeMap<String, usize>,
    /// Where publishes go instead of to those who have subscribed.
    pub(super) bridge: Option<mpsc::Sender<Bridged>>,
    /// Whether the broker is reached.
    pub(super) online: bool,
    pub(super) mistakes: Vec<String>,
}

/// For the broker behind a bridged stand-in.
#[derive(Debug)]
pub(super) enum Bridged {
    Publish(Published),
    /// And what the component of this session hears when the broker has answered.
    Subscribe(String, u64, Vec<Out>),
}

#[derive(Debug, Default)]
pub(super) struct Component {
    pub(super) token: String,
    pub(super) configuration: Value,
    pub(super) states: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) component: String,
    pub(super) out: mpsc::Sender<Out>,
    pub(super) subscriptions: BTreeMap<i32, Subscribed>,
    /// What it has ever subscribed to at AWS IoT Core.
    pub(super) filters: Vec<String>,
    /// The last stream that the component has opened.
    pub(super) last: i32,
}

/// For a connection's writer.
#[derive(Debug)]
pub(super) enum Out {
    Bytes(Vec<u8>),
    Cut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subscribed {
    Configuration { component: String, path: Vec<String> },
    Validation,
    ComponentUpdates,
    IotCore { filter: String },
}

impl State {
    /// A connection has ended, and with it what it had subscribed to.
    pub(super) fn end(&mut self, session: u64) {
        let Some(session) = self.sessions.remove(&session) else { return };
        let until = Instant::now() + self.taking_back;
        self.taken_back.retain(|(_, until)| *until > Instant::now());
        for filter in session.filters {
            self.taken_back.push((filter, until));
        }
    }

    /// Whether a subscription that is made now ends with one that is being ended.
    pub(super) fn is_taken_back(&self, filter: &str) -> bool {
        self.taken_back.iter().any(|(taken, until)| taken == filter && *until > Instant::now())
    }

    /// Whose token it is.
    pub(super) fn owner(&self, token: &str) -> Option<String> {
        let found = self.components.iter().find(|(_, one)| one.token == token && !token.is_empty());
        found.map(|(name, _)| name.clone())
    }

    /// Merges, and tells those who have subscribed, one event for each leaf that has changed, as both nuclei do.
    pub(super) fn merge(&mut self, component: &str, new: &Value) {
        let entry = self.components.entry(component.to_owned()).or_default();
        for changed in store::merge(&mut entry.configuration, new) {
            let event = json!({"configurationUpdateEvent": {"componentName": component, "keyPath": changed}});
            self.tell("ConfigurationUpdateEvents", &event, |_, subscribed| match subscribed {
                Subscribed::Configuration { component: whose, path } => {
                    whose == component && changed.starts_with(path)
                }
                Subscribed::Validation | Subscribed::ComponentUpdates | Subscribed::IotCore { .. } => false,
            });
        }
    }

    /// A message of AWS IoT Core to the components that have subscribed to it.
    pub(super) fn deliver(&mut self, message: &Published) {
        let lite = self.style == Style::Lite;
        // A fixed header, the length of the topic, a packet id, the length of the properties.
        if lite && message.topic.len() + message.payload.len() + 9 > LITE_PACKET {
            return;
        }
        self.tell("IoTCoreMessage", &json!({"message": said(message, lite)}), |_, subscribed| {
            matches!(subscribed, Subscribed::IotCore { filter } if matches(filter, &message.topic))
        });
    }

    /// An event for every subscription that `wanted` names. Says to how many.
    pub(super) fn tell(
        &mut self,
        model: &str,
        event: &Value,
        wanted: impl Fn(&str, &Subscribed) -> bool,
    ) -> usize {
        let model = format!("aws.greengrass#{model}");
        let texts = [(":content-type", "application/json"), ("service-model-type", model.as_str())];
        let payload = event.to_string();
        let mut told = 0;
        for session in self.sessions.values() {
            for (stream, _) in
                session.subscriptions.iter().filter(|(_, subscribed)| wanted(&session.component, subscribed))
            {
                let bytes = frame(0, 0, *stream, &texts, payload.as_bytes());
                if self.style == Style::Lite && bytes.len() > LITE_FRAME {
                    continue;
                }
                told += 1;
                session.send(Out::Bytes(bytes));
            }
        }
        told
    }
}

/// A message as a component hears it: lite says its topic and payload.
fn said(message: &Published, lite: bool) -> Value {
    let blob = |bytes: &[u8]| Some(json!(data_encoding::BASE64.encode(bytes)));
    let pairs = message.user_properties.iter().map(|(key, value)| json!({"key": key, "value": value}));
    let always = [("topicName", Some(json!(message.topic))), ("payload", blob(&message.payload))];
    let more = [
        ("retain", Some(json!(message.retain))),
        ("userProperties", Some(pairs.collect())),
        ("messageExpiryIntervalSeconds", message.expiry.map(|seconds| json!(seconds))),
        ("correlationData", message.correlation_data.as_deref().and_then(blob)),
        ("responseTopic", message.response_topic.as_ref().map(|topic| json!(topic))),
        ("contentType", message.content_type.as_ref().map(|kind| json!(kind))),
    ];
    let fields = always.into_iter().chain(more.into_iter().filter(|_| !lite));
    fields.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

impl Session {
    pub(super) fn send(&self, out: Out) {
        // Who does not read for so long hears nothing more, as from any server.
        drop(self.out.try_send(out));
    }
}
