//! Signals: owner changes, and those that say that some work is done.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;
use tokio::sync::oneshot;
use zbus::message::{Message, Type};

use super::{BUS_NAME, Bus, MAX_BODY_LEN, Up};
use crate::done::{Missed, ReplyPath, Wanted, shown};
use crate::json::body_to_json;

/// How many signals, and how many bytes of them, are kept until the reply tells who does the work, and which signal is the
/// right one; then the oldest makes room.
const MAX_KEPT: (usize, usize) = (256, 512 * 1024);

/// Somebody who waits for a signal.
#[derive(Debug)]
pub(super) struct Waiter {
    wanted: Wanted,
    /// Whoever has replied; nobody else's signal counts, not even the name's next owner's.
    owner: Option<String>,
    /// What came before the reply.
    kept: VecDeque<Kept>,
    /// Whether that was too much.
    overflowed: bool,
    /// What came and was not it.
    missed: Missed,
    found: oneshot::Sender<Vec<Value>>,
}

#[derive(Debug)]
struct Kept {
    sender: String,
    path: String,
    values: Vec<Value>,
    len: usize,
}

/// A signal that is being waited for; not any more when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    bus: &'a Bus,
    id: u64,
    pub(crate) found: oneshot::Receiver<Vec<Value>>,
}

impl Bus {
    /// Waits from now on for a signal; `None` while the bus is not there.
    pub(crate) fn watch(&self, wanted: Wanted) -> Option<Watch<'_>> {
        let (sender, found) = oneshot::channel();
        let mut state = self.lock();
        let id = state.next_waiter;
        state.next_waiter = id.wrapping_add(1);
        let (kept, missed) = (VecDeque::new(), Missed::default());
        let waiter = Waiter { wanted, owner: None, kept, overflowed: false, missed, found: sender };
        state.up.as_mut()?.waiters.insert(id, waiter);
        drop(state);
        Some(Watch { bus: self, id, found })
    }
}

impl Watch<'_> {
    /// The reply of `owner` has come: tells which signal is wanted, and whose. What came before is looked through. Whether
    /// signals had to be forgotten until now is in the result; an error is a place that the reply does not have.
    pub(crate) fn settle(&mut self, reply: &Value, owner: &str) -> Result<bool, ReplyPath> {
        let mut state = self.bus.lock();
        // Found already, or the bus is gone: `found` tells.
        let Some(up) = &mut state.up else { return Ok(false) };
        let Some(waiter) = up.waiters.get_mut(&self.id) else { return Ok(false) };
        waiter.wanted.settle(reply)?;
        waiter.owner = Some(owner.to_owned());
        let overflowed = waiter.overflowed;
        let wanted = &waiter.wanted;
        let mut kept = std::mem::take(&mut waiter.kept);
        kept.retain(|kept| kept.sender == owner);
        if let Some(last) = kept.back() {
            let why = wanted.why_not(&last.path, &shown(&last.values));
            waiter.missed.note(kept.len().try_into().unwrap_or(u64::MAX), why);
        }
        let first = kept.into_iter().find(|kept| wanted.fits(&kept.path, &kept.values));
        if let Some(first) = first
            && let Some(waiter) = up.waiters.remove(&self.id)
        {
            drop(waiter.found.send(first.values));
        }
        Ok(overflowed)
    }

    /// What came and was not it.
    pub(crate) fn missed(&self) -> Missed {
        let state = self.bus.lock();
        let waiter = state.up.as_ref().and_then(|up| up.waiters.get(&self.id));
        waiter.map(|waiter| waiter.missed.clone()).unwrap_or_default()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(up) = &mut self.bus.lock().up {
            up.waiters.remove(&self.id);
        }
    }
}

impl Waiter {
    /// Keeps a signal until the reply comes.
    fn keep(&mut self, signal: Kept) {
        self.kept.push_back(signal);
        let bytes = |kept: &VecDeque<Kept>| kept.iter().map(|kept| kept.len).sum::<usize>();
        while self.kept.len() > MAX_KEPT.0 || bytes(&self.kept) > MAX_KEPT.1 {
            self.kept.pop_front();
            self.overflowed = true;
        }
    }
}

impl Up {
    /// Hands a signal to those who wait for it.
    pub(super) fn signal(&mut self, message: &Message) {
        let header = message.header();
        let Some(sender) = header.sender().map(zbus::names::UniqueName::as_str) else { return };
        let owners = &self.owners;
        let named = |wanted: &Wanted| {
            // Anybody can send a signal straight to the gateway; it counts only if the name's owner sent it.
            Some(sender) == owners.get(&wanted.destination).map(String::as_str)
                && header.interface().is_some_and(|interface| interface.as_str() == wanted.interface)
                && header.member().is_some_and(|member| member.as_str() == wanted.signal)
        };
        if !self.waiters.values().any(|waiter| named(&waiter.wanted)) {
            return;
        }
        let body = message.body();
        let (short, path) = (body.len() <= MAX_BODY_LEN, header.path());
        let (Some(values), Some(path)) = (short.then(|| body_to_json(&body).ok()).flatten(), path) else {
            for waiter in self.waiters.values_mut().filter(|waiter| named(&waiter.wanted)) {
                let why = format!("with values that cannot be read, or are longer than {MAX_BODY_LEN} bytes");
                waiter.missed.note(1, why);
            }
            return;
        };
        let shown = shown(&values);
        let mut ready = Vec::new();
        for (id, waiter) in &mut self.waiters {
            if !named(&waiter.wanted) {
                continue;
            }
            if !waiter.wanted.fits(path.as_str(), &values) {
                waiter.missed.note(1, waiter.wanted.why_not(path.as_str(), &shown));
                continue;
            }
            match &waiter.owner {
                None => {
                    let (sender, path) = (sender.to_owned(), path.as_str().to_owned());
                    waiter.keep(Kept { sender, path, values: values.clone(), len: body.len() + 64 });
                }
                Some(owner) if owner == sender => ready.push(*id),
                Some(_) => {}
            }
        }
        for id in ready {
            if let Some(waiter) = self.waiters.remove(&id) {
                drop(waiter.found.send(values.clone()));
            }
        }
    }
}

/// `NameOwnerChanged`.
pub(super) struct OwnerChange {
    pub(super) name: String,
    pub(super) owner: Option<String>,
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
