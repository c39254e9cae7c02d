//! A connection through the Greengrass nucleus: requests come, and answers go, over the MQTT connection that the nucleus has.
//!
//! It has a connection to the nucleus of its own, which is one session and never reused. Nobody waits for the nucleus: what is
//! sent is handed over at once or refused, and the nucleus's answer is told later. A PUBACK means nothing here, so none is sent.
//! What the nucleus keeps while it is offline, and delivers or sends later, is none of its business: deadlines judge that.

use std::time::Duration;

use nowd_greengrass as ipc;
use nowd_link::{Event, Message, Properties, Publish, Qos, SendError, Ticket};
use nowd_protocol::MAX_PAYLOAD_LEN;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::refusals::{OF_THE_NUCLEUS, UNAUTHORIZED};

/// How many messages may be handed to the nucleus and not be answered by it, and how many may wait for that.
const UNDER_WAY: usize = 32;
const QUEUE: usize = 64;

/// How long the nucleus may take to say which one it is.
const KIND_WITHIN: Duration = Duration::from_secs(2);

/// How long what was handed over last may take at the end: within what the gateway leaves for a goodbye.
const GOODBYE: Duration = Duration::from_millis(350);

/// The longest payload for nucleus lite, in bytes: its own messages hold 10,000 with the topic, and a payload in base64.
const LITE_PAYLOAD: usize = 6 * 1024;

/// How long a broker may keep an answer for a caller who is away, in seconds; no call lasts longer by default.
const ANSWER_EXPIRY: u32 = 60;

/// Only the configuration of nucleus lite is under this name.
const LITE: &str = "aws.greengrass.NucleusLite";

/// Why there is no connection through the nucleus, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error(
        "`link.via` is \"greengrass\", and this process was not started by a nucleus (SVCUID is not in its environment); deploy it as a \
         component, or set `link.via = \"direct\"`"
    )]
    NotAComponent,
    #[error(transparent)]
    Ipc(#[from] ipc::IpcError),
    #[error("the nucleus did not take the subscription to {filter}")]
    Unsubscribed {
        filter: String,
        #[source]
        source: ipc::CallError,
    },
    #[error("the nucleus ended the subscription to requests{}", .reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    Ended { reason: Option<String> },
}

impl RelayError {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::NotAComponent => "not_a_component",
            Self::Ipc(_) => "nucleus",
            Self::Unsubscribed { .. } | Self::Ended { .. } => "subscription_ended",
        }
    }

    pub(super) const fn needs_mending(&self) -> bool {
        match self {
            Self::NotAComponent
            | Self::Ipc(
                ipc::IpcError::Refused | ipc::IpcError::ClosedAtConnect | ipc::IpcError::Path { .. },
            ) => true,
            Self::Ipc(_) | Self::Unsubscribed { .. } | Self::Ended { .. } => false,
        }
    }
}

/// An open connection. Dropped, it is cut at once.
#[derive(Debug)]
pub(crate) struct Relay {
    connection: ipc::Connection,
    client: ipc::Client,
    wanted: mpsc::Receiver<(Ticket, Wanted)>,
    under_way: JoinSet<Result<Event, RelayError>>,
    /// The subscription that was asked for, until it is known to be granted.
    asked: Option<(Ticket, String)>,
    /// The message that has shown that it is, before the nucleus said so.
    early: Option<Event>,
    sender: RelaySender,
}

/// The sending half. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct RelaySender {
    queue: mpsc::Sender<(Ticket, Wanted)>,
    tickets: std::sync::Arc<std::sync::atomic::AtomicU64>,
    most_payload: usize,
}

/// What the nucleus is to be asked.
#[derive(Debug)]
enum Wanted {
    Publish(Publish),
    Subscribe(String),
}

impl Relay {
    pub(super) async fn open(options: Option<ipc::Options>) -> Result<Self, RelayError> {
        let options = options.ok_or(RelayError::NotAComponent)?;
        let connection = ipc::Connection::open(&options).await?;
        let client = connection.client();
        // Nothing is subscribed to, so nothing comes in that would have to be heard meanwhile.
        let is_classic = match client.within(KIND_WITHIN).object(Some(LITE), &[]).await {
            Err(e) => e.refusal() == Some(ipc::RefusalKind::NotFound),
            Ok(_) => false,
        };
        let most_payload = if is_classic { MAX_PAYLOAD_LEN } else { LITE_PAYLOAD };
        debug!(most_payload, "connected to the nucleus");
        let (queue, wanted) = mpsc::channel(QUEUE);
        let sender = RelaySender { queue, tickets: std::sync::Arc::default(), most_payload };
        let under_way = JoinSet::new();
        Ok(Self { connection, client, wanted, under_way, asked: None, early: None, sender })
    }

    pub(super) fn sender(&self) -> RelaySender {
        self.sender.clone()
    }

