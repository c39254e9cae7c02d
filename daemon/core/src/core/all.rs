//! What concerns all calls at once: other methods, a lockout, the end of the process.

use std::sync::Arc;

use nowd_protocol::{Outcome, Status};

use super::{Core, polls};
use crate::call::{Call, CallKey, State};
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Purpose};
use crate::lane::Lane;
use crate::settings::Offer;
use crate::time::Instant;

impl<P: Clone + Default> Core<P> {
    /// Other methods are on offer from now on. Calls that wait for a method that is another one now, or are being written
    /// into the journal, are given up, since nobody knows whether they would pass the schemas of now; what was read of such
    /// a method is forgotten, since it may be read otherwise. A lane is the same resource as before if it has the same
    /// name, so those that run hold it still.
    pub(super) fn change(&mut self, now: Instant, offer: Arc<Offer>, actions: &mut Vec<Action<P>>) {
        let message = "the method was changed while it waited; send it again";
        let old = Arc::clone(self.offer());
        let agrees = |call: &Call<P>| offer.agrees(&old, &call.method);
        self.give_up_all_but(now, agrees, &Refusal::new(Status::Unavailable, message), actions);
        for (name, settings) in &offer.lanes {
            match self.lanes.get_mut(name.as_str()) {
                Some(lane) => lane.change(settings.clone()),
                None => drop(self.lanes.insert(name.as_str().into(), Lane::new(settings.clone()))),
            }
        }
        self.lanes.retain(|name, lane| offer.lanes.contains_key(&**name) || !lane.is_idle());
        let mut polls = polls::of(&offer);
        for (name, poll) in std::mem::take(&mut self.polls) {
            if let Some(new) = polls.get_mut(&name).filter(|_| offer.agrees(&old, &name)) {
                *new = poll;
            }
        }
        self.polls = polls;
        self.changes.note(now, self.refused_until, &old, &offer);
        self.settings.offer = offer;
    }

    pub(super) fn stop(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let refusal = Refusal::new(Status::Unavailable, "the gateway is stopping");
        self.give_up_all_but(now, |_| false, &refusal, actions);
        let safe_actions: Vec<(CallKey, String)> = self
            .calls
            .iter()
            .filter(|(_, call)| call.maker.asker().is_some())
            .filter_map(|(key, call)| Some((*key, call.offer.method(&call.method)?.on_stop.clone()?)))
            .collect();
        for (key, name) in safe_actions {
            self.safe_action(now, key, &name, actions);
        }
        let polls = self.calls.iter().filter(|(_, call)| call.maker.purpose() == Purpose::Poll);
        actions.extend(polls.map(|(key, _)| Action::Cancel(*key)));
    }

    /// Somebody on site wants nothing to move, or has finished.
    pub(super) fn lock(&mut self, now: Instant, reason: Option<String>, actions: &mut Vec<Action<P>>) {
        self.lockout = reason;
        if let Some(refusal) = self.locked() {
            self.give_up_all_but(now, |_| false, &refusal, actions);
        }
    }

    pub(super) fn locked(&self) -> Option<Refusal> {
        let reason = self.lockout.as_ref()?;
        Some(Refusal::new(Status::Locked, format!("the gateway is locked out on site: {reason}")))
    }

    /// Gives up every call that has not been started, but for those to be kept.
    fn give_up_all_but(
        &mut self,
        now: Instant,
        keep: impl Fn(&Call<P>) -> bool,
        refusal: &Refusal,
        actions: &mut Vec<Action<P>>,
    ) {
        let calls = &self.calls;
        let kept = |key: CallKey| calls.get(&key).is_some_and(&keep);
        let waiting: Vec<CallKey> =
            self.lanes.values_mut().flat_map(|lane| lane.purge_all_but(kept)).collect();
        let committing = self.calls.iter().filter(|(_, call)| call.state == State::Committing && !keep(call));
        for key in waiting.into_iter().chain(committing.map(|(key, _)| *key)).collect::<Vec<_>>() {
            self.give_up(now, key, refusal, actions);
        }
    }

    /// The process ends while calls still run: nobody will hear what became of them.
    pub(super) fn abandon(&mut self, now: Instant, actions: &mut Vec<Action<P>>) {
        let running = |(key, call): (&CallKey, &Call<P>)| match call.state {
            State::Running { started } if call.maker.purpose() != Purpose::Poll => Some((*key, started)),
            State::Running { .. } | State::Waiting | State::Committing | State::Overrun { .. } => None,
        };
        for (key, started) in self.calls.iter().filter_map(running).collect::<Vec<_>>() {
            let ended = Ended {
                status: Status::Timeout,
                outcome: Outcome::Unknown,
                response: None,
                error: Some(Refusal::new(Status::Timeout, "the gateway stopped before a result came").error),
            };
            self.conclude(now, key, ended, actions);
            if let Some(call) = self.calls.get_mut(&key) {
                call.state = State::Overrun { started };
            }
        }
    }

    /// A stop method clears its lane of all that has not been started, but for other stops: each of them is still to be done.
    pub(super) fn purge_for_stop(&mut self, lane: &str) -> Vec<CallKey> {
        let committing =
            self.calls.iter().filter(|(_, call)| call.state == State::Committing && *call.lane == *lane);
        let mut purged: Vec<CallKey> = committing.map(|(key, _)| *key).collect();
        let is_stop = |key: CallKey| {
            let method = self.calls.get(&key).and_then(|call| call.offer.method(&call.method));
            method.is_some_and(|method| method.stop)
        };
        purged.extend(self.lanes.get_mut(lane).map(|lane| lane.purge_all_but(is_stop)).unwrap_or_default());
        purged
    }
}
