//! Which streams of a connection are open, and who waits on them.
//!
//! Decides what a frame means by the stream that it comes on. Bounded; locked for moments only; never waits, sends nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::{CallError, Refusal};
use crate::wire::{Frame, Kind};

/// How many calls and subscriptions may be open on one connection.
pub const MOST_STREAMS: usize = 64;

/// A subscription of one connection, for as long as that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription(pub(crate) i32);

impl Subscription {
    /// The one on this stream: for those who read events by themselves, as tests do.
    #[must_use]
    pub const fn of_stream(stream: i32) -> Self {
        Self(stream)
    }
}

/// What a subscription is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Changes of a configuration.
    Configuration,
    /// Configurations that a deployment wants judged.
    Validation,
    /// Updates of components.
    ComponentUpdates,
    /// Messages of AWS IoT Core.
    IotCore,
}

/// The answer to a call, not yet read.
pub(crate) type Answer = Result<Vec<u8>, Refusal>;

/// Something for [`crate::Connection::next`], not yet read.
#[derive(Debug)]
pub(crate) enum Told {
    Event(Subscription, Topic, Vec<u8>),
    Ended(Subscription, Option<Refusal>),
}

/// What is to be done with a frame.
#[derive(Debug, Default)]
pub(crate) struct Consequence {
    /// In this order.
    pub(crate) told: [Option<Told>; 2],
    /// The nucleus left a stream open that has ended for us.
    pub(crate) end: Option<i32>,
}

#[derive(Debug)]
struct Stream {
    /// Whoever waits for the first answer, until it has come.
    asked: Option<oneshot::Sender<Answer>>,
    /// Nothing for a call with one answer.
    topic: Option<Topic>,
}

#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    streams: HashMap<i32, Stream>,
    last: i32,
    closed: bool,
}

impl Table {
    /// Opens the next stream and sends its call, in one go: the classic nucleus ends a connection whose streams do not come
    /// numbered in order and without a gap.
    pub(crate) fn open(
        &self,
        operation: &'static str,
        topic: Option<Topic>,
        send: impl FnOnce(i32) -> Result<(), CallError>,
    ) -> Result<(i32, oneshot::Receiver<Answer>), CallError> {
        let mut inner = self.lock();
        // After two thousand million calls the connection has to be a new one.
        let next = inner.last.checked_add(1).filter(|_| !inner.closed);
        let stream = next.ok_or(CallError::Closed { operation })?;
        if inner.streams.len() >= MOST_STREAMS {
            return Err(CallError::Busy { operation });
        }
        send(stream)?;
        inner.last = stream;
        let (asked, answer) = oneshot::channel();
        inner.streams.insert(stream, Stream { asked: Some(asked), topic });
        Ok((stream, answer))
    }

    /// Forgets a stream; says whether it was one that the nucleus may hold open.
    pub(crate) fn forget(&self, stream: i32) -> bool {
        self.lock().streams.remove(&stream).is_some_and(|stream| stream.topic.is_some())
    }

    /// Nothing is opened from now on, and nobody waits any more.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.streams.clear();
    }

    pub(crate) fn handle(&self, frame: Frame) -> Consequence {
        let mut consequence = Consequence::default();
        let mut inner = self.lock();
        // Late answers, streams that we never opened: borne.
        let Some(stream) = inner.streams.get_mut(&frame.stream) else { return consequence };
        let (ends, id) = (frame.ends_stream(), frame.stream);
        let subscription = Subscription(id);
        if frame.kind != Kind::Message {
            let refusal = Refusal::read(frame.model.as_deref(), &frame.payload);
            match (stream.asked.take(), stream.topic) {
                (Some(asked), _) => drop(asked.send(Err(refusal))),
                (None, Some(_)) => {
                    consequence.told = [Some(Told::Ended(subscription, Some(refusal))), None];
                }
                (None, None) => {}
            }
            consequence.end = (!ends && stream.topic.is_some()).then_some(id);
            inner.streams.remove(&id);
            return consequence;
        }
        let Some(topic) = stream.topic else {
            if let Some(Stream { asked: Some(asked), .. }) = inner.streams.remove(&id) {
                drop(asked.send(Ok(frame.payload)));
            }
            return consequence;
        };
        // Nucleus lite subscribes before it answers: an event may come first.
        let answers = frame.model.as_deref().is_none_or(|model| model.ends_with("Response"));
        let empty = frame.payload.is_empty();
        match stream.asked.take() {
            Some(asked) if answers => drop(asked.send(Ok(frame.payload))),
            asked => {
                stream.asked = asked;
                // The last frame of a stream usually says nothing else.
                if !(empty && ends) {
                    consequence.told[0] = Some(Told::Event(subscription, topic, frame.payload));
                }
            }
        }
        if ends {
            consequence.told[1] = Some(Told::Ended(subscription, None));
            inner.streams.remove(&id);
        }
        consequence
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
