//! How many questions may be under way at once. Calls, which may take long, have places of their own, so that whoever wants nothing
//! to move is heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zbus::message::Message;

/// How many calls may be under way, and how many of one caller; more are refused.
const MOST_CALLS: usize = 96;
const MOST_CALLS_OF_ONE: usize = 32;

/// How many other questions may be under way: calls leave room for whoever wants to lock.
const MOST_OTHERS: usize = 32;

/// How many questions are under way.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Calls, by who makes them.
    calls: Mutex<BTreeMap<String, usize>>,
    others: Mutex<usize>,
}

/// A question has its place until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    /// Whose call it is, if it is one.
    caller: Option<String>,
}

impl Places {
    /// A place for this question, if there is one.
    pub(super) fn take(self: &Arc<Self>, question: &Message) -> Option<Place> {
        let header = question.header();
        let is_call = header.member().is_some_and(|member| member.as_str() == "Call");
        let caller = is_call.then(|| header.sender().map(ToString::to_string).unwrap_or_default());
        if let Some(caller) = &caller {
            let mut calls = lock(&self.calls);
            let of_one = calls.get(caller).copied().unwrap_or_default();
            if calls.values().sum::<usize>() >= MOST_CALLS || of_one >= MOST_CALLS_OF_ONE {
                return None;
            }
            calls.insert(caller.clone(), of_one.saturating_add(1));
        } else {
            let mut others = lock(&self.others);
            if *others >= MOST_OTHERS {
                return None;
            }
            *others = others.saturating_add(1);
        }
        Some(Place { of: Arc::clone(self), caller })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(caller) = &self.caller else {
            let mut others = lock(&self.of.others);
            *others = others.saturating_sub(1);
            return;
        };
        let mut calls = lock(&self.of.calls);
        if let Some(of_one) = calls.get_mut(caller) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                calls.remove(caller);
            }
        }
    }
}

/// What is locked is only ever changed in whole steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
