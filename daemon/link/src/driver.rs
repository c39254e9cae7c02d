//! The loop of one connection: what is asked for is written, what comes in is told, and pings go out.
//!
//! What waits to be written goes before what waits to be read: who asks for more than can be answered waits at the broker.

use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::Request;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep};

use crate::error::LinkError;
use crate::event::{Event, Limits};
use crate::inbox::Inbox;
use crate::options::Options;
use crate::session::{Session, connect, dropped};
use crate::tracker::Tracker;
use crate::wire::{Broken, Moved, Wire};

/// How long a goodbye may take.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);
/// The longest time for which an acknowledgement waits for something that goes out with it.
const ACK_REST: Duration = Duration::from_millis(2);
/// So many acknowledgements do not wait.
const MOST_RESTING: u32 = 8;
/// While so many bytes wait to be written, no more are added.
const MOST_WAITING: usize = 64 * 1024;
/// While so many requests wait to be written, no message is told: each asks for an answer. Calls under way still have room for theirs.
const HOLD: usize = 1_024;

/// What drives one connection.
pub(crate) struct Driver {
    wire: Wire,
    requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<Event>,
    tracker: Arc<Tracker>,
    inbox: Inbox,
    /// What is to be written must not wait any longer.
    urgent: bool,
    /// Acknowledgements that wait for company.
    resting: u32,
    /// Messages dropped since that was last told.
    dropped: u64,
}

/// What the loop waited for.
enum Happened {
    Moved(Result<Moved, Broken>),
    Asked(Request),
    /// There is room for an event.
    Room,
    /// An acknowledgement has waited for company long enough.
    Rested,
    Ping,
}

impl Driver {
    pub(crate) fn new(
        wire: Wire,
        requests: mpsc::Receiver<Request>,
        events: mpsc::Sender<Event>,
        tracker: Arc<Tracker>,
    ) -> Self {
        Self {
            wire,
            requests,
            events,
            tracker,
            inbox: Inbox::default(),
            urgent: false,
            resting: 0,
            dropped: 0,
        }
    }

    /// Goes on until the connection ends; says through `accepted` when CONNACK has come.
    pub(crate) async fn run(
        mut self,
        options: Options,
        requests: mpsc::Sender<Request>,
        accepted: oneshot::Sender<Limits>,
    ) -> LinkError {
        let error = match self.connect(options, requests).await {
            Ok(session) if accepted.send(session.limits()).is_ok() => self.drive(session).await,
            Ok(_) => LinkError::Closed,
            Err(error) => error,
        };
        self.tracker.close();
        self.say_dropped(false);
        if matches!(error, LinkError::Closed) {
            self.goodbye().await;
            return error;
        }
        // What came in before the end is still told.
        while let Some(event) = self.inbox.pop() {
            if self.events.send(event).await.is_err() {
                break;
            }
        }
        error
    }

    async fn connect(
        &mut self,
        options: Options,
        requests: mpsc::Sender<Request>,
    ) -> Result<Session, LinkError> {
        let first = connect(&options);
        let internal = |error: &dyn ToString| LinkError::Internal { what: error.to_string() };
        self.wire.put(&first).map_err(|error| internal(&error))?;
        self.wire.flush().await.map_err(|Broken(error)| LinkError::from_stream(error, false))?;
        let first = loop {
            if let Some(packet) = self.wire.packet()? {
                break packet;
            }
            let read = self.wire.moved(true, false).await;
            read.map_err(|Broken(error)| LinkError::from_stream(error, false))?;
        };
        let session = Session::new(first, options, requests, Arc::clone(&self.tracker))?;
        self.wire.set_max_outgoing(session.max_outgoing());
        Ok(session)
    }

    async fn drive(&mut self, mut session: Session) -> LinkError {
        let keep_alive = session.keep_alive();
        let mut ping = pin!(sleep(keep_alive));
        let mut rest = pin!(None::<Sleep>);
        loop {
            self.tracker.polled();
            match self.step(&mut session, ping.as_mut(), rest.as_mut()).await {
                Ok(()) => {}
                Err(error) => return error,
            }
            // It stays set when what rested has gone out with something else: a timer that is nearer than all others is told to the kernel, and
            // so would be every later one of a call, if this one were not nearer still.
            if rest.as_ref().as_pin_ref().is_some_and(|rest| rest.is_elapsed()) {
                rest.set(None);
                self.urgent |= self.resting > 0;
            }
            if self.resting > 0 && !self.urgent && rest.is_none() {
                rest.set(Some(sleep(ACK_REST)));
            }
        }
    }

