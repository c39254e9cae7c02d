//! The questions to a nucleus.
//!
//! Each is one stream, sent at once or not at all, and has an answer within its bound or an error. None is sent again, but
//! for the two that a nucleus may refuse because they came too soon.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::connection::end;
use crate::error::{CallError, IpcError, RefusalKind};
use crate::publish::{Publish, Qos};
use crate::table::{Subscription, Table, Topic};
use crate::wire::{Frame, Kind, LONGEST_FRAME};

/// How long after an answer that may have been too quick the next one is sent.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a component says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does its work.
    Running,
    /// It has failed; the nucleus restarts it.
    Errored,
}

/// What we think of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It can be run with.
    Accepted,
    /// It cannot; the deployment fails with these words.
    Rejected(&'a str),
}

/// Asks the nucleus, for as long as its [`crate::Connection`] lives.
#[derive(Debug, Clone)]
pub struct Client {
    table: Arc<Table>,
    queue: mpsc::Sender<Vec<u8>>,
    bound: Duration,
}

impl Client {
    pub(crate) const fn new(table: Arc<Table>, queue: mpsc::Sender<Vec<u8>>, bound: Duration) -> Self {
        Self { table, queue, bound }
    }

    /// The same connection with another bound for each call.
    #[must_use]
    pub fn within(&self, bound: Duration) -> Self {
        Self { bound, ..self.clone() }
    }

    /// A value of a component's configuration, ours where none is named, or all of it for an empty path.
    ///
    /// A nucleus answers with an object even for a leaf: `{"leaf": x}`, and that is unwrapped here. An object that holds
    /// nothing but a leaf of its own name looks the same; who asks for an object takes [`Self::object`].
    pub async fn configuration(
        &self,
        component: Option<&str>,
        key_path: &[&str],
    ) -> Result<Value, CallError> {
        let value = self.object(component, key_path).await?;
        Ok(unwrapped(value, key_path.last().copied()))
    }

