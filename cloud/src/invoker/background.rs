//! Keeps the one connection to the broker open, and carries events to the core and its actions to the link.
//!
//! It decides nothing about a call. Whatever happens to the broker it goes on, until it is told to stop.
//!
//! A process that may be stood still (`Config::freezes`) does not know afterwards whether its connection still is one. It
//! then asks, by a message to itself, and dials another connection at the same time; what comes first is used, and the
//! other given up. The core sends no call on a connection that is in doubt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nowd_link::{Ack, Backoff, Connection, Event, Options, Qos, Ticket};
use nowd_protocol::{Level, ReplyTopic, Request, Status, Uuid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::answer::Answer;
use super::calls::{Core, NewCall};
use super::deliver::Delivered;
use super::dial::{Dial, DialError, Dialling};
use crate::clock::{Alarm, BootInstant, sleep_until};

mod desk;
mod pulse;
mod thaw;

use desk::Desk;
use pulse::Pulse;

/// Somebody waits for an answer: no pause between two attempts to connect is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A process that is stood still between two calls has only the time of a call to connect in.
const LONGEST_PAUSE_OF_A_CALL: Duration = Duration::from_millis(500);
/// So often: what does not work then is not going to work soon.
const HURRIED_ATTEMPTS: u32 = 20;
/// A connection that held this long was a good one, and the next attempt comes soon.
const LASTED: Duration = Duration::from_secs(10);
/// How many may wait for the answer of one call, having repeated it.
const MOST_JOINED: usize = 16;

/// What an [`super::Invoker`] asks for.
pub(crate) enum Command {
    Call(Box<NewCall>, oneshot::Sender<Answer>),
    Gone(Uuid),
}

/// The work behind an [`super::Invoker`]: nothing happens unless somebody runs it.
#[must_use = "no call is made unless this runs"]
pub struct Background {
    core: Core,
    options: Options,
    dial: Arc<dyn Dial>,
    replies: String,
    commands: mpsc::Receiver<Command>,
    desk: Desk,
    phase: Phase,
    /// The connection dialled beside one that is in doubt.
    spare: Option<Phase>,
    /// The message that is to show that the connection works.
    doubt: Option<Ticket>,
    /// Of the message that was heard last.
    unacknowledged: Option<Ack>,
    /// Where this process may be stood still.
    pulse: Option<Pulse>,
    /// How many spares were dialled: each has a client id of its own.
    spares: u32,
    backoff: Backoff,
    failures: u32,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("client", &self.options.client_id).finish_non_exhaustive()
    }
}

/// Where the connection stands.
enum Phase {
    Resting(BootInstant),
    Opening(Dialling),
    /// Connected; replies reach us once this subscription is granted.
    Joining(Box<Connection>, Ticket),
    Up(Box<Connection>, BootInstant),
}

/// What the loop goes round for.
enum Turn {
    Stop,
    Stepped(Step),
    Spare(Step),
    Asked(Option<Command>),
    Delivered((Uuid, u32, Delivered)),
    Time,
}

enum Step {
    Rested,
    Opened(Result<Connection, DialError>),
    Event(Event),
    Ended(DialError),
}

impl Background {
    /// `client` is the return address of `config`'s calls.
    pub(crate) fn new(
        core: Core,
        config: Config,
        client: &Level,
        commands: mpsc::Receiver<Command>,
        connected: watch::Sender<bool>,
    ) -> Self {
        let Config { mut link, dial, delivery, freezes, .. } = config;
        link.client_id = client.to_string();
        link.will = None;
        Self {
            core,
            options: link,
            dial,
            replies: ReplyTopic::filter(client),
            commands,
            desk: Desk::new(connected, delivery),
            phase: Phase::Resting(BootInstant::from_micros(0)),
            spare: None,
            doubt: None,
            unacknowledged: None,
            pulse: freezes.then(Pulse::now),
            spares: 0,
            backoff: Backoff::new(),
            failures: 0,
        }
    }

