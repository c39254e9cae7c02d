//! One connection of a plugin to its bus, from the first message to the last.
//!
//! One loop reads, starts calls, and writes; nothing in it ever waits for a call, so that a slow one delays no other, nor a
//! `Cancel`, however many run. `zbus` has an object server of its own, which would be less code; it starts a task
//! without bound for every message, whoever sends it, and a handler that panics never answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep};
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use super::INTERFACE;
use super::bus::{self, BusError, NameError, wants_reply};
use super::calls::{Asking, Calls, answer};
use super::hosting::Service;
use super::interface::{Asked, read};
use super::out::Out;
use crate::completion::Completion;
use crate::{CancellationToken, Health};

/// How long calls that run may take to end when the plugin is stopped.
pub(super) const FAREWELL: Duration = Duration::from_secs(3);

/// How long the last answers may take to be written, and the name to be given back.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often the plugin's health is looked at, to tell of changes.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// The longest sentence about the plugin's health, in characters.
const MAX_HEALTH_CHARS: usize = 1_000;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// As it should: stopped, with the name given back.
    Stopped,
    /// The name could not be had.
    Name(NameError),
    /// The bus is gone, or has taken the name away; whether the plugin had its name until then.
    Lost { named: bool, why: String },
}

pub(super) struct Session<'a> {
    service: &'a Service,
    calls: &'a mut Calls,
    number: u64,
    out: Out,
    /// Whether the name is ours.
    named: bool,
    /// The health that was told last.
    health: Option<Health>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        service: &'a Service,
        calls: &'a mut Calls,
        number: u64,
        connection: &Connection,
    ) -> Self {
        Self { service, calls, number, out: Out::new(connection.clone()), named: false, health: None }
    }

    /// Serves until the bus is gone, or until `stop`: then calls that run may end first.
    pub(super) async fn run(mut self, mut stream: MessageStream, stop: &CancellationToken) -> Ending {
        let connection = Connection::from(&stream);
        let ending = self.serve(&connection, &mut stream, stop).await;
        self.calls.cancel_all();
        if matches!(ending, Ending::Stopped) {
            let name = self.service.name().to_owned();
            tokio::select! {
                released = bus::release(&connection, &name) => {
                    if let Err(e) = released {
                        tracing::debug!(error = %e, "the name was not given back");
                    }
                }
                // Also the connection's end gives it back.
                () = sleep(LAST_WORDS) => {}
                () = drain(&mut stream) => {}
            }
        }
        drop(stream);
        tokio::select! {
            closed = connection.close() => {
                if let Err(e) = closed {
                    tracing::debug!(error = %e, "closing the connection failed");
                }
            }
            () = sleep(LAST_WORDS) => {}
        }
        ending
    }

    async fn serve(
        &mut self,
        connection: &Connection,
        stream: &mut MessageStream,
        stop: &CancellationToken,
    ) -> Ending {
        let mut naming = pin!(bus::introduce(connection.clone(), self.service.name().to_owned()));
        let mut asked_for_name = false;
        let mut looks = interval(HEALTH_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        let mut time_is_up = pin!(sleep(Duration::MAX));
        loop {
            if stopping && self.calls.running() == 0 && self.out.is_empty() {
                return Ending::Stopped;
            }
            tokio::select! {
                next = stream.next() => match next {
                    Some(Ok(message)) => {
                        if bus::lost_name(&message).is_some_and(|name| name == self.service.name()) {
                            return self.lost("the bus took the name away".into());
                        }
                        self.hear(&message);
                    }
                    Some(Err(e)) => return self.lost(e.to_string()),
                    None => return self.lost("the connection ended".into()),
                },
                (asked, completion) = self.calls.next() => self.ended(&asked, completion),
                written = self.out.progress() => {
                    if let Err(e) = written {
                        return self.lost(written_words(&e));
                    }
                }
                named = &mut naming, if !asked_for_name => {
                    asked_for_name = true;
                    match named {
                        Ok(()) => self.begin(),
                        Err(e) => return Ending::Name(e),
                    }
                }
                _ = looks.tick(), if self.named && !stopping => self.look_at_health(),
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.calls.refuse_more();
                    time_is_up.set(sleep(FAREWELL));
                }
                () = &mut time_is_up, if stopping => {
                    if self.calls.running() == 0 {
                        return Ending::Stopped;
                    }
                    for (asked, completion) in self.calls.abandon() {
                        self.ended(&asked, completion);
                    }
                    time_is_up.set(sleep(LAST_WORDS));
                }
            }
        }
    }

    fn lost(&self, why: String) -> Ending {
        Ending::Lost { named: self.named, why }
    }

    fn begin(&mut self) {
        self.named = true;
        self.health = Some(self.service.health());
        tracing::info!(name = self.service.name(), "ready on {}", self.service.bus().called());
    }

    /// Never waits.
    fn hear(&mut self, message: &Message) {
        match message.message_type() {
            Type::MethodCall => self.asked(message),
            Type::Signal => {
                if let Some(gone) = bus::leaver(message) {
                    self.calls.cancel_of(self.number, &gone);
                }
            }
            Type::MethodReturn | Type::Error => {}
        }
    }

    fn asked(&mut self, message: &Message) {
        let header = message.header();
        let built = match read(message, self.service.path()) {
            Asked::Invoke(invocation) => {
                let asked = Asking { session: self.number, message: message.clone() };
                if let Err(refusal) = self.calls.start(invocation, asked, self.out.unsent())
                    && let Some(reply) = reply(message, refusal)
                {
                    self.out.refusal(reply);
                }
                return;
            }
            Asked::Cancel(id) => {
                self.calls.cancel(&id);
                Message::method_return(&header).build(&())
            }
            Asked::Describe => Message::method_return(&header).build(&self.service.description()),
            Asked::Health => Message::method_return(&header).build(&self.service.health().words()),
            Asked::Text(text) => Message::method_return(&header).build(&text),
            Asked::Ping => Message::method_return(&header).build(&()),
            Asked::Wrong(error, why) => Message::error(&header, error).build(&why),
        };
        match built {
            Ok(reply) if wants_reply(message) => {
                self.out.other(reply);
            }
            Ok(_) => {}
            Err(e) => tracing::debug!(error = %e, "a message could not be answered"),
        }
    }

    fn ended(&mut self, asked: &Asking, completion: Completion) {
        if asked.session != self.number {
            tracing::debug!("a call has ended whose caller is gone");
            return;
        }
        if let Some(reply) = reply(&asked.message, completion) {
            self.out.answer(reply);
        }
    }

    /// Who asks hears of a change; who does not asks again after this.
    fn look_at_health(&mut self) {
        let health = self.service.health();
        if self.health.as_ref() == Some(&health) {
            return;
        }
        match Message::signal(self.service.path(), INTERFACE, "Changed").build(&()) {
            Ok(signal) => {
                if self.out.other(signal) {
                    self.health = Some(health);
                }
            }
            Err(e) => tracing::debug!(error = %e, "a change could not be told"),
        }
    }
}

