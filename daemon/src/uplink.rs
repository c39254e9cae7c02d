//! The link kept up: connects, subscribes, says that the gateway is online, and starts again for ever.
//!
//! It knows the gateway's topics and its presence; what requests say is none of its business. Each connection has a
//! session id of its own, which its will repeats, so that an old will can be told from a new one.

use std::time::Duration;

use nowd_link::{Backoff, Event, Message, Qos, Ticket, Will};
use nowd_plugin::BootInstant;
use nowd_protocol::{Level, PresenceTopic, RequestTopic};
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::identity::{Certificates, Which};
use probe::{Due, Probes};

mod line;
mod movement;
mod presence;
mod probe;
mod refusals;
mod relay;
mod renewal;
mod report;
mod state;
mod told;

use line::Line;
pub(crate) use line::{LineError, RelayOptions, Sender, Way};
pub(crate) use refusals::{Published, Refusal, Refusals, remedy};
use refusals::{QUOTA, is_no_policy};
use renewal::look;
pub(crate) use report::{LinkCounts, LinkReport};
use report::{acknowledge, chain};
use state::{Opening, Session, State, Turn, Up, UpEvent, wait};
use told::Told;

/// A presence that is wrong is put right no more often than this.
const PRESENCE_PAUSE: Duration = Duration::from_secs(1);

/// The gateway's connection to the broker, whichever it is.
pub(crate) struct Uplink {
    way: Way,
    certificates: Option<Certificates>,
    /// Since when no call runs or waits.
    quiet_since: Option<BootInstant>,
    facts: Facts,
    /// Compared with the topic of whatever comes in.
    presence_topic: String,
    backoff: Backoff,
    probes: Probes,
    state: State,
    /// How often it has come round.
    moves: u64,
    /// When this connection was granted its subscription, or when the last one ended or the process began.
    changed: BootInstant,
    last_error: Option<(String, BootInstant)>,
    needs_mending: bool,
    told: Told,
    counts: LinkCounts,
    refusals: Refusals,
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
    /// The probe has come back: nothing that came earlier is still under way. See [`Uplink::probe`].
    ProbeReturned,
    /// The connection has ended. The next one starts clean: nothing old can come on it.
    Down,
}

impl Uplink {
    /// The link of `facts`, which probes its subscription when nothing has come through it for `probe`.
    pub(crate) fn new(way: Way, certificates: Option<Certificates>, facts: Facts, probe: Duration) -> Self {
        let probes = Probes::new(&facts.target, probe, way.silence());
        let mut uplink = Self {
            way,
            certificates,
            quiet_since: Some(BootInstant::now()),
            presence_topic: PresenceTopic(facts.target.clone()).to_string(),
            facts,
            backoff: Backoff::new(),
            probes,
            state: wait(Duration::ZERO),
            moves: 0,
            changed: BootInstant::now(),
            last_error: None,
            needs_mending: false,
            told: Told::default(),
            counts: LinkCounts::default(),
            refusals: Refusals::default(),
        };
        if let Some(certificates) = &mut uplink.certificates {
            certificates.begin();
        }
        uplink.state = State::Opening(uplink.open());
        uplink
    }

    /// The sender of the connection that is up and subscribed, if there is one.
    pub(crate) fn sender(&self) -> Option<&Sender> {
        match &self.state {
            State::Up(up) if up.ready.is_some() => Some(&up.sender),
            State::Up(_) | State::Opening(_) | State::Waiting(_) => None,
        }
    }

    /// Since when requests come to this process and to no other: when the subscription was granted.
    pub(crate) fn since(&self) -> Option<BootInstant> {
        match &self.state {
            State::Up(up) => up.ready,
            State::Opening(_) | State::Waiting(_) => None,
        }
    }

    /// The next event, for ever. May be dropped while waiting; nothing is lost.
    pub(crate) async fn next(&mut self) -> UplinkEvent {
        loop {
            let renewal = self.renewal_due();
            if renewal == Some(Duration::ZERO) {
                self.begin_renewal();
                continue;
            }
            let turn = tokio::select! {
                biased;
                () = look(self.certificates.as_mut()) => continue,
                turn = self.state.turn() => turn,
                () = tokio::time::sleep(renewal.unwrap_or_default()), if renewal.is_some() => continue,
            };
            if let Some(event) = self.turned(turn) {
                return event;
            }
        }
    }