    /// Works until `stop` is cancelled or every invoker is gone. Calls that still wait are then answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut alarm = Alarm::new();
        loop {
            let wake = self.wake();
            let mut turn = tokio::select! {
                () = stop.cancelled() => Turn::Stop,
                step = step(&mut self.phase) => Turn::Stepped(step),
                step = step_spare(&mut self.spare) => Turn::Spare(step),
                command = self.commands.recv() => Turn::Asked(command),
                delivered = self.desk.delivered() => Turn::Delivered(delivered),
                () = alarm.rings(wake) => Turn::Time,
            };
            // Before anything that came of the time after it.
            if let Some(gap) = self.pulse.as_mut().and_then(Pulse::beat) {
                self.thawed(gap);
                // A step of a handshake that was given up just now.
                if matches!(turn, Turn::Spare(_))
                    || matches!((&turn, &self.phase), (Turn::Stepped(_), Phase::Resting(_)))
                {
                    turn = Turn::Time;
                }
            }
            match turn {
                Turn::Stop | Turn::Asked(None) => break,
                Turn::Stepped(step) => self.stepped(step),
                Turn::Spare(step) => self.spare_stepped(step),
                Turn::Asked(Some(command)) => self.command(command),
                Turn::Delivered((id, attempt, delivered)) => {
                    self.desk.settle(&mut self.core, id, attempt, delivered);
                }
                Turn::Time => {}
            }
            self.core.tick(BootInstant::now(), &mut self.desk);
            // Who waited for an answer goes on before its message is acknowledged, for which the broker has time.
            if std::mem::take(&mut self.desk.answered) {
                tokio::task::yield_now().await;
            }
            if let Some(ack) = self.unacknowledged.take()
                && let Err(error) = ack.send()
            {
                tracing::debug!(%error, "a message could not be acknowledged");
            }
        }
        self.core.stop(BootInstant::now(), &mut self.desk);
        if let Phase::Joining(connection, _) | Phase::Up(connection, _) = self.phase {
            connection.close().await;
        }
    }

    fn wake(&self) -> Option<BootInstant> {
        let core = self.core.next_wake(BootInstant::now());
        let beat = self.pulse.map(|pulse| pulse.next());
        [core, beat].into_iter().flatten().min()
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Call(call, caller) => self.call(*call, caller),
            Command::Gone(id) => {
                if let Some(callers) = self.desk.callers.get_mut(&id) {
                    callers.retain(|caller| !caller.is_closed());
                    if callers.is_empty() {
                        self.desk.callers.remove(&id);
                        self.core.gone(id);
                    }
                }
            }
        }
    }

    fn call(&mut self, call: NewCall, caller: oneshot::Sender<Answer>) {
        let id = call.request.topic.id;
        let Some(waiting) = self.core.waiting_for(id) else {
            self.desk.callers.insert(id, vec![caller]);
            return self.core.submit(BootInstant::now(), call, &mut self.desk);
        };
        let refusal = match self.desk.callers.get_mut(&id) {
            _ if !is_same(waiting, &call.request) => {
                Answer::own(id, Status::Conflict, "this id is in use for another request")
            }
            Some(callers) if callers.len() < MOST_JOINED => return callers.push(caller),
            Some(_) | None => {
                let message = "too many wait for the answer of this call already; it may run";
                Answer::own(id, Status::NoReply, message)
            }
        };
        // A caller that has gone away needs no answer.
        drop(caller.send(refusal));
    }

    fn stepped(&mut self, step: Step) {
        match step {
            Step::Rested => {
                self.phase = Phase::Opening(self.dial.dial(self.options.clone()));
            }
            Step::Opened(Ok(connection)) => {
                match connection.sender().subscribe(&[&self.replies], Qos::AtLeastOnce) {
                    Ok(ticket) => self.phase = Phase::Joining(Box::new(connection), ticket),
                    Err(error) => self.rest(&error),
                }
            }
            Step::Opened(Err(error)) | Step::Ended(error) => self.rest(&*error),
            Step::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: Event) {
        let now = BootInstant::now();
        match event {
            Event::Message(message) => {
                self.unacknowledged = message.ack;
                self.core.message(now, &message.topic, &message.payload, message.retain, &mut self.desk);
            }
            Event::Acked { ticket, result, .. } => {
                if self.doubt == Some(ticket) {
                    self.trust();
                }
                if let Some(about) = self.desk.tickets.remove(&ticket)
                    && let Err(reason) = result
                {
                    self.core.not_taken(now, about, &reason, &mut self.desk);
                }
            }
            Event::Subscribed { ticket, results } => {
                let mut refused = results.iter().filter_map(|(f, r)| Some((f, r.as_ref().err()?)));
                if matches!(self.phase, Phase::Joining(_, joining) if joining == ticket) {
                    match refused.next() {
                        None => {
                            let phase = std::mem::replace(&mut self.phase, Phase::Resting(now));
                            if let Phase::Joining(connection, _) = phase {
                                self.join(connection);
                            }
                        }
                        Some((filter, reason)) => {
                            let problem =
                                format!("the broker refused the subscription to {filter}: {reason}");
                            self.rest(&*Box::<dyn std::error::Error>::from(problem));
                        }
                    }
                } else {
                    self.desk.subscribing = None;
                    for (filter, reason) in refused {
                        self.core.not_subscribed(now, filter, reason, &mut self.desk);
                    }
                }
            }
            // Nothing that matters here.
            Event::Unsubscribed { .. } | _ => {}
        }
    }

    /// Replies reach us over `connection`.
    fn join(&mut self, connection: Box<Connection>) {
        let now = BootInstant::now();
        self.desk.sender = Some(connection.sender());
        self.phase = Phase::Up(connection, now);
        self.failures = 0;
        tracing::info!(client = %self.options.client_id, host = %self.options.host, "connected to the broker");
        self.desk.connected.send_replace(true);
        self.core.connected(now, &mut self.desk);
    }

    /// There is no connection: to be tried again after a pause, unless another one is being dialled already.
    fn rest(&mut self, error: &(dyn std::error::Error + 'static)) {
        let now = BootInstant::now();
        if let Phase::Up(_, since) = self.phase
            && now.saturating_since(since) >= LASTED
        {
            self.backoff.reset();
        }
        if self.failures == 0 {
            tracing::warn!(error, "not connected to the broker; trying again for ever");
        } else {
            tracing::debug!(error, failures = self.failures, "still not connected to the broker");
        }
        self.failures = self.failures.saturating_add(1);
        let spare = self.spare.take();
        self.left(now);
        self.phase = spare.unwrap_or_else(|| {
            let hurries = self.pulse.is_some() && self.failures < HURRIED_ATTEMPTS;
            let longest = if hurries { LONGEST_PAUSE_OF_A_CALL } else { LONGEST_PAUSE };
            Phase::Resting(now.saturating_add(self.backoff.next_delay().min(longest)))
        });
    }

    /// The connection is no more.
    fn left(&mut self, now: BootInstant) {
        self.phase = Phase::Resting(now);
        self.spare = None;
        self.doubt = None;
        self.desk.disconnect();
        self.core.disconnected();
    }
}

/// Whether two requests are one call.
fn is_same(one: &Request, other: &Request) -> bool {
    let method = |request: &Request| (request.topic.target.clone(), request.topic.method.clone());
    method(one) == method(other) && one.request.get() == other.request.get() && one.caller == other.caller
}

/// May be dropped while it waits; nothing is lost.
async fn step(phase: &mut Phase) -> Step {
    match phase {
        Phase::Resting(until) => {
            sleep_until(Some(*until)).await;
            Step::Rested
        }
        Phase::Opening(opening) => Step::Opened(opening.await),
        Phase::Joining(connection, _) | Phase::Up(connection, _) => match connection.next().await {
            Ok(event) => Step::Event(event),
            Err(error) => Step::Ended(error.into()),
        },
    }
}

/// As [`step`]; for ever where there is none.
async fn step_spare(spare: &mut Option<Phase>) -> Step {
    match spare {
        Some(phase) => step(phase).await,
        None => std::future::pending().await,
    }
}
