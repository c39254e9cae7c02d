//! The waiting callers, the sending half of the connection, and the deliveries under way: what the core acts through.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use nowd_link::{Publish, Qos, SendError, Sender, Ticket};
use nowd_protocol::{Level, Status, Uuid};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::{BootInstant, until};
use crate::invoker::answer::Answer;
use crate::invoker::calls::{About, Core, Wire};
use crate::invoker::deliver::{Deliver, Delivered, Delivery};

/// How long a delivery may take of which nothing else is said.
const LONGEST_DELIVERY: Duration = Duration::from_secs(30);

pub(super) struct Desk {
    pub(super) sender: Option<Sender>,
    /// The SUBSCRIBE that has no answer yet. rumqttc numbers packets within the small window of publishes under way, so
    /// that two at once may bear the same number.
    pub(super) subscribing: Option<Ticket>,
    pub(super) tickets: HashMap<Ticket, About>,
    pub(super) callers: HashMap<Uuid, Vec<oneshot::Sender<Answer>>>,
    pub(super) connected: watch::Sender<bool>,
    /// Whether somebody was answered since this was last looked at.
    pub(super) answered: bool,
    delivery: Delivery,
    /// At most two for each call that waits.
    deliveries: JoinSet<(Uuid, u32, Delivered)>,
}

impl Desk {
    pub(super) fn new(connected: watch::Sender<bool>, delivery: Delivery) -> Self {
        Self {
            sender: None,
            subscribing: None,
            tickets: HashMap::new(),
            callers: HashMap::new(),
            connected,
            answered: false,
            delivery,
            deliveries: JoinSet::new(),
        }
    }

    /// The connection has ended.
    pub(super) fn disconnect(&mut self) {
        self.sender = None;
        self.subscribing = None;
        self.tickets.clear();
        self.connected.send_replace(false);
    }

    /// Publishes a message to ourselves, of which nobody but the asker wants to know what becomes.
    pub(super) fn ask(&mut self, message: Publish, id: Uuid) -> Result<Ticket, SendError> {
        let ticket = self.sender.as_ref().ok_or(SendError::NotConnected)?.publish(message)?;
        self.tickets.insert(ticket, About::Probe(id));
        Ok(ticket)
    }

    /// The next delivery that has ended; for ever if none is under way. May be dropped while it waits; nothing is lost.
    pub(super) async fn delivered(&mut self) -> (Uuid, u32, Delivered) {
        loop {
            match self.deliveries.join_next().await {
                Some(Ok(delivered)) => return delivered,
                Some(Err(error)) => tracing::error!(%error, "a delivery broke off, which is a bug"),
                None => std::future::pending().await,
            }
        }
    }

    /// Tells the core what became of an attempt that was not published.
    pub(super) fn settle(&mut self, core: &mut Core, id: Uuid, attempt: u32, delivered: Delivered) {
        let (status, message) = match delivered {
            Delivered::Taken => return,
            Delivered::Unknown(reason) => {
                return tracing::debug!(%id, attempt, reason, "what became of a delivery is not known");
            }
            Delivered::NotThere => {
                (Status::Offline, "the gateway is not connected; nothing was delivered".to_owned())
            }
            Delivered::Refused(reason) => (
                Status::Unavailable,
                format!("the request was not taken for delivery ({reason}); nothing was delivered"),
            ),
            Delivered::Throttled => (
                Status::Busy,
                "the delivery service takes no more at the moment; nothing was delivered".to_owned(),
            ),
        };
        core.not_delivered(BootInstant::now(), attempt, Answer::own(id, status, message), self);
    }

    fn deliver(&mut self, direct: &dyn Deliver, target: Level, message: Publish, id: Uuid, attempt: u32) {
        let left = message.properties.message_expiry.unwrap_or(LONGEST_DELIVERY);
        let deadline = BootInstant::now().saturating_add(left);
        let mut delivering = direct.deliver(target, message, left);
        self.deliveries.spawn(async move {
            let late = || Delivered::Unknown("the deadline came first".into());
            // Looked at before each step: one that this process was stood still before would be a late delivery.
            let in_time = poll_fn(|context| {
                if BootInstant::now() >= deadline {
                    return Poll::Ready(late());
                }
                delivering.as_mut().poll(context)
            });
            (id, attempt, until(deadline, in_time).await.unwrap_or_else(late))
        });
    }
}

impl Wire for Desk {
    fn publish(&mut self, publish: Publish, about: About) -> Result<(), SendError> {
        let sender = self.sender.as_ref().ok_or(SendError::NotConnected)?;
        if let (Delivery::Direct(direct), About::Call(id, attempt)) = (self.delivery.clone(), about) {
            let target = publish.topic.split('/').next().and_then(|level| Level::new(level).ok());
            let target = target.ok_or_else(|| SendError::Topic { topic: publish.topic.clone() })?;
            self.deliver(&*direct, target, publish, id, attempt);
            return Ok(());
        }
        let ticket = sender.publish(publish)?;
        self.tickets.insert(ticket, about);
        Ok(())
    }

    fn can_subscribe(&self) -> bool {
        self.sender.is_some() && self.subscribing.is_none()
    }

    fn subscribe(&mut self, filters: &[String]) -> Result<(), SendError> {
        let sender = self.sender.as_ref().ok_or(SendError::NotConnected)?;
        self.subscribing = Some(sender.subscribe(filters, Qos::AtLeastOnce)?);
        Ok(())
    }

    fn unsubscribe(&mut self, filter: &str) {
        if let Some(sender) = &self.sender
            && let Err(error) = sender.unsubscribe(filter)
        {
            tracing::debug!(filter, %error, "a presence stays subscribed to");
        }
    }

    fn answer(&mut self, answer: Answer) {
        for caller in self.callers.remove(&answer.id).into_iter().flatten() {
            // A caller that has gone away needs no answer.
            drop(caller.send(answer.clone()));
            self.answered = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nowd_link::Properties;

    use super::*;
    use crate::invoker::Delivering;

    /// Notes that it acted.
    #[derive(Debug, Default)]
    struct Acts(Arc<AtomicBool>);

    impl Deliver for Acts {
        fn deliver(&self, _: Level, _: Publish, _: Duration) -> Delivering {
            let acted = Arc::clone(&self.0);
            Box::pin(async move {
                acted.store(true, Ordering::SeqCst);
                Delivered::Taken
            })
        }
    }

    #[tokio::test]
    async fn a_process_that_was_stood_still_delivers_nothing_late() {
        for (stood, expected) in [(Duration::ZERO, true), (Duration::from_millis(1_100), false)] {
            let acts = Acts::default();
            let mut desk = Desk::new(watch::channel(true).0, Delivery::Mqtt);
            let expiry = Duration::from_secs(if expected { 60 } else { 1 });
            let properties = Properties { message_expiry: Some(expiry), ..Properties::default() };
            let message = Publish { properties, ..Publish::default() };
            desk.deliver(&acts, Level::new("g").unwrap(), message, Uuid::from_u128(1), 1);
            // Nothing runs meanwhile, as after SIGSTOP.
            std::thread::sleep(stood);
            desk.delivered().await;
            assert_eq!(acts.0.load(Ordering::SeqCst), expected);
        }
    }
}
