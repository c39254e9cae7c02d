//! The sending half of a connection. Never waits, and never outlives its connection: what it cannot hand over now is
//! refused, and after the connection's end it only refuses.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::v5::Request;
use rumqttc::v5::mqttbytes::v5::{Filter, PubAck, Publish as WirePublish, Subscribe, Unsubscribe};
use tokio::sync::mpsc;

use crate::event::Limits;
use crate::publish::{LONGEST_TOPIC, MOST_FILTERS, Publish, Qos, SendError, check_filter, check_topic};
use crate::tracker::{Kind, Ticket, Tracker};

/// Sends on one connection; clones send on the same one.
#[derive(Clone)]
pub struct Sender {
    requests: mpsc::Sender<Request>,
    tracker: Arc<Tracker>,
    limits: Limits,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) const fn new(requests: mpsc::Sender<Request>, tracker: Arc<Tracker>, limits: Limits) -> Self {
        Self { requests, tracker, limits }
    }

    /// Queues a message. It is written at once unless the window of unacknowledged messages is full; with `QoS` 1
    /// [`crate::Event::Acked`] tells the broker's answer.
    pub fn publish(&self, publish: Publish) -> Result<Ticket, SendError> {
        let Publish { topic, payload, qos, retain, properties } = publish;
        check_topic(&topic)?;
        if properties.response_topic.as_ref().is_some_and(|topic| topic.len() > LONGEST_TOPIC) {
            return Err(SendError::Property { property: "response topic" });
        }
        let properties = properties.to_wire()?;
        if qos > self.limits.max_qos {
            return Err(SendError::NotOffered { what: "QoS 1" });
        }
        if retain && !self.limits.retain_available {
            return Err(SendError::NotOffered { what: "retained messages" });
        }
        let wire = WirePublish {
            qos: qos.into(),
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            retain,
            payload,
            properties,
            ..WirePublish::default()
        };
        // A packet id of two bytes comes to QoS 1.
        self.check_size(wire.size() + 2)?;
        self.request(Kind::Publish, vec![topic], Request::Publish(wire))
    }

    /// Subscribes to 1 to [`MOST_FILTERS`] filters in one packet. [`crate::Event::Subscribed`] tells what came of it;
    /// until then nothing may be counted upon.
    pub fn subscribe<T: AsRef<str>>(&self, filters: &[T], qos: Qos) -> Result<Ticket, SendError> {
        let filters: Vec<_> = filters.iter().map(|filter| filter.as_ref().to_owned()).collect();
        if filters.is_empty() || filters.len() > MOST_FILTERS {
            return Err(SendError::Filter { filter: filters.first().cloned().unwrap_or_default() });
        }
        filters.iter().try_for_each(|filter| check_filter(filter))?;
        self.check_size(filters.iter().map(|filter| filter.len() + 3).sum::<usize>() + 16)?;
        let wire: Vec<_> = filters.iter().map(|filter| Filter::new(filter, qos.into())).collect();
        self.request(Kind::Subscribe, filters, Request::Subscribe(Subscribe::new_many(wire, None)))
    }

    /// Ends one subscription; [`crate::Event::Unsubscribed`] follows.
    pub fn unsubscribe(&self, filter: &str) -> Result<Ticket, SendError> {
        check_filter(filter)?;
        let wire = Unsubscribe::new(filter, None);
        self.request(Kind::Unsubscribe, vec![filter.to_owned()], Request::Unsubscribe(wire))
    }

    /// Says goodbye after all that was queued: the broker publishes no will. [`crate::Connection::next`] fails with
    /// [`crate::LinkError::Closed`] once that has gone out; nothing can be sent after it.
    pub fn disconnect(&self) -> Result<(), SendError> {
        self.tracker.send_last(|| self.requests.try_send(Request::Disconnect).is_ok())
    }

    /// What the broker said about itself at CONNACK.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    fn request(&self, kind: Kind, names: Vec<String>, request: Request) -> Result<Ticket, SendError> {
        self.tracker.send(kind, names, || self.requests.try_send(request).is_ok())
    }

    fn check_size(&self, size: usize) -> Result<(), SendError> {
        let max = usize::try_from(self.limits.max_packet_size).unwrap_or(usize::MAX);
        if size > max { Err(SendError::TooLarge { size, max }) } else { Ok(()) }
    }
}

/// The right to acknowledge one message, on the connection it came from and on no other.
///
/// Dropped unused, the message stays unacknowledged; too many of those and the broker sends no more `QoS` 1.
pub struct Ack {
    requests: mpsc::Sender<Request>,
    tracker: Arc<Tracker>,
    id: u16,
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Ack {
    pub(crate) const fn new(requests: mpsc::Sender<Request>, tracker: Arc<Tracker>, id: u16) -> Self {
        Self { requests, tracker, id }
    }

    /// Acknowledges. Never waits. It goes out with what is written next, 2 ms later at the latest.
    pub fn send(self) -> Result<(), SendError> {
        let ack = Request::PubAck(PubAck::new(self.id, None));
        self.tracker.send_untracked(|| self.requests.try_send(ack).is_ok())
    }
}
