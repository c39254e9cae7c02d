//! Who still waits for an answer from the broker, and for how long.
//!
//! Time is counted in ticks of the watching task, not read from a clock: while this process is frozen nothing ticks, so
//! waking up late is not mistaken for a broker that is silent.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::publish::SendError;

/// A quarter of the user timeout passes between two ticks.
pub(crate) const TICKS: u32 = 4;

/// Names a request, so that its [`crate::Event`] can be told from others. Unique within one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

impl Ticket {
    /// The one with this number, for connections of another kind that tell the same events.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// A kind of request. Packet ids of different kinds may be alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Publish,
    Subscribe,
    Unsubscribe,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    /// The topic of a message, or the filters of a subscription.
    pub(crate) names: Vec<String>,
    since: u32,
}

/// What one connection knows of its requests; shared by its senders, its driver and its watch.
#[derive(Debug)]
pub(crate) struct Tracker {
    state: Mutex<State>,
    most_queued: usize,
    /// How often the driver and the watch have come round, and the time between two pings, in milliseconds.
    polls: AtomicU64,
    ticks: AtomicU64,
    keep_alive: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    closing: bool,
    now: u32,
    last_ticket: u64,
    /// Taken, not yet written: in the order in which rumqttc will write them.
    queued: VecDeque<(Kind, Waiting)>,
    /// Written, not yet acknowledged.
    sent: HashMap<(Kind, u16), Waiting>,
    /// Taken by rumqttc, which holds it back because its packet id is still in use.
    held: Option<Waiting>,
    /// Since when a ping is unanswered.
    ping: Option<u32>,
}

impl Tracker {
    /// At most `most_queued` requests wait to be written.
    pub(crate) fn new(most_queued: usize) -> Self {
        Self {
            state: Mutex::default(),
            most_queued,
            polls: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            keep_alive: AtomicU64::new(0),
        }
    }

    /// CONNACK has come, and this is the time between two pings.
    pub(crate) fn set_keep_alive(&self, keep_alive: Duration) {
        let millis = u64::try_from(keep_alive.as_millis()).unwrap_or(u64::MAX);
        self.keep_alive.store(millis, Ordering::Relaxed);
    }

    /// The driver has come round.
    pub(crate) fn polled(&self) {
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the driver has come round, and the longest time for which it has nothing to do.
    pub(crate) fn polls(&self) -> (u64, Duration) {
        (self.polls.load(Ordering::Relaxed), Duration::from_millis(self.keep_alive.load(Ordering::Relaxed)))
    }

    /// How often the watch has come round.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request and sends it by `send`, which says whether there was room; both or neither.
    pub(crate) fn send(
        &self,
        kind: Kind,
        names: Vec<String>,
        send: impl FnOnce() -> bool,
    ) -> Result<Ticket, SendError> {
        let mut state = self.state();
        if state.closed || state.closing {
            return Err(SendError::NotConnected);
        }
        // Sent under the lock, so that this queue and rumqttc's are in the same order.
        if state.queued.len() >= self.most_queued || !send() {
            return Err(SendError::Full);
        }
        state.last_ticket += 1;
        let waiting = Waiting { ticket: Ticket(state.last_ticket), names, since: state.now };
        let ticket = waiting.ticket;
        state.queued.push_back((kind, waiting));
        Ok(ticket)
    }

    /// Sends something that no answer is awaited for.
    pub(crate) fn send_untracked(&self, send: impl FnOnce() -> bool) -> Result<(), SendError> {
        let state = self.state();
        if state.closed {
            return Err(SendError::NotConnected);
        }
        if send() { Ok(()) } else { Err(SendError::Full) }
    }

    /// Sends the last request of this connection; none is taken after it.
    pub(crate) fn send_last(&self, send: impl FnOnce() -> bool) -> Result<(), SendError> {
        let mut state = self.state();
        if state.closed || state.closing {
            return Err(SendError::NotConnected);
        }
        if !send() {
            return Err(SendError::Full);
        }
        state.closing = true;
        Ok(())
    }

    /// rumqttc has written the oldest request of this kind, with this packet id (0 for `QoS` 0).
    pub(crate) fn written(&self, kind: Kind, id: u16) {
        let mut state = self.state();
        let held = if kind == Kind::Publish { state.held.take() } else { None };
        let Some(waiting) = held.or_else(|| state.take_queued(kind)) else { return };
        if id != 0 {
            state.sent.insert((kind, id), waiting);
        }
    }

    /// rumqttc holds back the oldest publish.
    pub(crate) fn held(&self) {
        let mut state = self.state();
        state.held = state.take_queued(Kind::Publish);
    }

    /// How many requests wait to be written.
    pub(crate) fn queued(&self) -> usize {
        self.state().queued.len()
    }

    /// The broker has answered; nothing if nobody asked.
    pub(crate) fn answered(&self, kind: Kind, id: u16) -> Option<Waiting> {
        self.state().sent.remove(&(kind, id))
    }

    /// A ping was written.
    pub(crate) fn pinged(&self) {
        let mut state = self.state();
        let now = state.now;
        state.ping.get_or_insert(now);
    }

    /// Anything came in.
    pub(crate) fn heard(&self) {
        self.state().ping = None;
    }

    /// A quarter of the user timeout has passed. Names what has been unanswered for longer than that timeout.
    pub(crate) fn tick(&self) -> Option<&'static str> {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.now = state.now.wrapping_add(1);
        let overdue = |since: u32| state.now.wrapping_sub(since) > TICKS;
        if state.ping.is_some_and(overdue) {
            Some("a ping")
        } else if state.sent.values().chain(&state.held).any(|waiting| overdue(waiting.since)) {
            Some("a message or subscription")
        } else if state.queued.front().is_some_and(|(_, waiting)| overdue(waiting.since)) {
            Some("what was sent before")
        } else {
            None
        }
    }

