//! `io.nowd.Gateway1`: what is asked over the bus, and what is answered. Each question has a task of its own, so that none
//! waits for another; there is a bound to how many there are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::bus::lost_its_body;
use nowd_plugin::clock::from_boottime_micros;
use nowd_plugin::{BootInstant, CancellationToken};
use nowd_protocol::{Level, MAX_PAYLOAD_LEN, MAX_TIMEOUT_MS, RawValue, Uuid};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zbus::Connection;
use zbus::message::{Flags, Message, Type};
use zbus::zvariant::DynamicType;

use super::access::Access;
use super::link::{LIMIT, MAX_MESSAGE_LEN};
use super::places::Places;
use super::refused::Refused;
use super::status::StatusReport;
use super::watch::{self, Watchers};
use super::{Ask, LocalCall, NAME, PATH};
use crate::cli::methods::listed;
use crate::lockout::{self, LockError, check_reason};
use crate::metrics;

/// How many may be under way and being refused; more are not even answered.
const MOST_REFUSED: usize = 256;

/// How far ahead the deadline of a call may lie.
const LONGEST: Duration = Duration::from_millis(MAX_TIMEOUT_MS);

/// The contract.
const XML: &str = include_str!("../../interfaces/io.nowd.Gateway1.xml");

/// What every object on a bus has.
const STANDARD: &str = r#"  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
  </interface>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect"><arg name="xml" type="s" direction="out"/></method>
  </interface>
"#;

/// One connection on which the gateway is there.
#[derive(Debug)]
pub(super) struct Served {
    connection: Connection,
    access: Access,
    watchers: Watchers,
    asks: mpsc::Sender<Ask>,
    state_dir: PathBuf,
    since: BootInstant,
    places: Arc<Places>,
    /// The bus takes nothing any more.
    dead: CancellationToken,
}

/// What is answered.
enum Answer {
    Nothing,
    Text(String),
    Flag(bool),
}

impl Served {
    pub(super) fn new(
        connection: Connection,
        access: Access,
        watchers: Watchers,
        asks: mpsc::Sender<Ask>,
        state_dir: PathBuf,
        since: BootInstant,
    ) -> Self {
        let (places, dead) = (Arc::default(), CancellationToken::new());
        Self { connection, access, watchers, asks, state_dir, since, places, dead }
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) const fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Ends when the bus takes nothing any more.
    pub(super) async fn given_up(&self) {
        self.dead.cancelled().await;
    }

    /// Takes a message. Never waits.
    pub(super) fn heard(self: Arc<Self>, message: Message, tasks: &mut JoinSet<()>) {
        match message.message_type() {
            Type::MethodCall if tasks.len() < MOST_REFUSED => {
                let place = self.places.take(&message);
                tasks.spawn(async move {
                    let answer = match &place {
                        Some(_place) => self.answer(&message).await,
                        None => Err(Refused::TooMuch(
                            "as many questions as may be are under way; nothing was done",
                        )),
                    };
                    self.reply(&message, answer).await;
                });
            }
            Type::Signal => {
                if let Some(name) = left(&message).filter(|name| self.watchers.remove(name)) {
                    tasks.spawn(async move { self.forget(&name).await });
                }
            }
            // The connection hands replies to those who wait for them.
            Type::MethodCall | Type::MethodReturn | Type::Error => {}
        }
    }

    async fn answer(&self, message: &Message) -> Result<Answer, Refused> {
        let header = message.header();
        let member = header.member().map(|member| member.as_str().to_owned()).unwrap_or_default();
        let path = header.path().map(|path| path.as_str().to_owned()).unwrap_or_default();
        match header.interface().map(zbus::names::InterfaceName::as_str) {
            Some("org.freedesktop.DBus.Peer") if member == "Ping" => return Ok(Answer::Nothing),
            Some("org.freedesktop.DBus.Introspectable") if member == "Introspect" => {
                return introspect(&path).map(Answer::Text).ok_or(Refused::NoObject(path));
            }
            None | Some(NAME) => {}
            Some(_) => return Err(Refused::NoMethod(member)),
        }
        if path != PATH {
            return Err(Refused::NoObject(path));
        }
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        let user = self.access.of(&self.connection, &sender).await.ok_or(Refused::NotServed)?;
        match member.as_str() {
            "Call" => self.call(message, &user).await.map(Answer::Text),
            "Methods" => self.methods().await.map(Answer::Text),
            "Status" => self.status().await.map(Answer::Text),
            "Metrics" => self.metrics().await.map(Answer::Text),
            "Lock" => self.lock(body(message)?, &user).await,
            "Unlock" => self.unlock(&user).await.map(Answer::Flag),
            "Reload" => Ok(Answer::Text(self.ask(Ask::Reload).await??)),
            "Watch" => self.watch(sender).await,
            "Unwatch" => {
                if self.watchers.remove(&sender) {
                    self.forget(&sender).await;
                }
                Ok(Answer::Nothing)
            }
            _ => Err(Refused::NoMethod(member)),
        }
    }

