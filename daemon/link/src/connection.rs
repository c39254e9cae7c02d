//! One connection, from dialling to its end.
//!
//! Every connection has a rumqttc client of its own. rumqttc would otherwise keep what was published while the broker
//! was away and send it later; here the client is dropped with its connection and all that it had not sent with it.
//! It also polls in a task of its own: a panic in it ends the connection, not the process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS as WireQos;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill, PubAckReason, Publish as WirePublish};
use rumqttc::v5::{AsyncClient, Event as WireEvent, EventLoop, Incoming, MqttOptions};
use rumqttc::{Outgoing, Transport};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::bridge::Bridge;
use crate::dial::{Stream, dial};
use crate::error::LinkError;
use crate::event::{Event, Limits, Message, granted};
use crate::options::Options;
use crate::publish::{Properties, Qos};
use crate::sender::{Ack, Sender};
use crate::tap::{Reason, Tap};
use crate::tracker::{Kind, TICKS, Tracker};

/// How many of our requests may wait to be written.
const MOST_QUEUED: usize = 256;
/// Room in rumqttc's queue: requests, and acknowledgements beside them.
const QUEUE: usize = 1024;
/// How many events may wait for [`Connection::next`]; then nothing more is read from the broker.
const EVENTS: usize = 64;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// An open connection. Dropped, it is cut at once, and the broker publishes the will.
#[derive(Debug)]
pub struct Connection {
    events: mpsc::Receiver<Event>,
    /// The driver, the bridge and the watch. The first that returns an error ends the connection.
    tasks: JoinSet<Option<LinkError>>,
    tracker: Arc<Tracker>,
    sender: Sender,
}

impl Connection {
    /// Dials, shakes hands and waits for CONNACK, all within `options.connect_timeout`.
    pub async fn open(options: &Options) -> Result<Self, LinkError> {
        options.check()?;
        let open = async { Self::begin(dial(options).await?, options).await };
        bounded(options, open).await
    }

    /// Speaks MQTT over a stream that somebody else has dialled, such as a WebSocket. `host`, `port` and `tls` of the
    /// options are not used.
    pub async fn over(stream: Box<dyn Stream>, options: &Options) -> Result<Self, LinkError> {
        options.check()?;
        bounded(options, Self::begin(stream, options)).await
    }

    async fn begin(stream: Box<dyn Stream>, options: &Options) -> Result<Self, LinkError> {
        let bridge = Bridge::new().map_err(|source| LinkError::Internal { what: source.to_string() })?;
        let (client, event_loop) = AsyncClient::new(wire_options(options, bridge.name()), QUEUE);
        let tracker = Arc::new(Tracker::new(MOST_QUEUED));
        let (events_in, events) = mpsc::channel(EVENTS);
        let (ready_in, mut ready) = oneshot::channel();
        let (bridge_end_in, bridge_end) = oneshot::channel();
        let reason_said = Reason::default();
        let stream = Box::new(Tap::new(stream, reason_said.clone()));
        let driver = Driver {
            client: client.clone(),
            tracker: Arc::clone(&tracker),
            events: events_in,
            bridge_end,
            reason: reason_said,
            options: options.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            bridge.run(stream, bridge_end_in).await;
            None
        });
        tasks.spawn(async move { Some(driver.run(event_loop, ready_in).await) });
        let limits = loop {
            let ended = tokio::select! {
                biased;
                Ok(limits) = &mut ready, if !ready.is_terminated() => break limits,
                ended = tasks.join_next() => ended,
            };
            if let Some(error) = reason(ended) {
                return Err(error);
            }
        };
        tasks.spawn(watch(Arc::clone(&tracker), options.user_timeout));
        let sender = Sender::new(client, Arc::clone(&tracker), limits);
        Ok(Self { events, tasks, tracker, sender })
    }

    /// The sending half.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// What the broker said about itself at CONNACK.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.sender.limits()
    }

    /// The next event. It must be called without long pauses: while 64 events wait nothing is read from the broker,
    /// and answers that are not read count as missing. May be dropped while waiting; nothing is lost.
    ///
    /// An error is the end of this connection; from then on there is only [`LinkError::Closed`].
    pub async fn next(&mut self) -> Result<Event, LinkError> {
        loop {
            let ended = tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Ok(event),
                ended = self.tasks.join_next() => ended,
            };
            if ended.is_none() {
                return Err(LinkError::Closed);
            }
            let Some(error) = reason(ended) else { continue };
            // What came in before the end is still told, in its order.
            if let Ok(event) = self.events.try_recv() {
                self.tasks.spawn(async move { Some(error) });
                return Ok(event);
            }
            self.cut();
            return Err(error);
        }
    }

    /// Says goodbye after all that was queued, so that the broker publishes no will, and waits until that has gone
    /// out, for 2 s at most. Events that still come are dropped.
    pub async fn close(mut self) {
        if self.sender.disconnect().is_err() {
            return;
        }
        let said = async { while self.next().await.is_ok() {} };
        tokio::select! {
            () = said => {}
            () = tokio::time::sleep(GOODBYE) => {}
        }
    }

    fn cut(&mut self) {
        self.tracker.close();
        self.events.close();
        self.tasks.abort_all();
        self.tasks.detach_all();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tracker.close();
    }
}

