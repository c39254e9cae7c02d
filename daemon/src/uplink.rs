//! The link kept up: connects, subscribes, says that the gateway is online, and starts again for ever.
//!
//! It knows the gateway's topics and its presence; what requests say is none of its business. Each connection has a
//! session id of its own, which its will repeats, so that an old will can be told from a new one.

use std::pin::Pin;
use std::time::Duration;

use nowd_link::{
    Backoff, Connection, Event, LinkError, Message, Options, Publish, Qos, Sender, Ticket, Will,
};
use nowd_plugin::{BootInstant, BoxFuture};
use nowd_protocol::{Level, Presence, PresenceTopic, RequestTopic};
use tokio::time::Sleep;
use tracing::{error, info, warn};
use uuid::Uuid;

/// A connection that lasted this long was a good one: the next attempt comes soon.
const LASTED: Duration = Duration::from_secs(10);

/// A presence that is wrong is put right no more often than this.
const PRESENCE_PAUSE: Duration = Duration::from_secs(1);

/// The gateway's connection to the broker, whichever it is.
pub(crate) struct Uplink {
    options: Options,
    facts: Facts,
    backoff: Backoff,
    state: State,
}

/// What a presence says of the gateway whatever the session.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) target: Level,
    pub(crate) incarnation: Uuid,
    pub(crate) methods: String,
}

/// What the gateway hears from its link.
#[derive(Debug)]
pub(crate) enum UplinkEvent {
    /// A message that is not about presence.
    Message(Message),
    /// What was sent before has come back: nothing that came earlier is still under way. See [`Uplink::probe`].
    ProbeReturned,
    /// The connection has ended. The next one starts clean: nothing old can come on it.
    Down,
}

enum State {
    Waiting(Pin<Box<Sleep>>),
    Opening { session: Session, opening: BoxFuture<'static, Result<Connection, LinkError>> },
    Up(Box<Up>),
}

#[derive(Debug, Clone)]
struct Session {
    id: Uuid,
    since: BootInstant,
}

struct Up {
    connection: Connection,
    sender: Sender,
    session: Session,
    subscription: Option<Ticket>,
    ready: bool,
    /// Whether our own presence comes back to us.
    watched: bool,
    /// When the presence is to be published again.
    correction: Option<Pin<Box<Sleep>>>,
    /// How often we have said that we are online, and how often that has come back: in order, as `QoS` 1 is.
    announced: u64,
    echoed: u64,
    /// The announcement whose echo is awaited.
    probe: Option<u64>,
}

impl Uplink {
    pub(crate) fn new(options: Options, facts: Facts) -> Self {
        let mut uplink = Self { options, facts, backoff: Backoff::new(), state: wait(Duration::ZERO) };
        uplink.state = uplink.open();
        uplink
    }

    /// The sender of the connection that is up and subscribed, if there is one.
    pub(crate) fn sender(&self) -> Option<&Sender> {
        match &self.state {
            State::Up(up) if up.ready => Some(&up.sender),
            State::Up(_) | State::Opening { .. } | State::Waiting(_) => None,
        }
    }

    /// The next event, for ever. May be dropped while waiting; nothing is lost.
    pub(crate) async fn next(&mut self) -> UplinkEvent {
        loop {
            match &mut self.state {
                State::Waiting(sleep) => {
                    sleep.await;
                    self.state = self.open();
                }
                State::Opening { session, opening } => match opening.await {
                    Ok(connection) => {
                        let session = session.clone();
                        self.state = State::Up(Box::new(Up::new(connection, session)));
                        self.subscribe();
                    }
                    Err(e) => self.down(&e, Duration::ZERO),
                },
                State::Up(up) => {
                    let lasted = BootInstant::now().saturating_since(up.session.since);
                    match up.next().await {
                        UpEvent::Link(Ok(event)) => {
                            if let Some(event) = self.heard(event) {
                                return event;
                            }
                        }
                        UpEvent::Link(Err(e)) => {
                            self.down(&e, lasted);
                            return UplinkEvent::Down;
                        }
                        UpEvent::Correct => {
                            self.announce(true);
                        }
                    }
                }
            }
        }
    }

    /// Publishes the presence again; when it comes back, everything that the broker had sent before has come in.
    ///
    /// Says whether to wait for that. Without a connection nothing can be under way; one on which our presence does
    /// not come back is given up, and the next one starts clean.
    pub(crate) fn probe(&mut self) -> bool {
        let State::Up(up) = &mut self.state else { return false };
        if up.ready && up.watched && self.announce(true) {
            if let State::Up(up) = &mut self.state {
                up.probe = Some(up.announced);
            }
            return true;
        }
        warn!("the link is opened anew, because what it may hold is too old");
        self.state = wait(Duration::ZERO);
        false
    }

    /// Says offline, and goodbye.
    pub(crate) async fn close(mut self) {
        self.announce(false);
        if let State::Up(up) = self.state {
            up.connection.close().await;
        }
    }

    fn open(&self) -> State {
        let session = Session { id: Uuid::new_v4(), since: BootInstant::now() };
        let mut options = self.options.clone();
        options.will = Some(Will {
            topic: self.presence_topic(),
            payload: self.presence(&session, false).payload().into_bytes(),
            retain: true,
        });
        State::Opening { session, opening: Box::pin(async move { Connection::open(&options).await }) }
    }