    /// The next event. May be dropped while waiting; nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Event, RelayError> {
        if let Some(event) = self.early.take() {
            return Ok(event);
        }
        loop {
            let has_room = self.under_way.len() < UNDER_WAY;
            tokio::select! {
                biased;
                // Before what waits: the order of messages is theirs.
                Some((ticket, wanted)) = self.wanted.recv(), if has_room => self.ask(ticket, wanted),
                event = self.connection.next() => if let Some(event) = heard(event?)? {
                    return Ok(self.after_its_subscription(event));
                },
                Some(done) = self.under_way.join_next() => match done {
                    Ok(result) => if let Some(event) = self.once(result?) {
                        return Ok(event);
                    },
                    Err(e) => debug!("a question to the nucleus was lost: {e}"),
                },
            }
        }
    }

    /// A message may come before the nucleus says that the subscription is granted, or be seen before that; and while nobody knows
    /// of it, there is nobody to answer. The message shows that it is.
    fn after_its_subscription(&mut self, message: Event) -> Event {
        let Some((ticket, filter)) = self.asked.take() else { return message };
        self.early = Some(message);
        granted(ticket, filter)
    }

    /// That the subscription is granted is told once.
    fn once(&mut self, event: Event) -> Option<Event> {
        let Event::Subscribed { results, .. } = &event else { return Some(event) };
        let is_news = self.asked.take().is_some();
        (is_news || results.iter().any(|(_, result)| result.is_err())).then_some(event)
    }

    fn ask(&mut self, ticket: Ticket, wanted: Wanted) {
        let client = self.client.clone();
        match wanted {
            Wanted::Publish(publish) => self.under_way.spawn(async move {
                let topic = publish.topic.clone();
                let result = client.publish_iot_core(&translated(publish)).await.map_err(|e| reason(&e));
                Ok(Event::Acked { ticket, topic, result })
            }),
            Wanted::Subscribe(filter) => {
                self.asked = Some((ticket, filter.clone()));
                self.under_way.spawn(async move {
                    // QoS 0: where the nucleus has a session that outlives it, IoT Core keeps QoS 1 messages for it, and a request that
                    // is not delivered now is not wanted later.
                    match client.subscribe_iot_core(&filter, ipc::Qos::AtMostOnce).await {
                        Ok(_) => Ok(granted(ticket, filter)),
                        Err(e) if is_no(&e) => {
                            Ok(Event::Subscribed { ticket, results: vec![(filter, Err(reason(&e)))] })
                        }
                        Err(source) => Err(RelayError::Unsubscribed { filter, source }),
                    }
                })
            }
        };
    }

    /// Lets go out what was handed over, for a moment.
    pub(super) async fn close(mut self) {
        self.wanted.close();
        let gone = async {
            while !(self.wanted.is_empty() && self.under_way.is_empty()) {
                if self.next().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = gone => {}
            () = tokio::time::sleep(GOODBYE) => {
                info!("the nucleus did not take the goodbye in time; the presence stays as it was");
            }
        }
    }
}

impl RelaySender {
    pub(super) const fn most_payload(&self) -> usize {
        self.most_payload
    }

    pub(super) fn publish(&self, publish: Publish) -> Result<Ticket, SendError> {
        let (size, max) = (publish.payload.len(), self.most_payload);
        if size > max {
            return Err(SendError::TooLarge { size, max });
        }
        self.hand_over(Wanted::Publish(publish))
    }

    pub(super) fn subscribe(&self, filter: String) -> Result<Ticket, SendError> {
        self.hand_over(Wanted::Subscribe(filter))
    }

    fn hand_over(&self, wanted: Wanted) -> Result<Ticket, SendError> {
        let ticket = Ticket::new(self.tickets.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        self.queue.try_send((ticket, wanted)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
        })?;
        Ok(ticket)
    }
}

/// A nucleus that does not know a property drops it; topic and payload say the same.
fn translated(publish: Publish) -> ipc::Publish {
    let Publish { topic, payload, qos, retain, properties } = publish;
    let Properties { correlation_data, content_type, response_topic, .. } = properties;
    ipc::Publish {
        topic,
        payload: payload.into(),
        qos: if qos == Qos::AtMostOnce { ipc::Qos::AtMostOnce } else { ipc::Qos::AtLeastOnce },
        retain,
        expiry: (!retain).then_some(ANSWER_EXPIRY),
        correlation_data: correlation_data.map(Into::into),
        response_topic,
        content_type,
        ..ipc::Publish::default()
    }
}

fn granted(ticket: Ticket, filter: String) -> Event {
    Event::Subscribed { ticket, results: vec![(filter, Ok(Qos::AtMostOnce))] }
}

/// What the gateway is to hear of it.
fn heard(event: ipc::Event) -> Result<Option<Event>, RelayError> {
    match event {
        ipc::Event::Message { message, .. } => Ok(Some(Event::Message(Message {
            topic: message.topic,
            payload: message.payload.into(),
            // A nucleus that does not say leaves it to the deadline.
            retain: message.retain.unwrap_or(false),
            dup: false,
            qos: Qos::AtMostOnce,
            properties: Properties::default(),
            held: false,
            ack: None,
        }))),
        ipc::Event::Ended { refusal, .. } => {
            Err(RelayError::Ended { reason: refusal.map(|refusal| refusal.to_string()) })
        }
        ipc::Event::Unreadable { what, .. } => {
            debug!("the nucleus sent a message that cannot be read: {what}");
            Ok(None)
        }
        ipc::Event::ConfigurationChanged { .. }
        | ipc::Event::Validate { .. }
        | ipc::Event::BeforeUpdate { .. }
        | ipc::Event::AfterUpdate { .. } => Ok(None),
    }
}

/// Whether the nucleus will go on saying no until somebody changes something.
fn is_no(error: &ipc::CallError) -> bool {
    use ipc::RefusalKind::{InvalidArguments, NotSupported, Unauthorized};
    matches!(error.refusal(), Some(Unauthorized | InvalidArguments | NotSupported))
}

/// What people are told; whether it is a matter of `accessControl` shows in how it begins.
fn reason(error: &ipc::CallError) -> String {
    if error.refusal() == Some(ipc::RefusalKind::Unauthorized) {
        return format!("{UNAUTHORIZED}: {error}");
    }
    let text = error.to_string();
    // By this it is known that it is no matter of a policy.
    if text.starts_with(OF_THE_NUCLEUS) { text } else { format!("{OF_THE_NUCLEUS}did not take it: {text}") }
}

#[cfg(test)]
mod tests;