    fn turned(&mut self, turn: Turn) -> Option<UplinkEvent> {
        self.moves = self.moves.wrapping_add(1);
        match (turn, &mut self.state) {
            (Turn::Waited, _) => {
                let opening = self.open();
                self.enter(State::Opening(opening));
                None
            }
            (Turn::Opened(result), State::Opening(Opening { session, which, .. })) => {
                let (session, which) = (session.clone(), which.clone());
                self.opened(result, session, which);
                None
            }
            (Turn::Up(event), State::Up(_)) => self.up(event),
            // A turn is one of the state that it came from.
            (Turn::Opened(_) | Turn::Up(_), _) => None,
        }
    }

    fn opened(&mut self, result: Result<Line, LineError>, session: Session, which: Which) {
        match result {
            Ok(connection) => {
                self.enter(State::Up(Box::new(Up::new(connection, session, which))));
                self.subscribe();
            }
            Err(e) => {
                if let (Some(certificates), Some(e)) = (&mut self.certificates, e.direct()) {
                    certificates.failed(&which, e, &chain(e));
                }
                self.down(&e);
            }
        }
    }

    fn up(&mut self, event: UpEvent) -> Option<UplinkEvent> {
        let State::Up(up) = &mut self.state else { return None };
        match event {
            UpEvent::Link(Ok(event)) => self.heard(event),
            UpEvent::Link(Err(e)) => {
                if e.direct().is_some_and(|e| self.probes.ended(&up.loopback, e)) {
                    let topic = self.probes.pattern();
                    self.refused(
                        Published::Probe,
                        &topic,
                        "it ends the connection instead of taking a message",
                    );
                }
                let State::Up(up) = &mut self.state else { return None };
                if up.was_good() {
                    self.backoff.reset();
                }
                if let Some(successor) = up.successor.take() {
                    // The broker ends the old connection when the new one is there.
                    self.changed = BootInstant::now();
                    self.enter(State::Opening(successor));
                    return Some(UplinkEvent::Down);
                }
                if up.ready.is_none()
                    && let (Some(certificates), Some(e)) = (&mut self.certificates, e.direct())
                {
                    certificates.failed(&up.which, e, &chain(e));
                }
                self.down(&e);
                Some(UplinkEvent::Down)
            }
            UpEvent::Succeeded(result) => self.succeeded(result),
            UpEvent::Correct => {
                self.correct();
                None
            }
            UpEvent::Probe => {
                if up.loopback.due(&mut self.probes, &up.sender) != Due::Lost {
                    return None;
                }
                let silence_ms = self.way.silence().as_millis();
                warn!(
                    see = "subscription-lost",
                    "{} the subscription to {}: a message of this gateway to itself did not come back within {silence_ms} ms; \
                     connecting anew",
                    self.way.lost(),
                    RequestTopic::filter(&self.facts.target)
                );
                let why = format!("{} the subscription", self.way.lost());
                self.note("subscription_lost", &why);
                self.enter(wait(self.way.settles_in()));
                Some(UplinkEvent::Down)
            }
        }
    }

    /// Sends a message to itself; when it comes back, everything that the broker had sent before has come in.
    ///
    /// Says whether to wait for that. Without a connection nothing can be under way; one that cannot be probed is given
    /// up, and the next one starts clean.
    pub(crate) fn probe(&mut self) -> bool {
        let State::Up(up) = &mut self.state else { return false };
        if up.ready.is_some() && up.loopback.send(&self.probes, &up.sender, true) {
            return true;
        }
        warn!(see = "link-stale", "the link is opened anew, because what it may hold is too old");
        self.note("stale", "what the link held may have been too old");
        self.enter(wait(self.way.settles_in()));
        false
    }

    /// Other methods are on offer: says so where this hash of them is another than before.
    pub(crate) fn set_methods(&mut self, hash: String) {
        if self.facts.methods == hash {
            return;
        }
        self.facts.methods = hash;
        // One that is not online yet will say it when it is.
        if self.since().is_some() {
            self.announce(true);
        }
    }

    /// Says offline, and goodbye.
    pub(crate) async fn close(self) {
        self.announce(false);
        if let State::Up(up) = self.state {
            up.connection.close().await;
        }
    }