    /// The same as the nucleus says it.
    pub async fn object(&self, component: Option<&str>, key_path: &[&str]) -> Result<Value, CallError> {
        const OPERATION: &str = "GetConfiguration";
        let answer = self.call(OPERATION, &of_component(component, key_path)).await?;
        let unreadable = |what| CallError::Unreadable { operation: OPERATION, what };
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|_| unreadable("it is not JSON"))?;
        answer.get_mut("value").map(Value::take).ok_or_else(|| unreadable("it has no value"))
    }

    /// [`crate::Event::ConfigurationChanged`] whenever something at or below `key_path` changes.
    pub async fn subscribe_configuration(
        &self,
        component: Option<&str>,
        key_path: &[&str],
    ) -> Result<Subscription, CallError> {
        let request = of_component(component, key_path);
        self.subscribe("SubscribeToConfigurationUpdate", &request, Topic::Configuration).await
    }

    /// [`crate::Event::Validate`] before a deployment changes our configuration. Nucleus lite has no such thing.
    pub async fn subscribe_validation(&self) -> Result<Subscription, CallError> {
        self.subscribe("SubscribeToValidateConfigurationUpdates", &json!({}), Topic::Validation).await
    }

    /// The answer to [`crate::Event::Validate`]. A classic nucleus may say that before it is ready for an answer, and refuse
    /// one that is quicker; so a refused one is sent once more.
    pub async fn report_validity(&self, deployment: &str, verdict: Verdict<'_>) -> Result<(), CallError> {
        let mut report = json!({"deploymentId": deployment, "status": "ACCEPTED"});
        if let (Verdict::Rejected(message), Some(report)) = (verdict, report.as_object_mut()) {
            report.insert("status".to_owned(), json!("REJECTED"));
            report.insert("message".to_owned(), json!(message));
        }
        let request = json!({"configurationValidityReport": report});
        self.patiently("SendConfigurationValidityReport", &request, RefusalKind::InvalidArguments).await
    }

    /// Says how we are.
    pub async fn update_state(&self, state: State) -> Result<(), CallError> {
        let state = match state {
            State::Running => "RUNNING",
            State::Errored => "ERRORED",
        };
        self.call("UpdateState", &json!({"state": state})).await.map(drop)
    }

    /// [`crate::Event::BeforeUpdate`] and [`crate::Event::AfterUpdate`]. Nucleus lite has no such thing.
    pub async fn subscribe_component_updates(&self) -> Result<Subscription, CallError> {
        self.subscribe("SubscribeToComponentUpdates", &json!({}), Topic::ComponentUpdates).await
    }

    /// Asks a deployment to wait and to ask again after `recheck_after`, whole milliseconds; zero lets it go on. The same as
    /// with [`Self::report_validity`] holds for an answer that is too quick.
    pub async fn defer_update(
        &self,
        deployment: &str,
        recheck_after: Duration,
        message: &str,
    ) -> Result<(), CallError> {
        let millis = u64::try_from(recheck_after.as_millis()).unwrap_or(u64::MAX);
        let request = json!({"deploymentId": deployment, "message": message, "recheckAfterMs": millis});
        self.patiently("DeferComponentUpdate", &request, RefusalKind::Service).await
    }

    /// [`crate::Event::Message`] for what is published to `filter`, through the nucleus's own connection.
    pub async fn subscribe_iot_core(&self, filter: &str, qos: Qos) -> Result<Subscription, CallError> {
        let request = json!({"topicName": filter, "qos": qos.text()});
        self.subscribe("SubscribeToIoTCore", &request, Topic::IotCore).await
    }

    /// Publishes through the nucleus's own connection. `Ok` means that the nucleus has taken it, not that AWS has.
    pub async fn publish_iot_core(&self, publish: &Publish) -> Result<(), CallError> {
        self.call("PublishToIoTCore", &publish.request()).await.map(drop)
    }

    /// Ends a subscription. Events that were on their way are dropped.
    pub fn unsubscribe(&self, subscription: Subscription) {
        self.forget(subscription.0);
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed() || self.table.is_closed()
    }

    /// Once more, and a little later, if it is refused so.
    async fn patiently(
        &self,
        operation: &'static str,
        request: &Value,
        early: RefusalKind,
    ) -> Result<(), CallError> {
        match self.call(operation, request).await {
            Err(error) if error.refusal() == Some(early) => {}
            answer => return answer.map(drop),
        }
        tokio::time::sleep(PATIENCE).await;
        self.call(operation, request).await.map(drop)
    }

    async fn call(&self, operation: &'static str, request: &Value) -> Result<Vec<u8>, CallError> {
        self.ask(operation, request, None).await.map(|(_, answer)| answer)
    }

    async fn subscribe(
        &self,
        operation: &'static str,
        request: &Value,
        topic: Topic,
    ) -> Result<Subscription, CallError> {
        self.ask(operation, request, Some(topic)).await.map(|(stream, _)| Subscription(stream))
    }

    async fn ask(
        &self,
        operation: &'static str,
        request: &Value,
        topic: Option<Topic>,
    ) -> Result<(i32, Vec<u8>), CallError> {
        let payload = request.to_string().into_bytes();
        let (stream, answer) = self.table.open(operation, topic, |stream| {
            let frame = Frame {
                kind: Kind::Message,
                flags: 0,
                stream,
                model: Some(format!("aws.greengrass#{operation}Request")),
                operation: Some(format!("aws.greengrass#{operation}")),
                payload,
            };
            let bytes = frame.write().map_err(|error| too_large(operation, &error))?;
            self.queue.try_send(bytes).map_err(|error| match error {
                TrySendError::Full(_) => CallError::Busy { operation },
                TrySendError::Closed(_) => CallError::Closed { operation },
            })
        })?;
        let mut pending = Pending { client: self, stream, answered: false };
        let answer = tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| CallError::Closed { operation })?,
            () = tokio::time::sleep(self.bound) => {
                return Err(CallError::TimedOut { operation, after: self.bound });
            }
        };
        pending.answered = true;
        answer.map(|answer| (stream, answer)).map_err(|refusal| CallError::Refused { operation, refusal })
    }

    fn forget(&self, stream: i32) {
        if self.table.forget(stream)
            && let Ok(bytes) = end(stream).write()
        {
            // A nucleus that takes nothing loses the connection soon, and the subscription with it.
            drop(self.queue.try_send(bytes));
        }
    }
}

/// A question without an answer: given up, it leaves no stream behind.
struct Pending<'a> {
    client: &'a Client,
    stream: i32,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.client.forget(self.stream);
        }
    }
}

fn too_large(operation: &'static str, error: &IpcError) -> CallError {
    let (size, max) =
        if let IpcError::TooLarge { size, max } = error { (*size, *max) } else { (u32::MAX, LONGEST_FRAME) };
    CallError::TooLarge { operation, size, max }
}

fn of_component(component: Option<&str>, key_path: &[&str]) -> Value {
    let mut request = Map::new();
    if let Some(component) = component {
        request.insert("componentName".to_owned(), json!(component));
    }
    request.insert("keyPath".to_owned(), json!(key_path));
    Value::Object(request)
}

fn unwrapped(mut value: Value, leaf: Option<&str>) -> Value {
    let Some(leaf) = leaf else { return value };
    let alone = value.as_object_mut().filter(|object| object.len() == 1);
    match alone.and_then(|object| object.get_mut(leaf)).filter(|inner| !inner.is_object()) {
        Some(inner) => inner.take(),
        None => value,
    }
}

#[cfg(test)]
mod tests;