    async fn call(&self, message: &Message, user: &str) -> Result<String, Refused> {
        let (id, method, request, not_after): (String, String, String, u64) = body(message)?;
        let not_after = deadline(not_after)?;
        let wrong = |what: &str, e: &dyn std::fmt::Display| Refused::Arguments(format!("{what}: {e}"));
        let id = if id.is_empty() { Uuid::new_v4() } else { canonical(&id)? };
        let method = Level::new(method).map_err(|e| wrong("method", &e))?;
        if request.len() > MAX_PAYLOAD_LEN {
            let length = request.len();
            return Err(Refused::Arguments(format!(
                "request_json is {length} bytes long; at most {MAX_PAYLOAD_LEN} are allowed"
            )));
        }
        let request = RawValue::from_string(request).map_err(|e| wrong("request_json", &e))?;
        let caller = format!("local:{user}");
        let call = LocalCall { id, method, request, not_after, caller, since: self.since };
        Ok(self.ask(|answer| Ask::Call(Box::new(call), answer)).await??)
    }

    async fn methods(&self) -> Result<String, Refused> {
        let methods = self.ask(Ask::Methods).await?;
        aside(move || listed(&methods)).await
    }

    async fn status(&self) -> Result<String, Refused> {
        let mut snapshot = self.ask(Ask::Status).await?;
        snapshot.ask_plugins().await;
        aside(move || serde_json::to_string(&StatusReport::from(*snapshot)).unwrap_or_default()).await
    }

    async fn metrics(&self) -> Result<String, Refused> {
        let mut snapshot = self.ask(Ask::Status).await?;
        snapshot.ask_plugins().await;
        aside(move || metrics::told(&snapshot)).await
    }

    async fn lock(&self, reason: String, user: &str) -> Result<Answer, Refused> {
        let reason = check_reason(&reason).map_err(Refused::Arguments)?;
        let folder = self.state_dir.clone();
        let by = format!("local:{user}");
        let who = by.clone();
        aside(move || lockout::lock(&folder, &reason, &who)).await?.map_err(|e| match e {
            LockError::Already { .. } => Refused::Locked(e.to_string()),
            LockError::File(e) => self.not("locked", &e),
        })?;
        // What waits is refused now, not at the next heartbeat.
        self.ask(|answer| Ask::Look(by, answer)).await.map(|()| Answer::Nothing)
    }

    async fn unlock(&self, user: &str) -> Result<bool, Refused> {
        let folder = self.state_dir.clone();
        let was = aside(move || lockout::unlock(&folder)).await?.map_err(|e| self.not("unlocked", &e))?;
        let by = format!("local:{user}");
        self.ask(|answer| Ask::Look(by, answer)).await.map(|()| was)
    }

    fn not(&self, what: &str, e: &std::io::Error) -> Refused {
        Refused::Failed(format!("NOT {what}: {} cannot be written: {e}", self.state_dir.display()))
    }

    async fn watch(&self, sender: String) -> Result<Answer, Refused> {
        match self.watchers.add(&sender) {
            None => return Err(Refused::TooMuch("as many watch as may; nobody else can")),
            Some(false) => return Ok(Answer::Nothing),
            Some(true) => {}
        }
        let (rule, name) = (watch::rule(&sender), sender.as_str());
        let asked = self.bus("AddMatch", &rule).await;
        // It may have left before the bus was asked to tell of it.
        let there = self.bus("NameHasOwner", &name).await.and_then(|reply| reply.body().deserialize().ok());
        if asked.is_none() || there != Some(true) {
            self.watchers.remove(&sender);
            self.forget(&sender).await;
            return Err(Refused::Failed("the bus does not say when a watcher leaves".into()));
        }
        Ok(Answer::Nothing)
    }

    async fn forget(&self, name: &str) {
        drop(self.bus("RemoveMatch", &watch::rule(name)).await);
    }

