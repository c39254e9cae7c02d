//! Calls that wait for their replies, and who may give them. Whoever is on a bus may be able to send answers that nobody asked
//! him for; what counts is that of whoever was called, or the bus's word in his place.

use std::collections::HashMap;
use std::num::NonZeroU32;

use tokio::sync::oneshot;
use zbus::message::Message;

use super::BUS_NAME;

/// The calls of one connection, by their serials.
#[derive(Debug, Default)]
pub(super) struct Pending {
    all: HashMap<NonZeroU32, Taker>,
}

#[derive(Debug)]
struct Taker {
    /// Whom the call was sent to: a name of either kind.
    to: String,
    /// Who owned that name then, if it is known.
    owner: Option<String>,
    reply: oneshot::Sender<Message>,
}

impl Taker {
    fn takes(&self, sender: &str, owners: &HashMap<String, String>) -> bool {
        if sender == BUS_NAME || sender == self.to {
            return true;
        }
        // The bus passed the call on to whoever had the name when it came there.
        match (&self.owner, owners.get(&self.to)) {
            (None, None) => !self.to.starts_with(':') && self.to != BUS_NAME,
            (then, now) => then.as_deref() == Some(sender) || now.is_some_and(|now| now == sender),
        }
    }
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many wait for answers that nobody takes any more.
    pub(super) fn unanswered(&self) -> usize {
        self.all.values().filter(|taker| taker.reply.is_closed()).count()
    }

    /// Forgets those that nobody takes any more.
    pub(super) fn forget_unanswered(&mut self) {
        self.all.retain(|_, taker| !taker.reply.is_closed());
    }

    pub(super) fn forget(&mut self, serial: NonZeroU32) {
        self.all.remove(&serial);
    }

    /// Waits for the reply to a message of this serial that is about to be sent to that name.
    pub(super) fn add(
        &mut self,
        serial: NonZeroU32,
        to: &str,
        owners: &HashMap<String, String>,
    ) -> oneshot::Receiver<Message> {
        let (reply, received) = oneshot::channel();
        let owner = owners.get(to).cloned();
        self.all.insert(serial, Taker { to: to.to_owned(), owner, reply });
        received
    }

    /// Hands a reply to whoever waits for it, if it comes from whom it may. Whether somebody took it is in the result.
    pub(super) fn answer(&mut self, reply: &Message, owners: &HashMap<String, String>) -> bool {
        let header = reply.header();
        let (Some(serial), Some(sender)) = (header.reply_serial(), header.sender()) else { return false };
        if !self.all.get(&serial).is_some_and(|taker| taker.takes(sender.as_str(), owners)) {
            return false;
        }
        let taker = self.all.remove(&serial);
        // Nobody takes it when the call was given up.
        taker.is_some_and(|taker| taker.reply.send(reply.clone()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whoever_was_called_answers() {
        let owner = |owner: &str| HashMap::from([("com.example.Gate".to_owned(), owner.to_owned())]);
        let nobody = HashMap::new;
        for (to, then, now, sender, expected) in [
            (":1.5", nobody(), nobody(), ":1.5", true),
            (":1.5", nobody(), owner(":1.6"), ":1.6", false),
            (":1.5", nobody(), nobody(), ":1.6", false),
            (":1.5", nobody(), nobody(), BUS_NAME, true),
            (BUS_NAME, nobody(), nobody(), BUS_NAME, true),
            (BUS_NAME, nobody(), nobody(), ":1.6", false),
            ("com.example.Gate", owner(":1.5"), owner(":1.5"), ":1.5", true),
            ("com.example.Gate", owner(":1.5"), owner(":1.5"), ":1.6", false),
            ("com.example.Gate", owner(":1.5"), owner(":1.5"), BUS_NAME, true),
            // It came and went while the call was on its way.
            ("com.example.Gate", owner(":1.5"), nobody(), ":1.5", true),
            ("com.example.Gate", owner(":1.5"), owner(":1.6"), ":1.5", true),
            ("com.example.Gate", owner(":1.5"), owner(":1.6"), ":1.6", true),
            ("com.example.Gate", nobody(), owner(":1.6"), ":1.6", true),
            ("com.example.Gate", nobody(), owner(":1.6"), ":1.7", false),
            // The bus does not tell who it is.
            ("com.example.Gate", nobody(), nobody(), ":1.6", true),
        ] {
            let (mut pending, case) = (Pending::default(), format!("{sender} for {to}, {then:?}, {now:?}"));
            let call = Message::method_call("/a", "B").destination(to).build(&()).unwrap();
            let mut received = pending.add(call.primary_header().serial_num(), to, &then);
            let reply = Message::method_return(&call.header()).sender(sender).build(&()).unwrap();
            assert_eq!(pending.answer(&reply, &now), expected, "{case}");
            assert_eq!(received.try_recv().is_ok(), expected, "{case}");
            assert_eq!(pending.len(), usize::from(!expected), "{case}");
        }
    }
}
