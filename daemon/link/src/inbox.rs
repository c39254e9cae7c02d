//! What came in and was not told yet.
//!
//! While too much waits to be written, messages are kept back: each asks for an answer. The broker should then run out of room to
//! send more (MQTT 5.0, receive maximum), but not every broker keeps to that, so there is a bound here as well.

use std::collections::VecDeque;

use crate::event::{Event, Message};

/// While so many events wait nothing is read, unless messages are kept back: then what else comes in must be read, for it is what frees
/// the way out.
const MOST_READ: usize = 64;
/// The most messages kept, and the most bytes of their packets.
const MOST_KEPT: usize = 32_768;
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Events in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Each with the size of its packet, if it is a message.
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    /// So many of the first events have been kept back, or have come behind such.
    held: usize,
}

impl Inbox {
    /// Adds an event; gives it back if there is no room for it, which only happens to a message. `size` is that of its packet.
    pub(crate) fn push(&mut self, event: Event, size: usize) -> Option<Message> {
        if let Event::Message(message) = event {
            let bytes = self.bytes.saturating_add(size);
            if self.events.len() >= MOST_KEPT || bytes > MOST_BYTES {
                return Some(message);
            }
            self.bytes = bytes;
            self.events.push_back((Event::Message(message), size));
        } else {
            self.events.push_back((event, 0));
        }
        // Whatever comes behind one that was kept back has waited for it, here or in the kernel.
        if self.held > 0 {
            self.held = self.events.len();
        }
        None
    }

    /// Whether more may be read, if messages are kept back or not.
    pub(crate) fn wants_more(&self, hold: bool) -> bool {
        hold || self.events.len() < MOST_READ
    }

    /// Whether an event may be told, if messages are kept back or not.
    pub(crate) fn is_ready(&mut self, hold: bool) -> bool {
        match self.events.front() {
            None => false,
            Some((Event::Message(_), _)) if hold => {
                self.held = self.events.len();
                false
            }
            Some(_) => true,
        }
    }

    /// The first event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let (mut event, size) = self.events.pop_front()?;
        if self.events.is_empty() {
            // After a flood its room is given back.
            self.events.shrink_to(MOST_READ);
        }
        self.bytes = self.bytes.saturating_sub(size);
        if let Event::Message(message) = &mut event {
            message.held = self.held > 0;
        }
        self.held = self.held.saturating_sub(1);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::{Properties, Qos};
    use crate::tracker::Ticket;

    fn message() -> Event {
        Event::Message(Message {
            topic: "a".to_owned(),
            payload: bytes::Bytes::new(),
            retain: false,
            dup: false,
            qos: Qos::AtMostOnce,
            properties: Properties::default(),
            held: false,
            ack: None,
        })
    }

    fn held(inbox: &mut Inbox) -> Option<bool> {
        match inbox.pop() {
            Some(Event::Message(message)) => Some(message.held),
            _ => None,
        }
    }

    #[test]
    fn messages_are_kept_back_in_their_order_and_bear_that_mark() {
        let mut inbox = Inbox::default();
        assert!(!inbox.is_ready(false) && !inbox.is_ready(true), "it is empty");
        inbox.push(Event::Unsubscribed { ticket: Ticket::new(1) }, 0);
        inbox.push(message(), 1);
        inbox.push(message(), 1);
        assert!(inbox.is_ready(true), "what is no message is told");
        assert!(matches!(inbox.pop(), Some(Event::Unsubscribed { .. })));
        assert!(!inbox.is_ready(true) && inbox.is_ready(false));
        inbox.push(message(), 1);
        let heard = [held(&mut inbox), held(&mut inbox), held(&mut inbox), held(&mut inbox)];
        assert_eq!(heard, [Some(true), Some(true), Some(true), None], "the last one came behind such");
        inbox.push(message(), 1);
        assert_eq!(held(&mut inbox), Some(false), "nobody waits any more");
    }

    #[test]
    fn what_has_no_room_is_given_back() {
        let mut inbox = Inbox::default();
        let kept = (0..2 * MOST_KEPT).take_while(|_| inbox.push(message(), 0).is_none()).count();
        assert_eq!(kept, MOST_KEPT);
        assert!(inbox.push(Event::Unsubscribed { ticket: Ticket::new(1) }, 0).is_none(), "only messages are");
        let mut inbox = Inbox::default();
        let large = MOST_BYTES / 4;
        let kept = (0..8).take_while(|_| inbox.push(message(), large).is_none()).count();
        assert_eq!(kept, 4);
        inbox.pop();
        assert!(inbox.push(message(), large).is_none(), "there is room again");
    }

    #[test]
    fn while_messages_are_kept_back_the_rest_is_read() {
        let mut inbox = Inbox::default();
        for _ in 0..MOST_READ {
            assert!(inbox.wants_more(false));
            inbox.push(message(), 0);
        }
        assert!(!inbox.wants_more(false) && inbox.wants_more(true));
    }
}