    async fn bus<B: Serialize + DynamicType + Sync>(&self, member: &str, body: &B) -> Option<Message> {
        const BUS: &str = "org.freedesktop.DBus";
        let path = "/org/freedesktop/DBus";
        self.connection.call_method(Some(BUS), path, Some(BUS), member, body).await.ok()
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(ask(answer)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => {
                Refused::TooMuch("the gateway is asked more than it can answer; nothing was done")
            }
            mpsc::error::TrySendError::Closed(_) => Refused::Stopping,
        })?;
        answered.await.map_err(|_| if self.asks.is_closed() { Refused::Stopping } else { Refused::NoAnswer })
    }

    async fn reply(&self, message: &Message, answer: Result<Answer, Refused>) {
        let header = message.header();
        if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return;
        }
        let reply = async {
            match answer {
                Ok(Answer::Nothing) => self.connection.reply(&header, &()).await,
                Ok(Answer::Text(text)) => self.connection.reply(&header, &text).await,
                Ok(Answer::Flag(flag)) => self.connection.reply(&header, &flag).await,
                Err(e) => self.connection.reply_error(&header, e.name(), &e.to_string()).await,
            }
        };
        tokio::select! {
            sent = reply => if let Err(e) = sent { tracing::debug!("an answer was not sent over the bus: {e}") },
            // Half of a message may have been written: the rest must go with the connection.
            () = tokio::time::sleep(LIMIT) => self.dead.cancel(),
        }
    }
}

/// The arguments of a method call.
fn body<T: serde::de::DeserializeOwned + zbus::zvariant::Type>(message: &Message) -> Result<T, Refused> {
    if lost_its_body(message) {
        let why = format!("the arguments are longer than the {MAX_MESSAGE_LEN} bytes that are read");
        return Err(Refused::Arguments(why));
    }
    message.body().deserialize().map_err(|e| {
        let found = message.header().signature().to_string();
        Refused::Arguments(format!("the arguments are {found:?}, which is not what the interface says: {e}"))
    })
}

/// The deadline of a call, which nobody else can say: one that was frozen on its way must be too late.
fn deadline(not_after_us: u64) -> Result<BootInstant, Refused> {
    let wrong = |what: &str| {
        Refused::Arguments(format!(
            "not_after_us {what}; say until when the call may be started, in microseconds of CLOCK_BOOTTIME (`nowd call` does)"
        ))
    };
    if not_after_us == 0 {
        return Err(wrong("is 0"));
    }
    let at = from_boottime_micros(not_after_us);
    if at.saturating_since(BootInstant::now()) > LONGEST {
        return Err(wrong("lies more than an hour ahead"));
    }
    Ok(at)
}

fn canonical(id: &str) -> Result<Uuid, Refused> {
    let parsed = Uuid::try_parse(id).ok().filter(|parsed| parsed.hyphenated().to_string() == id);
    parsed.ok_or_else(|| {
        Refused::Arguments(format!(
            "id: {id:?} is no UUID in canonical lower case, such as 0b6c1e0e-7e4b-4b3e-9c0a-3f6d8f1a2b3c"
        ))
    })
}

/// What waits for the disk, or takes its time, does so beside the gateway's thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refused::Failed("it failed, which is a bug".into()))
}

/// The unique name that has left the bus.
fn left(message: &Message) -> Option<String> {
    let header = message.header();
    let is_change = header.sender().is_some_and(|sender| sender.as_str() == "org.freedesktop.DBus")
        && header.member().is_some_and(|member| member.as_str() == "NameOwnerChanged");
    if !is_change {
        return None;
    }
    let (name, _, new): (String, String, String) = message.body().deserialize().ok()?;
    new.is_empty().then_some(name)
}

/// What is at this path.
fn introspect(path: &str) -> Option<String> {
    if path == PATH {
        return XML.rsplit_once("</node>").map(|(before, _)| format!("{before}{STANDARD}</node>\n"));
    }
    let rest = PATH.strip_prefix(path.trim_end_matches('/'))?.strip_prefix('/')?;
    let child = rest.split('/').next()?;
    Some(format!("<node>\n{STANDARD}  <node name=\"{child}\"/>\n</node>\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_around_finds_the_gateway() {
        for (path, expected) in [
            ("/", Some("<node name=\"io\"/>")),
            ("/io", Some("<node name=\"nowd\"/>")),
            ("/io/nowd", Some("<node name=\"Gateway1\"/>")),
            (PATH, Some("<interface name=\"io.nowd.Gateway1\">")),
            ("/io/now", None),
            ("/io/nowd/Gateway1/x", None),
            ("", Some("<node name=\"io\"/>")),
        ] {
            let found = introspect(path);
            assert_eq!(found.is_some(), expected.is_some(), "{path}");
            assert!(found.is_none_or(|xml| xml.contains(expected.unwrap())), "{path}");
        }
    }
}