impl Service {
    fn health(&self) -> Health {
        // Plugins are other people's code.
        let health = catch_unwind(AssertUnwindSafe(|| self.plugin().health()))
            .unwrap_or_else(|_| Health::Failed("the plugin panicked when it was asked".into()));
        let text = |why: String| why.chars().filter(|c| *c != '\0').take(MAX_HEALTH_CHARS).collect();
        match health {
            Health::Ok => Health::Ok,
            Health::Degraded(why) => Health::Degraded(text(why)),
            Health::Failed(why) => Health::Failed(text(why)),
        }
    }
}

/// The answer to an `Invoke`, if it is waited for.
fn reply(message: &Message, completion: Completion) -> Option<Message> {
    let answer = answer(completion);
    let body = (&answer.status, &answer.outcome, &answer.response_json);
    let built = Message::method_return(&message.header()).build(&body);
    match built {
        Ok(reply) => wants_reply(message).then_some(reply),
        Err(e) => {
            tracing::error!(see = "bug", error = %e, "the answer of a call could not be written");
            None
        }
    }
}

fn written_words(error: &BusError) -> String {
    format!("nothing could be written: {error}")
}

/// A connection that nobody reads answers nothing.
async fn drain(stream: &mut MessageStream) {
    while let Some(Ok(_)) = stream.next().await {}
}