async fn bounded<T>(
    options: &Options,
    open: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    tokio::select! {
        opened = open => opened,
        () = tokio::time::sleep(options.connect_timeout) => Err(LinkError::ConnectTimeout {
            host: options.host.clone(),
            port: options.port,
            after: options.connect_timeout,
        }),
    }
}

/// Why a task has ended, if that ends the connection.
fn reason(ended: Option<Result<Option<LinkError>, tokio::task::JoinError>>) -> Option<LinkError> {
    match ended {
        Some(Ok(error)) => error,
        Some(Err(error)) => Some(LinkError::Internal { what: error.to_string() }),
        None => Some(LinkError::Closed),
    }
}

fn wire_options(options: &Options, bridge: &str) -> MqttOptions {
    let mut wire = MqttOptions::new(&options.client_id, bridge, options.port);
    let mut properties = ConnectProperties::new();
    // The broker keeps nothing for an absent gateway, and we take no topic aliases.
    properties.session_expiry_interval = Some(0);
    properties.receive_maximum = Some(options.receive_maximum);
    properties.max_packet_size = Some(options.max_packet_size);
    wire.set_transport(Transport::Unix)
        .set_clean_start(true)
        .set_connect_properties(properties)
        .set_keep_alive(options.keep_alive)
        .set_connection_timeout(options.connect_timeout.as_secs().saturating_add(1))
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(options.inflight);
    if let Some(will) = &options.will {
        let will = LastWill::new(&will.topic, will.payload.clone(), WireQos::AtLeastOnce, will.retain, None);
        wire.set_last_will(will);
    }
    wire
}

/// Ends the connection when the broker leaves something unanswered.
async fn watch(tracker: Arc<Tracker>, user_timeout: Duration) -> Option<LinkError> {
    let mut ticks = tokio::time::interval(user_timeout / TICKS);
    // After a stall one tick, not all that were missed: the stall was ours.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Some(what) = tracker.tick() {
            tracker.close();
            return Some(LinkError::Silent { what, after: user_timeout });
        }
    }
}

/// Polls rumqttc and turns its events into ours.
struct Driver {
    client: AsyncClient,
    tracker: Arc<Tracker>,
    events: mpsc::Sender<Event>,
    bridge_end: oneshot::Receiver<io::Result<()>>,
    reason: Reason,
    options: Options,
}

/// Whether the driver goes on.
enum Step {
    Nothing,
    Tell(Event),
    End(LinkError),
    Goodbye,
}

impl Driver {
    async fn run(mut self, mut event_loop: EventLoop, ready: oneshot::Sender<Limits>) -> LinkError {
        let error = match self.connack(&mut event_loop).await {
            Ok(limits) if ready.send(limits).is_ok() => self.drive(&mut event_loop).await,
            Ok(_) => LinkError::Closed,
            Err(error) => error,
        };
        self.tracker.close();
        // With it goes all that it had not sent.
        drop(event_loop);
        if matches!(error, LinkError::Closed) {
            // The bridge still carries the goodbye.
            tokio::select! {
                _ = &mut self.bridge_end => {}
                () = tokio::time::sleep(GOODBYE) => {}
            }
        }
        error
    }

    async fn connack(&mut self, event_loop: &mut EventLoop) -> Result<Limits, LinkError> {
        let connack = match event_loop.poll().await {
            Ok(WireEvent::Incoming(Incoming::ConnAck(connack))) => connack,
            Ok(other) => return Err(LinkError::Protocol { what: format!("{other:?} came before CONNACK") }),
            Err(error) => return Err(self.poll_error(error, false)),
        };
        if connack.properties.as_ref().is_some_and(|said| said.receive_max == Some(0)) {
            return Err(LinkError::Protocol { what: "a receive maximum of 0 in CONNACK".to_owned() });
        }
        if event_loop.options.keep_alive().is_zero() {
            // The broker wants no pings; rumqttc would send them without pause. We still want to know that it lives.
            event_loop.options.set_keep_alive(self.options.keep_alive);
        }
        Ok(Limits::new(&connack, &self.options))
    }

    async fn drive(&mut self, event_loop: &mut EventLoop) -> LinkError {
        loop {
            let step = match event_loop.poll().await {
                Ok(WireEvent::Incoming(packet)) => self.incoming(packet),
                Ok(WireEvent::Outgoing(packet)) => self.outgoing(&packet),
                Err(error) => {
                    let error = self.poll_error(error, true);
                    return self.drain(event_loop, error).await;
                }
            };
            match step {
                Step::Nothing => {}
                Step::Tell(event) => {
                    if self.events.send(event).await.is_err() {
                        return LinkError::Closed;
                    }
                }
                Step::End(error) => return error,
                Step::Goodbye => return LinkError::Closed,
            }
        }
    }

