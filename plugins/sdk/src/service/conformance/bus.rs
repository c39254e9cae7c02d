//! A connection to the bus, and one question after the other, or many at once. Whatever comes back, and when, it ends: an answer
//! that is too long is dropped as it comes, and one that is late is not waited for. Starts no service.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use zbus::message::{Flags, Message, Type};
use zbus::zvariant::DynamicType;
use zbus::{Connection, MessageStream};

use crate::BootInstant;
use crate::bus::BusAddress;
use crate::service::{INTERFACE, MAX_MESSAGE_LEN};

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long the bus itself may take.
const BUS_LIMIT: Duration = Duration::from_secs(5);

const BUS_NAME: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// What came of a question.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    Return(Message),
    Error {
        name: String,
        message: String,
        /// Whether the bus says it, not the plugin.
        by_bus: bool,
    },
    TooLong(usize),
    Silence(Duration),
    /// The connection to the bus is gone.
    Broken,
}

/// What came, and how long it took.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) heard: Heard,
    pub(super) took: Duration,
    pub(super) at: BootInstant,
}

impl Asked {
    /// That nothing came, in words. An error is an answer too.
    pub(super) fn silent(&self) -> Option<String> {
        match &self.heard {
            Heard::Silence(limit) => Some(format!("no answer within {limit:?}")),
            Heard::Broken => Some("the connection to the bus broke".into()),
            Heard::Return(_) | Heard::Error { .. } | Heard::TooLong(_) => None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<NonZeroU32, oneshot::Sender<(Heard, BootInstant)>>,
    closed: bool,
}

/// A connection of the test's own.
#[derive(Debug)]
pub(super) struct Client {
    connection: Connection,
    state: Arc<Mutex<State>>,
    /// Reads; ends with this.
    _reading: JoinSet<()>,
}

impl Client {
    pub(super) async fn connect(bus: &BusAddress) -> Result<Self, String> {
        let connection = tokio::select! {
            built = bus.connection().build() => built.map_err(|e| clip(&e.to_string(), 200))?,
            () = tokio::time::sleep(CONNECT_LIMIT) => {
                return Err(format!("it took longer than {} s", CONNECT_LIMIT.as_secs()));
            }
        };
        let state = Arc::new(Mutex::new(State::default()));
        let mut stream = MessageStream::from(&connection);
        let mut reading = JoinSet::new();
        let shared = Arc::clone(&state);
        reading.spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                dispatch(&shared, message);
            }
            let mut state = lock(&shared);
            state.closed = true;
            // Whoever waits hears that it is gone.
            state.pending.clear();
        });
        Ok(Self { connection, state, _reading: reading })
    }

    /// Sends and waits for what comes back, `limit` in all.
    pub(super) async fn ask(&self, message: &Message, limit: Duration) -> Asked {
        let begun = BootInstant::now();
        let serial = message.primary_header().serial_num();
        let (heard, at) = tokio::select! {
            heard = self.send(message, serial) => heard,
            () = tokio::time::sleep(limit) => (Heard::Silence(limit), BootInstant::now()),
        };
        lock(&self.state).pending.remove(&serial);
        Asked { heard, took: at.saturating_since(begun), at }
    }

    async fn send(&self, message: &Message, serial: NonZeroU32) -> (Heard, BootInstant) {
        let broken = || (Heard::Broken, BootInstant::now());
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if state.closed {
                return broken();
            }
            state.pending.insert(serial, sender);
        }
        if self.connection.send(message).await.is_err() {
            return broken();
        }
        receiver.await.unwrap_or_else(|_| broken())
    }

    /// Asks the bus itself for a text or a number about `name`.
    async fn bus<T>(&self, member: &'static str, name: &str) -> Option<T>
    where
        T: serde::de::DeserializeOwned + zbus::zvariant::Type,
    {
        let message = method_call(BUS_NAME, BUS_PATH, BUS_NAME, member).build(&name).ok()?;
        match self.ask(&message, BUS_LIMIT).await.heard {
            Heard::Return(reply) => reply.body().deserialize().ok(),
            Heard::Error { .. } | Heard::TooLong(_) | Heard::Silence(_) | Heard::Broken => None,
        }
    }

    /// The unique name of whoever owns `name`.
    pub(super) async fn owner(&self, name: &str) -> Option<String> {
        self.bus("GetNameOwner", name).await
    }

    /// The process of whoever owns `name`.
    pub(super) async fn process_id(&self, name: &str) -> Option<u32> {
        self.bus("GetConnectionUnixProcessID", name).await
    }

    /// Whether the bus's policy keeps this test from calling whoever owns `name`. Asks for its health, which moves nothing.
    pub(super) async fn is_denied(&self, name: &str, path: &str, limit: Duration) -> bool {
        let Ok(message) = method_call(name, path, INTERFACE, "Health").build(&()) else { return false };
        let heard = self.ask(&message, limit).await.heard;
        matches!(heard, Heard::Error { by_bus: true, name, .. } if name == "org.freedesktop.DBus.Error.AccessDenied")
    }

    /// The user of whoever owns `name`.
    pub(super) async fn user_id(&self, name: &str) -> Option<u32> {
        self.bus("GetConnectionUnixUser", name).await
    }

    pub(super) fn is_broken(&self) -> bool {
        lock(&self.state).closed
    }
}

/// The state. It is only ever changed in whole steps, so a panic elsewhere leaves it good.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn dispatch(state: &Mutex<State>, message: Message) {
    let at = BootInstant::now();
    let Some(serial) = message.header().reply_serial() else { return };
    let Some(taker) = lock(state).pending.remove(&serial) else { return };
    let len = message.data().len();
    let heard = match message.message_type() {
        _ if len > MAX_MESSAGE_LEN => Heard::TooLong(len),
        Type::MethodReturn => Heard::Return(message),
        Type::Error => {
            let header = message.header();
            let name =
                header.error_name().map_or_else(|| "an error without a name".into(), ToString::to_string);
            let text = message.body().deserialize::<String>().unwrap_or_default();
            let by_bus = header.sender().is_some_and(|sender| sender.as_str() == BUS_NAME);
            Heard::Error { name: clip(&name, 200), message: clip(&text, 300), by_bus }
        }
        Type::MethodCall | Type::Signal => return,
    };
    // Nobody takes it when it was given up.
    drop(taker.send((heard, at)));
}

/// The start of a method call that starts no service.
pub(super) fn method_call<'a>(
    destination: &'a str,
    path: &'a str,
    interface: &'a str,
    member: &'a str,
) -> zbus::message::Builder<'a> {
    // Wrong names come out when it is built.
    Message::method_call(path, member)
        .destination(destination)
        .interface(interface)
        .with_flags(Flags::NO_AUTO_START)
}

/// A method call with its arguments.
pub(super) fn message<B: Serialize + DynamicType>(
    destination: &str,
    path: &str,
    interface: &str,
    member: &str,
    body: &B,
) -> Result<Message, String> {
    method_call(destination, path, interface, member).build(body).map_err(|e| clip(&e.to_string(), 200))
}

/// At most `most` characters, none of which moves the cursor.
pub(super) fn clip(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut clipped: String = text.chars().take(most).map(plain).collect();
    if text.chars().nth(most).is_some() {
        clipped.push_str("...");
    }
    clipped
}
