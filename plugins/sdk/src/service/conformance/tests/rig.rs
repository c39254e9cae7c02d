//! Plugins written on bare messages, so that they can be wrong in any way: one that is right, and one for each mistake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, MessageStream};

use super::super::exchange;
use crate::service::{INTERFACE, XML};

pub(super) const NAME: &str = "com.example.Gate";
pub(super) const PATH: &str = "/com/example/Gate";

/// How a plugin is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Nothing,
    Mute,
    IgnoresDeadline,
    WallClock,
    AnswersNonsense,
    ContradictsItself,
    DescribesMore,
    TooManyMethods,
    HugeAnswers,
    DiesOnGarbage,
    BusyWithCalls,
    NoCancel,
    NoIntrospection,
    ParamsUnchecked,
    DeadlineTooEarly,
    StaysWithoutBus,
    ForgetsFreeze,
    IgnoresTerminate,
    ChangesItsMind,
    UnknownHealth,
    MisspeltStatus,
    EndsInCall,
}

/// Names for the command line of a plugin in a process of its own.
pub(super) const OF_OWN: [(&str, Wrong); 5] = [
    ("nothing", Wrong::Nothing),
    ("forgets-freeze", Wrong::ForgetsFreeze),
    ("stays-without-bus", Wrong::StaysWithoutBus),
    ("ignores-terminate", Wrong::IgnoresTerminate),
    ("ends-in-call", Wrong::EndsInCall),
];

