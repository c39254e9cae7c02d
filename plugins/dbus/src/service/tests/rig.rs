//! A plugin that does what its methods are called, and a gateway's client of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use nowd_plugin::service::INTERFACE;
use nowd_plugin::{Call, CancellationToken, Completion, Deadline};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, MessageStream};

use crate::service::{Service, ServiceTarget, Signals, State};
use crate::tests::rig::{LONG, PrivateBus, within};

pub(super) const NAME: &str = "com.example.Gate";
pub(super) const PATH: &str = "/com/example/Gate";

pub(super) fn description() -> Value {
    json!({"methods": {"ok": {"params": {"x": {"type": "integer", "minimum": 0, "default": 0}}}, "hang": {}}})
}

/// What a plugin was asked, and what it says.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) description: Mutex<String>,
    pub(super) health: Mutex<(String, String)>,
    pub(super) health_asked: AtomicU32,
    pub(super) described: AtomicU32,
    pub(super) calls: AtomicU32,
    pub(super) cancelled: Mutex<Vec<String>>,
    pub(super) hanging: Mutex<Vec<Message>>,
    pub(super) arguments: Mutex<Option<(String, String, String, u64)>>,
}

impl Said {
    pub(super) fn new(description: &impl ToString) -> Arc<Self> {
        Arc::new(Self {
            description: Mutex::new(description.to_string()),
            health: Mutex::new(("ok".into(), String::new())),
            health_asked: AtomicU32::new(0),
            described: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            cancelled: Mutex::default(),
            hanging: Mutex::default(),
            arguments: Mutex::default(),
        })
    }

    pub(super) fn described(&self) -> u32 {
        self.described.load(Ordering::SeqCst)
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(super) fn hanging(&self) -> usize {
        self.hanging.lock().unwrap().len()
    }
}

/// A plugin on a connection of its own.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) connection: Connection,
    pub(super) said: Arc<Said>,
    tasks: JoinSet<()>,
}

impl Fake {
    pub(super) async fn start(address: &str, name: &str, said: &Arc<Said>) -> Self {
        let connection = zbus::connection::Builder::address(address).build().await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(connection.clone(), Arc::clone(said)));
        connection.request_name(name).await.unwrap();
        Self { connection, said: Arc::clone(said), tasks }
    }

    pub(super) async fn changed(&self) {
        let signal = Message::signal(PATH, INTERFACE, "Changed").build(&()).unwrap();
        self.connection.send(&signal).await.unwrap();
    }

    /// Its process ends.
    pub(super) async fn die(self) {
        let Self { connection, tasks, .. } = self;
        drop(tasks);
        connection.close().await.unwrap();
    }

    /// Answers what hangs.
    pub(super) async fn answer(&self, status: &str, outcome: &str, response: &str) {
        let call = self.said.hanging.lock().unwrap().pop().unwrap();
        let reply = Message::method_return(&call.header()).build(&(status, outcome, response)).unwrap();
        self.connection.send(&reply).await.unwrap();
    }
}

async fn serve(connection: Connection, said: Arc<Said>) {
    let mut calls = MessageStream::from(&connection);
    while let Some(Ok(call)) = calls.next().await {
        if call.message_type() != Type::MethodCall {
            continue;
        }
        if let Some(reply) = reply(&call, &said)
            && connection.send(&reply).await.is_err()
        {
            return;
        }
    }
}

