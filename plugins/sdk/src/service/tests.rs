//! Plugins as services: a real dbus-daemon, a plugin that does what it is told, and a caller that knows only the contract.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nowd_testkit::{Bus, within};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;
use zbus::Connection;
use zbus::message::Message;

use super::{Answer, BusAddress, INTERFACE, Service, ServiceError};
use crate::{
    BoxFuture, Call, CallError, CancellationToken, Completion, Deadline, Health, Lane, Method, Outcome,
    Plugin, Policy,
};

mod calls;
mod contract;
mod life;

/// No test waits longer for anything that must come.
const PATIENCE: Duration = Duration::from_secs(60);

const NAME: &str = "com.example.Rig";
const PATH: &str = "/com/example/Rig";

/// A plugin that does what it is told, and counts.
#[derive(Debug)]
struct Rig {
    /// Lets calls of `wait` end, one for each permit.
    release: Semaphore,
    waiting: AtomicUsize,
    cancelled: AtomicUsize,
    acted: AtomicUsize,
    runs: AtomicU32,
    /// How the first runs of the background work end by mistake.
    bad_runs: u32,
    health: Mutex<Health>,
}

impl Rig {
    fn new(bad_runs: u32) -> Arc<Self> {
        Arc::new(Self {
            release: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            acted: AtomicUsize::new(0),
            runs: AtomicU32::new(0),
            bad_runs,
            health: Mutex::new(Health::Ok),
        })
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    async fn wait(&self, call: &Call, deaf: bool) -> Completion {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let ended = tokio::select! {
            permit = self.release.acquire() => {
                permit.unwrap().forget();
                Completion::Ok(json!("released"))
            }
            () = call.cancelled.cancelled() => {
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                if deaf {
                    std::future::pending::<()>().await;
                }
                let error = CallError::new("halted", "it was stopped");
                Completion::Failed { outcome: Outcome::Unknown, error }
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        ended
    }
}

impl Plugin for Rig {
    fn name(&self) -> &'static str {
        "rig"
    }

    fn methods(&self) -> Vec<Method> {
        let method = |name: &str, params: Value| {
            let params = params.as_object().map(|params| crate::params::Params::new(params).unwrap());
            Method {
                name: name.into(),
                description: format!("The method {name}"),
                origin: "rig".into(),
                place: None,
                lane: Lane::exclusive("rig"),
                policy: Policy { max_timeout: PATIENCE, ..Policy::default() },
                params,
            }
        };
        vec![
            method("act", json!({"percent": {"type": "integer", "maximum": 100, "default": 7}})),
            method("wait", json!({})),
            method("wait.deaf", json!({})),
            method("panic", json!({})),
            method("long", json!({"len": {"type": "integer"}, "fails": {"type": "boolean"}})),
            method("budget", json!({})),
        ]
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let run = self.runs.fetch_add(1, Ordering::SeqCst);
            if run < self.bad_runs {
                assert!(run.is_multiple_of(2), "a panic on purpose");
                return;
            }
            stop.cancelled().await;
        })
    }

    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            match call.method.as_str() {
                "act" => {
                    if let Err(expired) = call.deadline.check() {
                        return expired.into();
                    }
                    self.acted.fetch_add(1, Ordering::SeqCst);
                    Completion::Ok(call.params.clone())
                }
                "wait" => self.wait(call, false).await,
                "wait.deaf" => self.wait(call, true).await,
                "long" => {
                    let text = "x".repeat(call.params["len"].as_u64().unwrap().try_into().unwrap());
                    if call.params["fails"] == json!(true) {
                        Completion::Refused(CallError::new("long", text))
                    } else {
                        Completion::Ok(json!(text))
                    }
                }
                "budget" => {
                    let (budget, left) = (call.deadline.budget(), call.deadline.remaining());
                    Completion::Ok(json!([budget.as_secs_f64(), left.as_secs_f64()]))
                }
                _ => panic!("a panic on purpose"),
            }
        })
    }

    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A bus, and the rig on it.
struct Bed {
    bus: Bus,
    rig: Arc<Rig>,
    stop: CancellationToken,
    service: JoinSet<Result<(), ServiceError>>,
}

impl Bed {
    async fn new() -> Self {
        Self::with(Rig::new(0)).await
    }

    async fn with(rig: Arc<Rig>) -> Self {
        let bus = Bus::start();
        let service = service(&bus, &rig);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let until = stop.clone();
        tasks.spawn(async move { service.run(until).await });
        let bed = Self { bus, rig, stop, service: tasks };
        bed.wait_for_name(true).await;
        bed
    }

    async fn caller(&self) -> Caller {
        Caller::on(&self.bus).await
    }

    /// Until the name has an owner, or none.
    async fn wait_for_name(&self, there: bool) {
        within(PATIENCE, "the name's owner", async {
            let caller = self.caller().await;
            while caller.is_owned().await != there {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn end(&mut self) -> Result<(), ServiceError> {
        within(PATIENCE, "the service's end", self.service.join_next()).await.unwrap().unwrap()
    }
}

fn service(bus: &Bus, rig: &Arc<Rig>) -> Service {
    let address: BusAddress = bus.address().parse().unwrap();
    Service::new(Arc::<Rig>::clone(rig), address, NAME, PATH).unwrap()
}

/// Somebody who calls the plugin as a gateway does.
#[derive(Clone)]
struct Caller {
    connection: Connection,
}

impl Caller {
    async fn on(bus: &Bus) -> Self {
        let address = bus.address();
        let connect = async {
            loop {
                let builder = zbus::connection::Builder::address(address.as_str());
                if let Ok(connection) = builder.build().await {
                    return Self { connection };
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(PATIENCE, "a connection", connect).await
    }

    async fn is_owned(&self) -> bool {
        let bus = "org.freedesktop.DBus";
        let reply = self
            .connection
            .call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "NameHasOwner", &NAME)
            .await;
        reply.unwrap().body().deserialize().unwrap()
    }

    async fn ask<B>(&self, member: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
    {
        let asked = self.connection.call_method(Some(NAME), PATH, Some(INTERFACE), member, body);
        within(PATIENCE, member, asked).await
    }

    async fn invoke_until(&self, id: &str, method: &str, request: &str, not_after: u64) -> Answer {
        let reply = self.ask("Invoke", &(id, method, request, not_after)).await.unwrap();
        let (status, outcome, response_json) = reply.body().deserialize().unwrap();
        Answer { status, outcome, response_json }
    }

    async fn invoke(&self, method: &str, request: &Value) -> Answer {
        let id = Uuid::new_v4().to_string();
        self.invoke_until(&id, method, &request.to_string(), in_time()).await
    }

    async fn cancel(&self, id: &str) {
        self.ask("Cancel", &id).await.unwrap();
    }
}

/// A deadline that no test reaches.
fn in_time() -> u64 {
    Deadline::after(PATIENCE).boottime_micros()
}

fn words(answer: &Answer) -> (&str, &str) {
    (&answer.status, &answer.outcome)
}

fn code(answer: &Answer) -> String {
    let said: BTreeMap<String, String> = serde_json::from_str(&answer.response_json).unwrap();
    assert!(!said["message"].is_empty());
    said["code"].clone()
}
