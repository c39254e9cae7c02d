//! Keeps the one connection to the broker open, and carries events to the core and its actions to the link.
//!
//! It decides nothing about a call. Whatever happens to the broker it goes on, until it is told to stop.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nowd_link::{Backoff, Connection, Event, Options, Publish, Qos, SendError, Sender, Ticket};
use nowd_protocol::{Level, ReplyTopic, Request, Status, Uuid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::calls::{About, Core, NewCall, Wire};
use super::dial::{Dial, DialError, Dialling};
use crate::clock::{BootInstant, sleep_until};

/// Somebody waits for an answer: no pause between two attempts to connect is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
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

enum Step {
    Rested,
    Opened(Result<Connection, DialError>),
    Event(Event),
    Ended(DialError),
}

/// The waiting callers and the sending half of the connection.
struct Desk {
    sender: Option<Sender>,
    /// The SUBSCRIBE that has no answer yet. rumqttc numbers packets within the small window of publishes under way, so
    /// that two at once may bear the same number.
    subscribing: Option<Ticket>,
    tickets: HashMap<Ticket, About>,
    callers: HashMap<Uuid, Vec<oneshot::Sender<Answer>>>,
    connected: watch::Sender<bool>,
}

impl Desk {
    fn new(connected: watch::Sender<bool>) -> Self {
        Self { sender: None, subscribing: None, tickets: HashMap::new(), callers: HashMap::new(), connected }
    }
}

impl Background {
    pub(crate) fn new(
        core: Core,
        options: Options,
        dial: Arc<dyn Dial>,
        client: &Level,
        commands: mpsc::Receiver<Command>,
        connected: watch::Sender<bool>,
    ) -> Self {
        Self {
            core,
            options,
            dial,
            replies: ReplyTopic::filter(client),
            commands,
            desk: Desk::new(connected),
            phase: Phase::Resting(BootInstant::from_micros(0)),
            backoff: Backoff::new(),
            failures: 0,
        }
    }

    /// Works until `stop` is cancelled or every invoker is gone. Calls that still wait are then answered.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let wake = self.core.next_wake(BootInstant::now());
            tokio::select! {
                () = stop.cancelled() => break,
                step = step(&mut self.phase) => self.stepped(step),
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                () = sleep_until(wake) => {}
            }
            self.core.tick(BootInstant::now(), &mut self.desk);
        }
        self.core.stop(BootInstant::now(), &mut self.desk);
        if let Phase::Joining(connection, _) | Phase::Up(connection, _) = self.phase {
            connection.close().await;
        }
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
                if let Some(ack) = message.ack
                    && let Err(error) = ack.send()
                {
                    tracing::debug!(%error, "a message could not be acknowledged");
                }
                self.core.message(now, &message.topic, &message.payload, message.retain, &mut self.desk);
            }
            Event::Acked { ticket, result } => {
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
                        None => self.join(now),
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

    fn join(&mut self, now: BootInstant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Resting(now));
        if let Phase::Joining(connection, _) = phase {
            self.desk.sender = Some(connection.sender());
            self.phase = Phase::Up(connection, now);
            self.failures = 0;
            tracing::info!(client = %self.options.client_id, host = %self.options.host, "connected to the broker");
            self.desk.connected.send_replace(true);
            self.core.connected(now, &mut self.desk);
        }
    }

    /// There is no connection: to be tried again after a pause.
    fn rest(&mut self, error: &(dyn std::error::Error + 'static)) {
        let now = BootInstant::now();
        if let Phase::Up(_, since) = self.phase
            && now.saturating_since(since) >= LASTED
        {
            self.backoff.reset();
        }
        let pause = self.backoff.next_delay().min(LONGEST_PAUSE);
        if self.failures == 0 {
            tracing::warn!(error, "not connected to the broker; trying again for ever");
        } else {
            tracing::debug!(error, failures = self.failures, "still not connected to the broker");
        }
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Resting(now.saturating_add(pause));
        self.desk.sender = None;
        self.desk.subscribing = None;
        self.desk.tickets.clear();
        self.desk.connected.send_replace(false);
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

impl Wire for Desk {
    fn publish(&mut self, publish: Publish, about: About) -> Result<(), SendError> {
        let ticket = self.sender.as_ref().ok_or(SendError::NotConnected)?.publish(publish)?;
        self.tickets.insert(ticket, about);
        Ok(())
    }

    fn can_subscribe(&self) -> bool {
        self.sender.is_some() && self.subscribing.is_none()
    }

    fn subscribe(&mut self, filters: &[String]) -> Result<(), SendError> {
        let sender = self.sender.as_ref().ok_or(SendError::NotConnected)?;
        self.subscribing = Some(sender.subscribe(filters, Qos::AtLeastOnce)?);
        Ok(())
    }

    fn unsubscribe(&mut self, filter: &str) {
        if let Some(sender) = &self.sender
            && let Err(error) = sender.unsubscribe(filter)
        {
            tracing::debug!(filter, %error, "a presence stays subscribed to");
        }
    }

    fn answer(&mut self, answer: Answer) {
        for caller in self.callers.remove(&answer.id).into_iter().flatten() {
            // A caller that has gone away needs no answer.
            drop(caller.send(answer.clone()));
        }
    }
}