#[derive(Debug)]
pub(super) struct Gate {
    wrong: Wrong,
    pub(super) moved: AtomicU32,
    described: AtomicU32,
    /// In microseconds.
    forgotten: AtomicU64,
    /// Held by a call that runs.
    device: Mutex<()>,
    running: std::sync::Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl Gate {
    pub(super) fn new(wrong: Wrong) -> Arc<Self> {
        Arc::new(Self {
            wrong,
            moved: AtomicU32::new(0),
            described: AtomicU32::new(0),
            forgotten: AtomicU64::new(0),
            device: Mutex::default(),
            running: std::sync::Mutex::default(),
        })
    }

    /// Serves until the bus or its own mistake ends it.
    pub(super) async fn serve(self: Arc<Self>, address: &str, ready: Option<Arc<Notify>>) {
        let connection = zbus::connection::Builder::address(address).build().await.unwrap();
        let mut stream = MessageStream::from(&connection);
        connection.request_name(NAME).await.unwrap();
        if let Some(ready) = ready {
            ready.notify_one();
        }
        let mut tasks = JoinSet::new();
        if self.wrong == Wrong::ForgetsFreeze {
            let gate = Arc::clone(&self);
            let mut goes_on = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw())).unwrap();
            tasks.spawn(async move {
                while goes_on.recv().await.is_some() {
                    gate.forgotten.fetch_add(60_000_000, Ordering::SeqCst);
                }
            });
        }
        let _ignored =
            (self.wrong == Wrong::IgnoresTerminate).then(|| signal(SignalKind::terminate()).unwrap());
        while let Some(Ok(message)) = stream.next().await {
            if message.message_type() != Type::MethodCall {
                continue;
            }
            if self.wrong == Wrong::DiesOnGarbage && is_garbage(&message) {
                return;
            }
            let work = Arc::clone(&self).handle(connection.clone(), message);
            if self.wrong == Wrong::BusyWithCalls {
                work.await;
            } else {
                tasks.spawn(work);
            }
        }
        if self.wrong == Wrong::StaysWithoutBus {
            std::future::pending::<()>().await;
        }
    }

    async fn handle(self: Arc<Self>, connection: Connection, message: Message) {
        let header = message.header();
        if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) || self.wrong == Wrong::Mute {
            return;
        }
        let member = header.member().unwrap().to_string();
        let interface = header.interface().map(ToString::to_string).unwrap_or_default();
        let reply = |body: (String, String, String)| {
            let connection = connection.clone();
            let header = message.header();
            async move { connection.reply(&header, &body).await.unwrap() }
        };
        let known = interface == INTERFACE && header.path().is_some_and(|path| *path == PATH);
        match member.as_str() {
            "Introspect" if self.wrong != Wrong::NoIntrospection => {
                let xml = XML.replace(
                    "<method name=\"Cancel\">",
                    match self.wrong {
                        Wrong::NoCancel => "<method name=\"Cancle\">",
                        _ => "<method name=\"Cancel\">",
                    },
                );
                connection.reply(&header, &xml).await.unwrap();
            }
            "Describe" if known => connection.reply(&header, &self.description()).await.unwrap(),
            "Health" if known => {
                let state = if self.wrong == Wrong::UnknownHealth { "splendid" } else { "ok" };
                connection.reply(&header, &(state, "")).await.unwrap();
            }
            "Cancel" if known && self.wrong != Wrong::NoCancel => {
                let id: String = message.body().deserialize().unwrap();
                let running = self.running.lock().unwrap().get(&id).cloned();
                if let Some(running) = running {
                    running.notify_one();
                }
                connection.reply(&header, &()).await.unwrap();
            }
            "Invoke" if known => match message.body().deserialize::<(String, String, String, u64)>() {
                Ok(_) if self.wrong == Wrong::AnswersNonsense => {
                    connection.reply(&header, &(1_u32, vec![("x", 2.5)])).await.unwrap();
                }
                Ok(_) if self.wrong == Wrong::HugeAnswers => {
                    reply(("refused".into(), "not_executed".into(), "x".repeat(3_000_000))).await;
                }
                Ok((id, method, request, not_after)) => {
                    let (status, outcome, response) = self.invoke(&id, &method, &request, not_after).await;
                    reply((status.into(), outcome.into(), response.to_string())).await;
                }
                Err(_) => error(&connection, &message, "org.freedesktop.DBus.Error.InvalidArgs").await,
            },
            _ => error(&connection, &message, "org.freedesktop.DBus.Error.UnknownMethod").await,
        }
    }

    fn description(&self) -> String {
        let times = self.described.fetch_add(1, Ordering::SeqCst);
        let mut methods = json!({
            "gate.open": {"params": {"percent": {"type": "integer", "minimum": 0, "maximum": 100}}, "timeout": "10s"},
            "gate.halt": {"stop": true, "idempotent": true},
        });
        match self.wrong {
            Wrong::DescribesMore => methods["gate.paint"] = json!({"params": {"colour": {"enum": ["red"]}}}),
            Wrong::TooManyMethods => {
                methods = (0..100_000).map(|i| (format!("m{i}"), json!({}))).collect();
            }
            Wrong::ChangesItsMind => methods["gate.halt"]["description"] = json!(format!("{times}")),
            _ => {}
        }
        json!({ "methods": methods }).to_string()
    }

    async fn invoke(
        &self,
        id: &str,
        method: &str,
        request: &str,
        not_after: u64,
    ) -> (&'static str, &'static str, Value) {
        let wrong =
            |text: String| ("invalid_request", "not_executed", json!({"code": "wrong", "message": text}));
        let expired = ("expired", "not_executed", json!({"code": "expired", "message": "too late"}));
        let is_open = match method {
            "gate.open" => true,
            "gate.halt" => false,
            _ => return wrong(format!("there is no method {method:?}")),
        };
        if self.wrong == Wrong::ForgetsFreeze {
            // Time for the signal to be noticed.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let early = self.is_late(not_after);
        if early && self.wrong == Wrong::ContradictsItself {
            return ("ok", "not_executed", Value::Null);
        }
        let request: Value = match serde_json::from_str(request) {
            Ok(request) => request,
            Err(e) => return wrong(e.to_string()),
        };
        let percent = request.get("percent").and_then(Value::as_u64).filter(|percent| *percent <= 100);
        let count = request.as_object().map_or(99, serde_json::Map::len);
        let fits = if is_open { percent.is_some() && count == 1 } else { count == 0 };
        if !fits && self.wrong != Wrong::ParamsUnchecked {
            return wrong("the parameters are not right".into());
        }
        if early {
            return expired;
        }
        let stop = Arc::new(Notify::new());
        self.running.lock().unwrap().insert(id.to_owned(), Arc::clone(&stop));
        let device = self.device.lock().await;
        let answer = if self.wrong != Wrong::DeadlineTooEarly && self.is_late(not_after) {
            expired
        } else {
            self.moved.fetch_add(1, Ordering::SeqCst);
            if self.wrong == Wrong::EndsInCall {
                eprintln!("the motor is stuck");
                std::process::exit(3);
            }
            let done = if self.wrong == Wrong::MisspeltStatus { "done" } else { "ok" };
            let busy = match self.wrong {
                Wrong::BusyWithCalls => 3_000,
                // Long beside what a busy machine adds.
                Wrong::DeadlineTooEarly => 500,
                _ => 20,
            };
            tokio::select! {
                () = stop.notified() => ("failed", "unknown", json!({"code": "stopped", "message": "it was cancelled"})),
                () = tokio::time::sleep(Duration::from_millis(busy)) => (done, "executed", json!(percent)),
            }
        };
        drop(device);
        self.running.lock().unwrap().remove(id);
        answer
    }

    fn is_late(&self, not_after: u64) -> bool {
        match self.wrong {
            Wrong::IgnoresDeadline => false,
            #[expect(clippy::disallowed_methods, reason = "this is the mistake")]
            Wrong::WallClock => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                since.as_micros() >= u128::from(not_after)
            }
            // It stood still, and does not know of that time.
            _ => exchange::now() >= not_after.saturating_add(self.forgotten.load(Ordering::SeqCst)),
        }
    }
}

fn is_garbage(message: &Message) -> bool {
    let body = message.body();
    let Ok((_, _, request, _)) = body.deserialize::<(String, String, String, u64)>() else { return false };
    serde_json::from_str::<Value>(&request).is_err()
}

async fn error(connection: &Connection, message: &Message, name: &str) {
    let header = message.header();
    connection.reply_error(&header, name, &"no such thing").await.unwrap();
}