    fn enter(&mut self, state: State) {
        self.moves = self.moves.wrapping_add(1);
        self.state = state;
    }

    fn open(&self) -> Opening {
        let session = Session { id: Uuid::new_v4(), since: BootInstant::now() };
        let mut way = self.way.clone();
        let mut which = Which::InUse;
        if let Way::Direct(options) = &mut way {
            options.will = Some(Will {
                topic: self.presence_topic.clone(),
                payload: self.presence(&session, false).into_bytes(),
                retain: true,
            });
            if let Some(certificates) = &self.certificates {
                let (tls, chosen) = certificates.choose();
                (options.tls, which) = (Some(tls), chosen);
            }
        }
        Opening { session, which, result: Box::pin(Line::open(way)) }
    }

    fn down(&mut self, e: &LineError) {
        let delay = self.backoff.next_delay().max(self.way.settles_in());
        let reason = chain(e);
        self.note(e.kind(), &reason);
        self.needs_mending = e.needs_mending();
        self.told.down(e, &reason, delay);
        self.enter(wait(delay));
        // Perhaps there is a better certificate by then.
        self.look_at_certificates();
    }

    fn subscribe(&mut self) {
        let (requests, presence) = (RequestTopic::filter(&self.facts.target), self.presence_topic.clone());
        let State::Up(up) = &mut self.state else { return };
        match up.sender.subscribe(requests, presence) {
            Ok(ticket) => up.subscription = Some(ticket),
            // The connection has just ended; `next` will say so.
            Err(e) => debug!("the subscription was not sent: {e}"),
        }
    }

    fn heard(&mut self, event: Event) -> Option<UplinkEvent> {
        match event {
            Event::Message(message) if message.topic == self.presence_topic => {
                self.heard_presence(message);
                None
            }
            Event::Message(message) => self.heard_message(message),
            Event::Subscribed { ticket, results } => {
                self.subscribed(ticket, results);
                None
            }
            Event::Acked { ticket, topic, result } => self.acked(ticket, &topic, &result),
            Event::Unsubscribed { .. } | _ => None,
        }
    }

    fn heard_message(&mut self, message: Message) -> Option<UplinkEvent> {
        let State::Up(up) = &mut self.state else { return None };
        let Some(awaited) = up.loopback.heard(&message.topic, &mut self.probes) else {
            return Some(UplinkEvent::Message(message));
        };
        acknowledge(message, "a probe");
        self.taken(Published::Probe);
        awaited.then_some(UplinkEvent::ProbeReturned)
    }

    fn subscribed(&mut self, ticket: Ticket, results: Vec<(String, Result<Qos, String>)>) {
        let State::Up(up) = &mut self.state else { return };
        if up.subscription != Some(ticket) {
            return;
        }
        let requests = RequestTopic::filter(&self.facts.target);
        for (filter, result) in results {
            let Err(reason) = result else { continue };
            let who = self.way.who();
            let by_policy = matches!(self.way, Way::Direct(_)) && !is_no_policy(&reason);
            let what_to_do =
                if by_policy { "let its policy allow it".to_owned() } else { remedy(&reason, &filter) };
            self.told.refused(who, &filter, &reason, &what_to_do);
            if filter == requests {
                let delay = self.backoff.next_delay();
                // A limit that is met says nothing of who we are, and passes.
                let limited = reason == QUOTA;
                if !limited && let Some(certificates) = &mut self.certificates {
                    let why = format!("it may not subscribe to {filter}: {reason}");
                    certificates.turned_down(&up.which, &why);
                }
                let what_to_do = if by_policy { "check the policy" } else { &what_to_do };
                let why = format!("{who} refused the subscription to {filter}: {reason}; {what_to_do}");
                self.note("subscription_refused", &why);
                self.needs_mending = !limited;
                self.enter(wait(delay));
                return;
            }
        }
        up.ready = Some(BootInstant::now());
        self.counts.ups = self.counts.ups.saturating_add(1);
        self.needs_mending = false;
        if let Some(certificates) = &mut self.certificates {
            certificates.accepted(&up.which);
        }
        up.loopback.granted(&self.probes, &up.sender, self.way.may_be_deaf());
        info!(session = %up.session.id, failures = self.told.over(), "the link is up: {} is online", self.facts.target);
        self.announce(true);
    }
}
