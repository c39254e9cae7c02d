//! Polls rumqttc and turns its events into ours. The only module that knows what rumqttc makes of packets.
//!
//! It never answers anything by itself but for messages that nobody could be told of.

use std::io;
use std::sync::Arc;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS as WireQos;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish as WirePublish};
use rumqttc::v5::{AsyncClient, Event as WireEvent, EventLoop, Incoming};
use tokio::sync::{mpsc, oneshot};

use crate::connection::GOODBYE;
use crate::error::LinkError;
use crate::event::{Event, Limits, Message, granted};
use crate::options::Options;
use crate::publish::{Properties, Qos};
use crate::sender::Ack;
use crate::tap::Reason;
use crate::tracker::{Kind, Tracker};

/// What polling needs, on one connection.
pub(crate) struct Driver {
    pub(crate) client: AsyncClient,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) bridge_end: oneshot::Receiver<io::Result<()>>,
    pub(crate) reason: Reason,
    pub(crate) options: Options,
}

/// Whether the driver goes on.
enum Step {
    Nothing,
    Tell(Event),
    End(LinkError),
    Goodbye,
}

impl Driver {
    /// Polls until the connection ends; says through `ready` when CONNACK has come.
    pub(crate) async fn run(
        mut self,
        mut event_loop: EventLoop,
        ready: oneshot::Sender<Limits>,
    ) -> LinkError {
        let error = match self.connack(&mut event_loop).await {
            Ok(limits) if ready.send(limits).is_ok() => self.drive(&mut event_loop).await,
            Ok(_) => LinkError::Closed,
            Err(error) => error,
        };
        self.tracker.close();
        // With it goes all that it had not sent.
        drop(event_loop);
        if matches!(error, LinkError::Closed) {
            // The bridge still carries the goodbye.
            tokio::select! {
                _ = &mut self.bridge_end => {}
                () = tokio::time::sleep(GOODBYE) => {}
            }
        }
        error
    }

    async fn connack(&mut self, event_loop: &mut EventLoop) -> Result<Limits, LinkError> {
        let connack = match event_loop.poll().await {
            Ok(WireEvent::Incoming(Incoming::ConnAck(connack))) => connack,
            Ok(other) => return Err(LinkError::Protocol { what: format!("{other:?} came before CONNACK") }),
            Err(error) => return Err(self.poll_error(error, false)),
        };
        if connack.properties.as_ref().is_some_and(|said| said.receive_max == Some(0)) {
            return Err(LinkError::Protocol { what: "a receive maximum of 0 in CONNACK".to_owned() });
        }
        if event_loop.options.keep_alive().is_zero() {
            // The broker wants no pings; rumqttc would send them without pause. We still want to know that it lives.
            event_loop.options.set_keep_alive(self.options.keep_alive);
        }
        self.tracker.set_keep_alive(event_loop.options.keep_alive());
        Ok(Limits::new(&connack, &self.options))
    }

    async fn drive(&mut self, event_loop: &mut EventLoop) -> LinkError {
        loop {
            let polled = event_loop.poll().await;
            self.tracker.polled();
            let step = match polled {
                Ok(WireEvent::Incoming(packet)) => self.incoming(packet),
                Ok(WireEvent::Outgoing(packet)) => self.outgoing(&packet),
                Err(error) => {
                    let error = self.poll_error(error, true);
                    return self.drain(event_loop, error).await;
                }
            };
            match step {
                Step::Nothing => {}
                Step::Tell(event) => {
                    if self.events.send(event).await.is_err() {
                        return LinkError::Closed;
                    }
                }
                Step::End(error) => return error,
                Step::Goodbye => return LinkError::Closed,
            }
        }
    }

    /// rumqttc reads several packets at once and, should the last be the end, leaves the others where they are.
    async fn drain(&self, event_loop: &mut EventLoop, error: LinkError) -> LinkError {
        self.tracker.close();
        while let Some(event) = event_loop.state.events.pop_front() {
            if let WireEvent::Incoming(packet) = event
                && let Step::Tell(event) = self.incoming(packet)
                && self.events.send(event).await.is_err()
            {
                break;
            }
        }
        error
    }