    /// rumqttc reads several packets at once and, should the last be the end, leaves the others where they are.
    async fn drain(&self, event_loop: &mut EventLoop, error: LinkError) -> LinkError {
        self.tracker.close();
        while let Some(event) = event_loop.state.events.pop_front() {
            if let WireEvent::Incoming(packet) = event
                && let Step::Tell(event) = self.incoming(packet)
                && self.events.send(event).await.is_err()
            {
                break;
            }
        }
        error
    }

    fn outgoing(&self, packet: &Outgoing) -> Step {
        match *packet {
            Outgoing::Publish(id) => self.tracker.written(Kind::Publish, id),
            Outgoing::Subscribe(id) => self.tracker.written(Kind::Subscribe, id),
            Outgoing::Unsubscribe(id) => self.tracker.written(Kind::Unsubscribe, id),
            Outgoing::AwaitAck(_) => self.tracker.held(),
            Outgoing::PingReq => self.tracker.pinged(),
            Outgoing::Disconnect if self.tracker.is_closing() => return Step::Goodbye,
            // rumqttc's way to say that an unknown topic alias came in.
            Outgoing::Disconnect => {
                return Step::End(LinkError::Protocol {
                    what: "a topic alias that was not offered".to_owned(),
                });
            }
            Outgoing::PubAck(_)
            | Outgoing::PubRec(_)
            | Outgoing::PubRel(_)
            | Outgoing::PubComp(_)
            | Outgoing::PingResp => {}
        }
        Step::Nothing
    }

    fn incoming(&self, packet: Incoming) -> Step {
        self.tracker.heard();
        match packet {
            Incoming::Publish(publish) => self.message(publish),
            Incoming::PubAck(ack) => match self.tracker.answered(Kind::Publish, ack.pkid) {
                None => Step::Nothing,
                Some(waiting) => Step::Tell(Event::Acked {
                    ticket: waiting.ticket,
                    result: if matches!(
                        ack.reason,
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers
                    ) {
                        Ok(())
                    } else {
                        Err(format!("{:?}", ack.reason))
                    },
                }),
            },
            Incoming::SubAck(ack) => match self.tracker.answered(Kind::Subscribe, ack.pkid) {
                Some(waiting) if waiting.filters.len() == ack.return_codes.len() => {
                    let granted = ack.return_codes.into_iter().map(granted);
                    let results = waiting.filters.into_iter().zip(granted).collect();
                    Step::Tell(Event::Subscribed { ticket: waiting.ticket, results })
                }
                _ => Step::End(LinkError::Protocol { what: "a SUBACK that fits no SUBSCRIBE".to_owned() }),
            },
            Incoming::UnsubAck(ack) => match self.tracker.answered(Kind::Unsubscribe, ack.pkid) {
                None => Step::Nothing,
                Some(waiting) => Step::Tell(Event::Unsubscribed { ticket: waiting.ticket }),
            },
            // rumqttc makes an error of DISCONNECT.
            Incoming::PingResp(_) | Incoming::Disconnect(_) => Step::Nothing,
            Incoming::PubRec(_)
            | Incoming::PubRel(_)
            | Incoming::PubComp(_)
            | Incoming::ConnAck(_)
            | Incoming::Connect(..)
            | Incoming::Subscribe(_)
            | Incoming::Unsubscribe(_)
            | Incoming::PingReq(_)
            | Incoming::Auth(_) => {
                Step::End(LinkError::Protocol { what: "a packet that a broker does not send".to_owned() })
            }
        }
    }

    fn message(&self, publish: WirePublish) -> Step {
        let (qos, ack) = match publish.qos {
            WireQos::AtMostOnce => (Qos::AtMostOnce, None),
            WireQos::AtLeastOnce => (
                Qos::AtLeastOnce,
                Some(Ack::new(self.client.clone(), Arc::clone(&self.tracker), publish.pkid)),
            ),
            WireQos::ExactlyOnce => {
                return Step::End(LinkError::Protocol { what: "a message with QoS 2".to_owned() });
            }
        };
        let topic = match String::from_utf8(publish.topic.into()) {
            Ok(topic) if !topic.is_empty() => topic,
            _ => return Self::drop_unnamed(ack),
        };
        Step::Tell(Event::Message(Message {
            topic,
            payload: publish.payload,
            retain: publish.retain,
            dup: publish.dup,
            qos,
            properties: publish.properties.map(Properties::from_wire).unwrap_or_default(),
            ack,
        }))
    }

    /// A message that nobody can make sense of must not hold the window of unacknowledged messages.
    fn drop_unnamed(ack: Option<Ack>) -> Step {
        tracing::warn!("a message whose topic is empty or no UTF-8 was dropped");
        if let Some(Err(error)) = ack.map(Ack::send) {
            tracing::warn!(%error, "it could not be acknowledged");
        }
        Step::Nothing
    }

    /// What rumqttc saw may only be what the bridge left behind.
    fn poll_error(&mut self, error: rumqttc::v5::ConnectionError, connected: bool) -> LinkError {
        let bridge = match self.bridge_end.try_recv() {
            Ok(Err(error)) => Some(error),
            Ok(Ok(())) | Err(_) => None,
        };
        LinkError::from_poll(error, bridge, self.reason.code(), connected, &self.options)
    }
}
