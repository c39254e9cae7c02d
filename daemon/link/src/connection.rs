//! One connection, from dialling to its end.
//!
//! Every connection has a queue and a state of its own: they are dropped with it, and all that was not sent with them.
//! It is driven in a task of its own: a panic of rumqttc ends the connection, not the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::beat::Beat;
use crate::dial::{Protocol, Stream, dial};
use crate::driver::{Driver, GOODBYE};
use crate::error::LinkError;
use crate::event::{Event, Limits};
use crate::options::Options;
use crate::sender::Sender;
use crate::tracker::{TICKS, Tracker};
use crate::wire::Wire;

/// How many of our requests may wait to be written. Long before, no message is told any more (see the driver): the rest is for calls that
/// are under way by then and may end all at once, each with an answer that must go out. One that finds no room is lost.
const MOST_QUEUED: usize = 8_192;
/// Room in the queue: requests, and acknowledgements beside them.
const QUEUE: usize = 2 * MOST_QUEUED;
/// How many events may wait for [`Connection::next`]; then nothing more is read from the broker.
const EVENTS: usize = 64;

/// An open connection. Dropped, it is cut at once, and the broker publishes the will.
#[derive(Debug)]
pub struct Connection {
    events: mpsc::Receiver<Event>,
    /// The driver and the watch. The first that returns an error ends the connection.
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
        let (requests_in, requests) = mpsc::channel(QUEUE);
        let tracker = Arc::new(Tracker::new(MOST_QUEUED));
        let (events_in, events) = mpsc::channel(EVENTS);
        let (accepted_in, mut accepted) = oneshot::channel();
        let wire = Wire::new(stream, options.max_packet_size);
        let driver = Driver::new(wire, requests, events_in, Arc::clone(&tracker));
        let mut tasks = JoinSet::new();
        let (driven, acks) = (options.clone(), requests_in.clone());
        tasks.spawn(async move { Some(driver.run(driven, acks, accepted_in).await) });
        let limits = loop {
            let ended = tokio::select! {
                biased;
                Ok(limits) = &mut accepted, if !accepted.is_terminated() => break limits,
                ended = tasks.join_next() => ended,
            };
            if let Some(error) = reason(ended) {
                return Err(error);
            }
        };
        tasks.spawn(watch(Arc::clone(&tracker), options.user_timeout));
        let sender = Sender::new(requests_in, Arc::clone(&tracker), limits);
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