fn reply(call: &Message, said: &Said) -> Option<Message> {
    let header = call.header();
    let body = call.body();
    let back = || Message::method_return(&header);
    let error = |name: &'static str, text: &str| Message::error(&header, name).build(&text).unwrap();
    // Nobody is started for a unique name.
    let unique = header.destination().is_some_and(|to| to.as_str().starts_with(':'));
    assert!(
        unique || call.primary_header().flags().contains(Flags::NO_AUTO_START),
        "it would start a service"
    );
    match header.member().unwrap().as_str() {
        "Describe" => {
            said.described.fetch_add(1, Ordering::SeqCst);
            let text = said.description.lock().unwrap().clone();
            match text.as_str() {
                "silence" => None,
                "error" => Some(error("org.freedesktop.DBus.Error.UnknownObject", "no such object")),
                "number" => Some(back().build(&5_u32).unwrap()),
                "20 MB" => Some(back().build(&"x".repeat(20_000_000)).unwrap()),
                _ => Some(back().build(&text).unwrap()),
            }
        }
        "Health" => {
            said.health_asked.fetch_add(1, Ordering::SeqCst);
            let health = said.health.lock().unwrap().clone();
            (health.0 != "silence").then(|| back().build(&health).unwrap())
        }
        "Cancel" => {
            said.cancelled.lock().unwrap().push(body.deserialize().unwrap());
            None
        }
        "Invoke" => {
            let arguments: (String, String, String, u64) = body.deserialize().unwrap();
            said.calls.fetch_add(1, Ordering::SeqCst);
            let request = arguments.2.clone();
            let method = arguments.1.clone();
            *said.arguments.lock().unwrap() = Some(arguments);
            let answer = |status: &str, outcome: &str, response: &str| {
                Some(back().build(&(status, outcome, response)).unwrap())
            };
            match method.as_str() {
                "ok" => answer("ok", "executed", &request),
                "refused" => answer(
                    "refused",
                    "not_executed",
                    r#"{"code": "com.example.Hand", "message": "a hand is in the way"}"#,
                ),
                "contradiction" => answer("ok", "not_executed", "1"),
                "long" => answer("ok", "executed", &format!("\"{}\"", "x".repeat(200_000))),
                "huge" => answer("ok", "executed", &format!("\"{}\"", "x".repeat(20_000_000))),
                "two" => Some(back().build(&("ok", "executed")).unwrap()),
                "structure" => Some(back().build(&(("ok", "executed", "1"),)).unwrap()),
                "nothing" => Some(back().build(&()).unwrap()),
                "numbers" => Some(back().build(&(1_u32, 2_u32, 3_u32)).unwrap()),
                "jam" => Some(error("com.example.Error.Jammed", "it is\njammed")),
                "numbered_error" => {
                    Some(Message::error(&header, "com.example.Error.Jammed").build(&5_u32).unwrap())
                }
                "no_method" => Some(error("org.freedesktop.DBus.Error.UnknownMethod", "no such method")),
                "denied" => Some(error("org.freedesktop.DBus.Error.AccessDenied", "not you")),
                "nested" => {
                    Some(error("org.freedesktop.DBus.Error.ServiceUnknown", "another service is gone"))
                }
                "hang" => {
                    said.hanging.lock().unwrap().push(call.clone());
                    None
                }
                other => panic!("{other}"),
            }
        }
        other => panic!("{other}"),
    }
}

/// The gateway's side.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) service: Arc<Service>,
    signals: Arc<Signals>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Client {
    pub(super) fn start(bus: &PrivateBus) -> Self {
        Self::of(&bus.address(), NAME)
    }

    pub(super) fn of(address: &str, name: &str) -> Self {
        let signals = Signals::new(address.parse().unwrap());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&signals).run(stop.clone()));
        let service = Self::join(&signals, address, name, &mut tasks, &stop);
        Self { service, signals, stop, tasks }
    }

    /// Another plugin of the same gateway.
    pub(super) fn add(&mut self, address: &str, name: &str) -> Arc<Service> {
        Self::join(&self.signals, address, name, &mut self.tasks, &self.stop)
    }

    fn join(
        signals: &Arc<Signals>,
        address: &str,
        name: &str,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Arc<Service> {
        let target = ServiceTarget { bus: address.parse().unwrap(), name: name.into(), path: PATH.into() };
        let service = Service::new(target, Arc::clone(signals));
        tasks.spawn(Arc::clone(&service).run(stop.clone()));
        service
    }

    pub(super) async fn call(&self, method: &str, params: Value) -> Completion {
        within(self.service.invoke(&call(method, params))).await
    }

    pub(super) async fn state(&self, what: &str, wanted: impl Fn(&State) -> bool) -> State {
        state(&self.service, what, wanted).await
    }

    pub(super) async fn described(&self) -> State {
        self.state("the description", |state| state.present && state.described.is_some()).await
    }

    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = within(self.tasks.join_next()).await {
            ended.unwrap();
        }
    }
}

pub(super) async fn state(service: &Service, what: &str, wanted: impl Fn(&State) -> bool) -> State {
    let mut news = service.news();
    let found = tokio::select! {
        found = news.wait_for(wanted) => Some(found.unwrap().clone()),
        () = tokio::time::sleep(LONG) => None,
    };
    found.unwrap_or_else(|| panic!("{what} did not come: {:?}", service.news().borrow().clone()))
}

pub(super) fn call(method: &str, params: Value) -> Call {
    Call::new(Uuid::new_v4(), method, params, Deadline::after(LONG))
}

/// Something on a thread of its own, as another process would be.
#[derive(Debug)]
pub(super) struct Apart {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Apart {
    pub(super) fn start<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = work() => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