    fn down(&mut self, e: &LinkError, lasted: Duration) {
        if lasted >= LASTED {
            self.backoff.reset();
        }
        let delay = self.backoff.next_delay();
        let reason = chain(e);
        let again_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        if e.needs_mending() {
            error!(again_ms, "the link is down: {reason}");
        } else {
            warn!(again_ms, "the link is down: {reason}");
        }
        self.state = wait(delay);
    }

    fn subscribe(&mut self) {
        let filters = [RequestTopic::filter(&self.facts.target), self.presence_topic()];
        let State::Up(up) = &mut self.state else { return };
        match up.sender.subscribe(&filters, Qos::AtLeastOnce) {
            Ok(ticket) => up.subscription = Some(ticket),
            // The connection has just ended; `next` will say so.
            Err(e) => warn!("the subscription was not sent: {e}"),
        }
    }

    fn heard(&mut self, event: Event) -> Option<UplinkEvent> {
        match event {
            Event::Message(message) if message.topic == self.presence_topic() => self.heard_presence(message),
            Event::Message(message) => Some(UplinkEvent::Message(message)),
            Event::Subscribed { ticket, results } => {
                self.subscribed(ticket, results);
                None
            }
            Event::Acked { result: Err(reason), .. } => {
                warn!("the broker refused a message of this gateway: {reason}; check the policy");
                self.refused()
            }
            Event::Acked { .. } | Event::Unsubscribed { .. } | _ => None,
        }
    }

    /// A message was refused; if it was the probe, it will not come back.
    fn refused(&mut self) -> Option<UplinkEvent> {
        let State::Up(up) = &mut self.state else { return None };
        up.probe?;
        self.state = wait(Duration::ZERO);
        Some(UplinkEvent::Down)
    }

    fn subscribed(&mut self, ticket: Ticket, results: Vec<(String, Result<Qos, String>)>) {
        let State::Up(up) = &mut self.state else { return };
        if up.subscription != Some(ticket) {
            return;
        }
        let requests = RequestTopic::filter(&self.facts.target);
        for (filter, result) in results {
            let Err(reason) = result else { continue };
            error!("the broker refused the subscription to {filter}: {reason}; check the policy");
            if filter == requests {
                let delay = self.backoff.next_delay();
                self.state = wait(delay);
                return;
            }
            up.watched = false;
        }
        up.ready = true;
        info!(session = %up.session.id, "the link is up: {} is online", self.facts.target);
        self.announce(true);
    }

    /// Our own presence, as others see it. After a takeover the broker may publish the old connection's will after we
    /// have said that we are online, and would say offline for ever.
    fn heard_presence(&mut self, message: Message) -> Option<UplinkEvent> {
        if let Some(ack) = message.ack
            && let Err(e) = ack.send()
        {
            warn!("a presence was not acknowledged: {e}");
        }
        let State::Up(up) = &mut self.state else { return None };
        // A retained one is from before the subscription; ours has overwritten it or is about to.
        if message.retain || !up.ready {
            return None;
        }
        let right = Presence::parse(&message.payload).is_ok_and(|p| p.online && p.session == up.session.id);
        if !right {
            warn!(
                "the presence of this gateway was wrong, which the will of an earlier connection explains; putting it right"
            );
            up.correction.get_or_insert_with(|| Box::pin(tokio::time::sleep(PRESENCE_PAUSE)));
            return None;
        }
        up.echoed += 1;
        if up.probe.is_none_or(|probe| up.echoed < probe) {
            return None;
        }
        up.probe = None;
        Some(UplinkEvent::ProbeReturned)
    }

    /// Says whether it is on its way.
    fn announce(&mut self, online: bool) -> bool {
        let State::Up(up) = &self.state else { return false };
        let publish = Publish {
            topic: self.presence_topic(),
            payload: self.presence(&up.session, online).payload().into(),
            qos: Qos::AtLeastOnce,
            retain: true,
            ..Publish::default()
        };
        let sent = up.sender.publish(publish);
        if let Err(e) = &sent {
            warn!("the presence was not published: {e}");
        }
        if let (State::Up(up), true) = (&mut self.state, online && sent.is_ok()) {
            up.announced += 1;
        }
        sent.is_ok()
    }

    fn presence(&self, session: &Session, online: bool) -> Presence {
        Presence {
            online,
            session: session.id,
            incarnation: self.facts.incarnation,
            since: session.since.as_micros(),
            version: env!("CARGO_PKG_VERSION").into(),
            methods: self.facts.methods.clone(),
        }
    }

    fn presence_topic(&self) -> String {
        PresenceTopic(self.facts.target.clone()).to_string()
    }
}

enum UpEvent {
    Link(Result<Event, LinkError>),
    Correct,
}

impl Up {
    fn new(connection: Connection, session: Session) -> Self {
        let sender = connection.sender();
        Self {
            connection,
            sender,
            session,
            subscription: None,
            ready: false,
            watched: true,
            correction: None,
            announced: 0,
            echoed: 0,
            probe: None,
        }
    }

    async fn next(&mut self) -> UpEvent {
        let Some(correction) = &mut self.correction else {
            return UpEvent::Link(self.connection.next().await);
        };
        tokio::select! {
            event = self.connection.next() => UpEvent::Link(event),
            () = correction => {
                self.correction = None;
                UpEvent::Correct
            }
        }
    }
}

fn wait(delay: Duration) -> State {
    State::Waiting(Box::pin(tokio::time::sleep(delay)))
}

/// An error and all its causes, on one line.
fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