    /// No request is taken any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }
}

impl State {
    /// The requests leave in the order in which they came, whatever their kind.
    fn take_queued(&mut self, kind: Kind) -> Option<Waiting> {
        if self.queued.front().is_some_and(|(first, _)| *first == kind) {
            self.queued.pop_front().map(|(_, waiting)| waiting)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(tracker: &Tracker) -> Ticket {
        tracker.send(Kind::Publish, Vec::new(), || true).unwrap()
    }

    fn ticks_until_silent(tracker: &Tracker) -> Option<u32> {
        (1..=20).find(|_| tracker.tick().is_some())
    }

    #[test]
    fn what_is_left_unanswered_is_found_wherever_it_waits() {
        type Act = fn(&Tracker);
        let cases: [(&str, Act); 4] = [
            ("queued", |t| {
                sent(t);
            }),
            ("written", |t| {
                sent(t);
                t.written(Kind::Publish, 1);
            }),
            ("held", |t| {
                sent(t);
                t.held();
            }),
            ("ping", Tracker::pinged),
        ];
        for (name, act) in cases {
            let tracker = Tracker::new(8);
            act(&tracker);
            assert_eq!(ticks_until_silent(&tracker), Some(TICKS + 1), "{name}");
        }
    }

    #[test]
    fn what_is_answered_is_not_silent() {
        let tracker = Tracker::new(8);
        let ticket = sent(&tracker);
        tracker.written(Kind::Publish, 7);
        tracker.pinged();
        tracker.heard();
        assert!(tracker.answered(Kind::Subscribe, 7).is_none());
        assert_eq!(tracker.answered(Kind::Publish, 7).map(|waiting| waiting.ticket), Some(ticket));
        sent(&tracker);
        tracker.written(Kind::Publish, 0);
        assert_eq!(ticks_until_silent(&tracker), None);
    }

    #[test]
    fn a_publish_held_back_keeps_its_ticket() {
        let tracker = Tracker::new(8);
        let (held, next) = (sent(&tracker), sent(&tracker));
        tracker.held();
        tracker.written(Kind::Publish, 1);
        tracker.written(Kind::Publish, 2);
        assert_eq!(tracker.answered(Kind::Publish, 1).map(|waiting| waiting.ticket), Some(held));
        assert_eq!(tracker.answered(Kind::Publish, 2).map(|waiting| waiting.ticket), Some(next));
    }

    #[test]
    fn nothing_is_taken_when_full_closing_or_closed() {
        let tracker = Tracker::new(1);
        assert_eq!(tracker.send(Kind::Publish, Vec::new(), || false), Err(SendError::Full));
        sent(&tracker);
        assert_eq!(tracker.send(Kind::Publish, Vec::new(), || true), Err(SendError::Full));
        tracker.written(Kind::Publish, 0);
        tracker.send_last(|| true).unwrap();
        assert_eq!(tracker.send(Kind::Publish, Vec::new(), || true), Err(SendError::NotConnected));
        assert_eq!(tracker.send_untracked(|| true), Ok(()), "acknowledgements still go out");
        tracker.close();
        assert_eq!(tracker.send_untracked(|| true), Err(SendError::NotConnected));
    }
}