    fn outgoing(&self, packet: &Outgoing) -> Step {
        match *packet {
            Outgoing::Publish(id) => self.tracker.written(Kind::Publish, id),
            Outgoing::Subscribe(id) => self.tracker.written(Kind::Subscribe, id),
            Outgoing::Unsubscribe(id) => self.tracker.written(Kind::Unsubscribe, id),
            Outgoing::AwaitAck(_) => self.tracker.held(),
            Outgoing::PingReq => self.tracker.pinged(),
            Outgoing::Disconnect if self.tracker.is_closing() => return Step::Goodbye,
            // rumqttc's way to say that an unknown topic alias came in.
            Outgoing::Disconnect => {
                return Step::End(LinkError::Protocol {
                    what: "a topic alias that was not offered".to_owned(),
                });
            }
            Outgoing::PubAck(_)
            | Outgoing::PubRec(_)
            | Outgoing::PubRel(_)
            | Outgoing::PubComp(_)
            | Outgoing::PingResp => {}
        }
        Step::Nothing
    }

    fn incoming(&self, packet: Incoming) -> Step {
        self.tracker.heard();
        match packet {
            Incoming::Publish(publish) => self.message(publish),
            Incoming::PubAck(ack) => match self.tracker.answered(Kind::Publish, ack.pkid) {
                None => Step::Nothing,
                Some(waiting) => Step::Tell(Event::Acked {
                    ticket: waiting.ticket,
                    topic: waiting.names.into_iter().next().unwrap_or_default(),
                    result: if matches!(
                        ack.reason,
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers
                    ) {
                        Ok(())
                    } else {
                        Err(format!("{:?}", ack.reason))
                    },
                }),
            },
            Incoming::SubAck(ack) => match self.tracker.answered(Kind::Subscribe, ack.pkid) {
                Some(waiting) if waiting.names.len() == ack.return_codes.len() => {
                    let granted = ack.return_codes.into_iter().map(granted);
                    let results = waiting.names.into_iter().zip(granted).collect();
                    Step::Tell(Event::Subscribed { ticket: waiting.ticket, results })
                }
                _ => Step::End(LinkError::Protocol { what: "a SUBACK that fits no SUBSCRIBE".to_owned() }),
            },
            Incoming::UnsubAck(ack) => match self.tracker.answered(Kind::Unsubscribe, ack.pkid) {
                None => Step::Nothing,
                Some(waiting) => Step::Tell(Event::Unsubscribed { ticket: waiting.ticket }),
            },
            // rumqttc makes an error of DISCONNECT.
            Incoming::PingResp(_) | Incoming::Disconnect(_) => Step::Nothing,
            Incoming::PubRec(_)
            | Incoming::PubRel(_)
            | Incoming::PubComp(_)
            | Incoming::ConnAck(_)
            | Incoming::Connect(..)
            | Incoming::Subscribe(_)
            | Incoming::Unsubscribe(_)
            | Incoming::PingReq(_)
            | Incoming::Auth(_) => {
                Step::End(LinkError::Protocol { what: "a packet that a broker does not send".to_owned() })
            }
        }
    }

    fn message(&self, publish: WirePublish) -> Step {
        let (qos, ack) = match publish.qos {
            WireQos::AtMostOnce => (Qos::AtMostOnce, None),
            WireQos::AtLeastOnce => (
                Qos::AtLeastOnce,
                Some(Ack::new(self.client.clone(), Arc::clone(&self.tracker), publish.pkid)),
            ),
            WireQos::ExactlyOnce => {
                return Step::End(LinkError::Protocol { what: "a message with QoS 2".to_owned() });
            }
        };
        let topic = match String::from_utf8(publish.topic.into()) {
            Ok(topic) if !topic.is_empty() => topic,
            _ => return Self::drop_unnamed(ack),
        };
        Step::Tell(Event::Message(Message {
            topic,
            payload: publish.payload,
            retain: publish.retain,
            dup: publish.dup,
            qos,
            properties: publish.properties.map(Properties::from_wire).unwrap_or_default(),
            ack,
        }))
    }

    /// A message that nobody can make sense of must not hold the window of unacknowledged messages.
    fn drop_unnamed(ack: Option<Ack>) -> Step {
        tracing::warn!(see = "message-dropped", "a message whose topic is empty or no UTF-8 was dropped");
        if let Some(Err(error)) = ack.map(Ack::send) {
            tracing::debug!(%error, "it could not be acknowledged");
        }
        Step::Nothing
    }

    /// What rumqttc saw may only be what the bridge left behind.
    fn poll_error(&mut self, error: rumqttc::v5::ConnectionError, connected: bool) -> LinkError {
        let bridge = match self.bridge_end.try_recv() {
            Ok(Err(error)) => Some(error),
            Ok(Ok(())) | Err(_) => None,
        };
        LinkError::from_poll(error, bridge, self.reason.code(), connected, &self.options)
    }
}
