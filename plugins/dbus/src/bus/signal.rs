//! Signals: owner changes, and those that say that some work is done.

use std::collections::HashMap;

use serde_json::Value;
use tokio::sync::oneshot;
use zbus::message::{Message, Type};

use super::{BUS_NAME, MAX_BODY_LEN, Up};
use crate::convert;

/// Somebody who waits for a signal.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) wanted: Wanted,
    pub(super) found: oneshot::Sender<Vec<Value>>,
}

/// The signal that somebody waits for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) destination: String,
    pub(crate) path: String,
    pub(crate) interface: String,
    pub(crate) signal: String,
    /// What its first values must be.
    pub(crate) values: Vec<Value>,
}

impl Up {
    /// Hands a signal to those who wait for it.
    pub(super) fn signal(&mut self, message: &Message) {
        let header = message.header();
        let sender = header.sender().map(zbus::names::UniqueName::as_str);
        let found = |wanted: &Wanted| {
            // Anybody can send a signal straight to the gateway; it counts only if the name's owner sent it.
            sender.is_some()
                && sender == self.owners.get(&wanted.destination).map(String::as_str)
                && header.path().is_some_and(|path| path.as_str() == wanted.path)
                && header.interface().is_some_and(|interface| interface.as_str() == wanted.interface)
                && header.member().is_some_and(|member| member.as_str() == wanted.signal)
        };
        if !self.waiters.values().any(|waiter| found(&waiter.wanted)) {
            return;
        }
        let body = message.body();
        if body.len() > MAX_BODY_LEN {
            return;
        }
        let Ok(values) = convert::body_to_json(&body) else { return };
        let matches = |wanted: &Wanted| {
            wanted.values.len() <= values.len()
                && wanted.values.iter().zip(&values).all(|(wanted, value)| same(wanted, value))
        };
        let ready: Vec<u64> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| found(&waiter.wanted) && matches(&waiter.wanted))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            if let Some(waiter) = self.waiters.remove(&id) {
                drop(waiter.found.send(values.clone()));
            }
        }
    }
}

/// Equal as JSON, where 1 and 1.0 are one number.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && b.is_number() && a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()))
}

/// `NameOwnerChanged`.
pub(super) struct OwnerChange {
    pub(super) name: String,
    owner: Option<String>,
    /// Who owned the name before.
    pub(super) lost: Option<String>,
}

impl OwnerChange {
    pub(super) fn apply(&self, owners: &mut HashMap<String, String>) {
        match &self.owner {
            Some(owner) => owners.insert(self.name.clone(), owner.clone()),
            None => owners.remove(&self.name),
        };
    }
}

pub(super) fn owner_change(message: &Message) -> Option<OwnerChange> {
    let header = message.header();
    // The bus fills in senders: only itself is called so.
    let from_bus = header.sender().is_some_and(|sender| sender.as_str() == BUS_NAME);
    let named = header.member().is_some_and(|member| member.as_str() == "NameOwnerChanged");
    if message.message_type() != Type::Signal || !from_bus || !named {
        return None;
    }
    let (name, old, new): (String, String, String) = message.body().deserialize().ok()?;
    let unless_empty = |owner: String| Some(owner).filter(|owner| !owner.is_empty());
    Some(OwnerChange { name, owner: unless_empty(new), lost: unless_empty(old) })
}
