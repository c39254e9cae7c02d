//! A gateway that does as a test tells it, and somebody who listens to everything that is published for a target.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops; this is not in a function marked as one"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nowd_cloud::{Background, BootInstant, Config, Invoker};
use nowd_link::{Ack, Connection, Event, Options, Publish, Qos, Sender, Tls, Will};
use nowd_protocol::{
    GatewayStamp, Level, NotAfter, Presence, PresenceTopic, RawValue, Received, Reply, ReplyStatus,
    ReplyTopic, Request, RequestTopic, Status, Timing, Uuid,
};
use nowd_testkit::within;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn level(name: &str) -> Level {
    Level::new(name).unwrap()
}

pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

/// An invoker at work. It stops when dropped.
pub(crate) struct Cloud {
    pub(crate) invoker: Invoker,
    _tasks: JoinSet<()>,
}

impl Cloud {
    pub(crate) async fn start(port: u16) -> Self {
        Self::with(Options::new("", "127.0.0.1", port), 1_000).await
    }

    pub(crate) async fn with(link: Options, most_calls: usize) -> Self {
        let cloud = Self::unconnected(link, most_calls);
        within(PATIENCE, "the cloud side's connection", cloud.invoker.connected()).await;
        cloud
    }

    pub(crate) fn unconnected(link: Options, most_calls: usize) -> Self {
        let config = Config { most_calls, ..Config::new(link, level("cloud")) };
        let (invoker, background): (Invoker, Background) = Invoker::new(config).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(background.run(CancellationToken::new()));
        Self { invoker, _tasks: tasks }
    }
}

/// What a gateway answers: topic and payload of each message.
pub(crate) type Answers = Vec<(String, String)>;

/// A request and its payload.
type Seen = (Request, Vec<u8>);

/// A gateway whose clock has nothing to do with ours.
pub(crate) struct Gateway {
    pub(crate) session: Uuid,
    pub(crate) incarnation: Uuid,
    pub(crate) sender: Sender,
    target: Level,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

/// The gateway's clock is ahead of ours by this.
pub(crate) const AHEAD: u64 = 77_000_000_000;

pub(crate) fn gateway_now() -> u64 {
    BootInstant::now().as_micros() + AHEAD
}

impl Gateway {
    /// Connects, says that it is online, and answers as told.
    pub(crate) async fn start(
        port: u16,
        target: &str,
        behaviour: impl FnMut(&Request, GatewayStamp) -> Answers + Send + 'static,
    ) -> Self {
        Self::open(Options::new(target, "127.0.0.1", port), target, true, behaviour).await
    }

    pub(crate) async fn start_tls(port: u16, target: &str, tls: Tls) -> Self {
        let options = Options { tls: Some(Arc::new(tls)), ..Options::new(target, "localhost", port) };
        Self::open(options, target, true, |r, s| vec![ok(r, s)]).await
    }

    /// A device of the public sample: no presence.
    pub(crate) async fn sample(port: u16, target: &str) -> Self {
        let answer = |request: &Request, _| {
            let id = request.topic.id;
            let payload = format!(r#"{{"id": "{id}", "response": {}}}"#, request.request);
            vec![(ReplyTopic(request.topic.clone()).to_string(), payload)]
        };
        Self::open(Options::new(target, "127.0.0.1", port), target, false, answer).await
    }

    async fn open(
        mut options: Options,
        target: &str,
        announce: bool,
        mut behaviour: impl FnMut(&Request, GatewayStamp) -> Answers + Send + 'static,
    ) -> Self {
        let target = level(target);
        let (session, incarnation) = (Uuid::new_v4(), Uuid::new_v4());
        let topic = PresenceTopic(target.clone()).to_string();
        if announce {
            let payload = presence(false, session, incarnation).into_bytes();
            options.will = Some(Will { topic: topic.clone(), payload, retain: true });
        }
        let mut link =
            within(PATIENCE, "the gateway's connection", Connection::open(&options)).await.unwrap();
        let sender = link.sender();
        sender.subscribe(&[RequestTopic::filter(&target)], Qos::AtLeastOnce).unwrap();
        until(&mut link, |event| matches!(event, Event::Subscribed { .. })).await;
        if announce {
            sender.publish(retained(topic, presence(true, session, incarnation))).unwrap();
            until(&mut link, |event| matches!(event, Event::Acked { .. })).await;
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, replies) = (Arc::clone(&seen), sender.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok(event) = link.next().await {
                let Event::Message(message) = event else { continue };
                let Ok(Received::Request(request)) = Received::parse(&message.topic, &message.payload) else {
                    continue;
                };
                log.lock().unwrap().push((request.clone(), message.payload.to_vec()));
                drop(message.ack.map(Ack::send));
                let stamp =
                    GatewayStamp { incarnation, now: gateway_now(), since: None, version: "test".into() };
                for (topic, payload) in behaviour(&request, stamp) {
                    replies
                        .publish(Publish { topic, payload: payload.into(), ..Publish::default() })
                        .unwrap();
                }
            }
        });
        Self { session, incarnation, sender, target, seen, _tasks: tasks }
    }

