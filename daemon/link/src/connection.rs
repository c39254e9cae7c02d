//! One connection, from dialling to its end.
//!
//! Every connection has a rumqttc client of its own. rumqttc would otherwise keep what was published while the broker
//! was away and send it later; here the client is dropped with its connection and all that it had not sent with it.
//! It also polls in a task of its own: a panic in it ends the connection, not the process.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS as WireQos;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill};
use rumqttc::v5::{AsyncClient, MqttOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::beat::Beat;
use crate::bridge::Bridge;
use crate::dial::{Protocol, Stream, dial};
use crate::driver::Driver;
use crate::error::LinkError;
use crate::event::{Event, Limits};
use crate::options::Options;
use crate::sender::Sender;
use crate::tap::{Reason, Tap};
use crate::tracker::{TICKS, Tracker};

/// How many of our requests may wait to be written. Calls that end all at once, out of several lanes with many at a time, each have an
/// answer that must go out; one that finds no room is lost, and its caller hears nothing.
const MOST_QUEUED: usize = 4_096;
/// Room in rumqttc's queue: requests, and acknowledgements beside them.
const QUEUE: usize = 8_192;
/// How many events may wait for [`Connection::next`]; then nothing more is read from the broker.
const EVENTS: usize = 64;
/// How long a goodbye may take.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// An open connection. Dropped, it is cut at once, and the broker publishes the will.
#[derive(Debug)]
pub struct Connection {
    events: mpsc::Receiver<Event>,
    /// The driver, the bridge and the watch. The first that returns an error ends the connection.
    tasks: JoinSet<Option<LinkError>>,
    tracker: Arc<Tracker>,
    sender: Sender,
    /// As in the options.
    user_timeout: Duration,
    /// Why it has ended.
    error: Option<LinkError>,
}

/// One of a connection's loops, for whoever must know whether it stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// What people call the loop.
    pub name: &'static str,
    /// How often it has come round.
    pub moves: u64,
    /// The longest time between two of them, whatever the broker does: beyond it the connection has ended, or the loop stands still.
    pub bound: Duration,
}

impl Connection {
    /// Dials, shakes hands and waits for CONNACK, all within `options.connect_timeout`.
    pub async fn open(options: &Options) -> Result<Self, LinkError> {
        options.check()?;
        let open = async { Self::begin(dial(options, Protocol::Mqtt).await?, options).await };
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
        Ok(Self { events, tasks, tracker, sender, user_timeout: options.user_timeout, error: None })
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

    /// Whether its loops go round: the one that sends and hears, and the one that ends it when the broker is silent.
    #[must_use]
    pub fn movements(&self) -> [Movement; 2] {
        let (moves, keep_alive) = self.tracker.polls();
        // It pings after the one, and a broker that takes or answers nothing is given up after the other, twice at worst.
        let bound = keep_alive.saturating_add(self.user_timeout.saturating_mul(3));
        [
            Movement { name: "the driver of the link", moves, bound },
            Movement {
                name: "the watch of the link",
                moves: self.tracker.ticks(),
                bound: self.user_timeout / TICKS,
            },
        ]
    }

    /// The next event. It must be called without long pauses: while 64 events wait nothing is read from the broker,
    /// and answers that are not read count as missing. May be dropped while waiting; nothing is lost.
    ///
    /// An error is the end of this connection; from then on there is only [`LinkError::Closed`].
    pub async fn next(&mut self) -> Result<Event, LinkError> {
        while self.error.is_none() {
            let ended = tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Ok(event),
                ended = self.tasks.join_next() => ended,
            };
            self.error = reason(ended);
        }
        self.cut();
        // What came in before the end is still told, in its order.
        if let Ok(event) = self.events.try_recv() {
            return Ok(event);
        }
        Err(self.error.replace(LinkError::Closed).unwrap_or(LinkError::Closed))
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
    // After a stall it beats once: the stall was ours.
    let mut beat = Beat::new(user_timeout / TICKS);
    loop {
        beat.tick().await;
        if let Some(what) = tracker.tick() {
            tracker.close();
            return Some(LinkError::Silent { what, after: user_timeout });
        }
    }
}