    /// Does all that can be done, and waits once.
    async fn step(
        &mut self,
        session: &mut Session,
        mut ping: Pin<&mut Sleep>,
        rest: Pin<&mut Option<Sleep>>,
    ) -> Result<(), LinkError> {
        let now = Instant::now();
        if ping.deadline() <= now {
            ping.as_mut().reset(now + session.keep_alive());
            self.request(session, Request::PingReq)?;
        }
        self.read_packets(session)?;
        while self.may_take(session)
            && let Ok(request) = self.requests.try_recv()
        {
            self.request(session, request)?;
        }
        let hold = self.tracker.queued() >= HOLD;
        while self.inbox.is_ready(hold)
            && let Ok(room) = self.events.try_reserve()
            && let Some(event) = self.inbox.pop()
        {
            room.send(event);
        }
        self.say_dropped(hold);
        let may_take = self.may_take(session);
        let rested = async {
            match rest.as_pin_mut() {
                Some(rest) => rest.await,
                None => pending().await,
            }
        };
        let happened = tokio::select! {
            biased;
            moved = self.wire.moved(self.inbox.wants_more(hold), self.urgent) => Happened::Moved(moved),
            Some(request) = self.requests.recv(), if may_take => Happened::Asked(request),
            room = self.events.reserve(), if self.inbox.is_ready(hold) => {
                if room.is_err() {
                    return Err(LinkError::Closed);
                }
                Happened::Room
            },
            () = rested => Happened::Rested,
            () = &mut ping => Happened::Ping,
        };
        match happened {
            // What is due is done in the next round: a read that is always ready must not put it off.
            Happened::Moved(Ok(Moved::Read)) | Happened::Room | Happened::Rested | Happened::Ping => {}
            Happened::Moved(Ok(Moved::Written)) => {
                self.urgent = false;
                self.resting = 0;
            }
            Happened::Moved(Err(Broken(error))) => return Err(self.broken(session, error).await),
            Happened::Asked(request) => self.request(session, request)?,
        }
        Ok(())
    }

    fn may_take(&self, session: &Session) -> bool {
        session.may_send() && self.wire.waiting() < MOST_WAITING
    }

    /// Whatever has come in whole.
    fn read_packets(&mut self, session: &mut Session) -> Result<(), LinkError> {
        while let Some(packet) = self.wire.packet()? {
            let heard = session.incoming(packet)?;
            if let Some(packet) = heard.packet {
                self.put(&packet)?;
            }
            if let Some(message) = heard.event.and_then(|event| self.inbox.push(event, heard.size)) {
                self.dropped += 1;
                dropped(message.ack);
            }
        }
        Ok(())
    }

    fn request(&mut self, session: &mut Session, request: Request) -> Result<(), LinkError> {
        let is_last = matches!(request, Request::Disconnect);
        let is_ack = matches!(request, Request::PubAck(_));
        let urgent = self.urgent;
        if let Some(packet) = session.request(request)? {
            self.put(&packet)?;
        }
        if is_ack {
            self.resting += 1;
            self.urgent = urgent || self.resting >= MOST_RESTING;
        }
        if is_last { Err(LinkError::Closed) } else { Ok(()) }
    }

    fn put(&mut self, packet: &rumqttc::v5::mqttbytes::v5::Packet) -> Result<(), LinkError> {
        self.urgent = true;
        self.wire.put(packet).map_err(|error| LinkError::Internal { what: error.to_string() })
    }

    /// The stream has failed: what had come in before is heard, for it may say why.
    async fn broken(&mut self, session: &mut Session, error: Option<std::io::Error>) -> LinkError {
        loop {
            if let Err(said) = self.read_packets(session) {
                return said;
            }
            tokio::select! {
                biased;
                moved = self.wire.moved(true, false) => if moved.is_err() { break },
                () = ready(()) => break,
            }
        }
        LinkError::from_stream(error, true)
    }

    /// What was asked for before the end still goes out.
    async fn goodbye(&mut self) {
        tokio::select! {
            closed = self.wire.close() => if let Err(Broken(error)) = closed {
                tracing::debug!(?error, "the goodbye may not have gone out");
            },
            () = sleep(GOODBYE) => tracing::debug!("the goodbye did not go out in time"),
        }
    }

    fn say_dropped(&mut self, hold: bool) {
        if self.dropped > 0 && !hold {
            let count = std::mem::take(&mut self.dropped);
            tracing::warn!(
                see = "message-dropped",
                count,
                "messages were dropped because too many waited, and the broker sent more than it was allowed"
            );
        }
    }
}