    /// The requests that came in.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().iter().map(|(request, _)| request.clone()).collect()
    }

    /// Their payloads.
    pub(crate) fn payloads(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(_, bytes)| String::from_utf8(bytes.clone()).unwrap()).collect()
    }

    /// Publishes a presence in the gateway's name.
    pub(crate) fn say(&self, online: bool, session: Uuid) {
        let topic = PresenceTopic(self.target.clone()).to_string();
        self.sender.publish(retained(topic, presence(online, session, self.incarnation))).unwrap();
    }
}

pub(crate) fn retained(topic: String, payload: String) -> Publish {
    Publish { topic, payload: payload.into(), retain: true, ..Publish::default() }
}

pub(crate) fn presence(online: bool, session: Uuid, incarnation: Uuid) -> String {
    let (version, methods) = ("test".into(), String::new());
    Presence { online, session, incarnation, since: gateway_now(), version, methods }.payload()
}

async fn until(link: &mut Connection, wanted: impl Fn(&Event) -> bool) {
    within(PATIENCE, "an event", async { while !wanted(&link.next().await.unwrap()) {} }).await;
}

/// A reply in its right place; the response is the request.
pub(crate) fn reply(request: &Request, status: Status, stamp: GatewayStamp) -> (String, String) {
    let reply = Reply {
        id: request.topic.id,
        response: request.request.clone(),
        status: ReplyStatus::Known(status),
        outcome: status.outcome().unwrap(),
        error: None,
        timing: Some(Timing { queue: 10, plugin: 20, total: 40 }),
        attempt: Some(request.attempt),
        gateway: Some(stamp),
    };
    (ReplyTopic(request.topic.clone()).to_string(), reply.payload())
}

pub(crate) fn ok(request: &Request, stamp: GatewayStamp) -> (String, String) {
    reply(request, Status::Ok, stamp)
}

/// As a gateway without a trusted wall clock judges.
pub(crate) fn strict(request: &Request, stamp: GatewayStamp) -> (String, String) {
    let status = match request.not_after {
        Some(NotAfter { incarnation, .. }) if incarnation != stamp.incarnation => Status::Resync,
        None => Status::Resync,
        Some(NotAfter { at, .. }) if at <= stamp.now => Status::Expired,
        Some(_) => Status::Ok,
    };
    reply(request, status, stamp)
}

/// Hears everything that is published below some names.
pub(crate) struct Observer {
    link: Connection,
    mark: String,
}

impl Observer {
    pub(crate) async fn start(port: u16, target: &str) -> Self {
        let mut link = Connection::open(&Options::new("observer", "127.0.0.1", port)).await.unwrap();
        link.sender().subscribe(&[format!("{target}/#")], Qos::AtLeastOnce).unwrap();
        until(&mut link, |event| matches!(event, Event::Subscribed { .. })).await;
        Self { link, mark: format!("{target}/the/mark") }
    }

    /// The topics of everything until now: a message of our own comes after it.
    pub(crate) async fn heard(mut self) -> Vec<String> {
        self.link.sender().publish(Publish { topic: self.mark.clone(), ..Publish::default() }).unwrap();
        let mut topics = Vec::new();
        within(PATIENCE, "the mark", async {
            loop {
                if let Event::Message(message) = self.link.next().await.unwrap() {
                    if message.topic == self.mark {
                        return;
                    }
                    topics.push(message.topic);
                }
            }
        })
        .await;
        topics
    }
}
