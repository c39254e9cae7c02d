//! What the packets of one connection mean: rumqttc's state of them, and our events. The only module that knows what rumqttc makes of
//! packets. Reads and writes nothing.
//!
//! It never answers anything by itself but for messages that nobody could be told of.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS as WireQos;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, Disconnect as WireDisconnect, LastWill, Packet, PubAck,
    PubAckReason, Publish as WirePublish,
};
use rumqttc::v5::{Event as WireEvent, Incoming, MqttState, Request};
use tokio::sync::mpsc;

use crate::error::{Disconnect, LinkError};
use crate::event::{Event, Limits, Message, granted};
use crate::options::Options;
use crate::publish::{Properties, Qos};
use crate::sender::Ack;
use crate::tracker::{Kind, Tracker};

/// One connection that the broker has accepted.
pub(crate) struct Session {
    state: MqttState,
    limits: Limits,
    requests: mpsc::Sender<Request>,
    tracker: Arc<Tracker>,
    options: Options,
    max_outgoing: Option<u32>,
}

/// What has come of a packet.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) event: Option<Event>,
    /// Of the message in it, in bytes as it came: all of them are kept as long as its payload is.
    pub(crate) size: usize,
    /// To be written: it could not be before.
    pub(crate) packet: Option<Packet>,
}

/// The first packet.
pub(crate) fn connect(options: &Options) -> Packet {
    let mut properties = ConnectProperties::new();
    // The broker keeps nothing for an absent gateway, and we take no topic aliases.
    properties.session_expiry_interval = Some(0);
    properties.receive_maximum = Some(options.receive_maximum);
    properties.max_packet_size = Some(options.max_packet_size);
    let connect = Connect {
        keep_alive: u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX),
        client_id: options.client_id.clone(),
        clean_start: true,
        properties: Some(properties),
    };
    let will = options.will.as_ref().map(|will| {
        LastWill::new(&will.topic, will.payload.clone(), WireQos::AtLeastOnce, will.retain, None)
    });
    Packet::Connect(connect, will, None)
}

impl Session {
    /// What the first packet of the broker makes of it.
    pub(crate) fn new(
        first: Packet,
        options: Options,
        requests: mpsc::Sender<Request>,
        tracker: Arc<Tracker>,
    ) -> Result<Self, LinkError> {
        // Not allowed before CONNACK, but it says more than that it was wrong.
        if let Packet::Disconnect(said) = &first {
            return Err(disconnected(said));
        }
        let Packet::ConnAck(connack) = first else {
            let what = format!("a packet other than CONNACK came first: {first:?}");
            return Err(LinkError::Protocol { what });
        };
        if connack.code != ConnectReturnCode::Success {
            return Err(LinkError::Refused { refusal: connack.code.into() });
        }
        let said = connack.properties.as_ref();
        if said.is_some_and(|said| said.receive_max == Some(0)) {
            return Err(LinkError::Protocol { what: "a receive maximum of 0 in CONNACK".to_owned() });
        }
        let limits = Limits::new(&connack, &options);
        let max_outgoing = said.and_then(|said| said.max_packet_size);
        let mut state = MqttState::new(options.inflight, true);
        state
            .handle_incoming_packet(Incoming::ConnAck(connack))
            .map_err(|error| LinkError::from_state(error, &options))?;
        state.events.clear();
        let session = Self { state, limits, requests, tracker, options, max_outgoing };
        session.tracker.set_keep_alive(session.keep_alive());
        Ok(session)
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    /// The largest packet that the broker takes, if it has said so.
    pub(crate) const fn max_outgoing(&self) -> Option<u32> {
        self.max_outgoing
    }

    /// The time between two pings. A broker may want none; we still want to know that it lives.
    pub(crate) const fn keep_alive(&self) -> Duration {
        if self.limits.keep_alive.is_zero() { self.options.keep_alive } else { self.limits.keep_alive }
    }

    /// Whether the window of unacknowledged messages has room.
    pub(crate) fn may_send(&self) -> bool {
        self.state.inflight() < self.limits.inflight && self.state.collision.is_none()
    }

    /// What is to be written for a request; nothing if it must wait until a packet id is free.
    pub(crate) fn request(&mut self, request: Request) -> Result<Option<Packet>, LinkError> {
        let packet = self.state.handle_outgoing_packet(request);
        self.note();
        packet.map_err(|error| LinkError::from_state(error, &self.options))
    }

    /// Tells the tracker what rumqttc did.
    fn note(&mut self) {
        while let Some(event) = self.state.events.pop_front() {
            let WireEvent::Outgoing(packet) = event else { continue };
            match packet {
                Outgoing::Publish(id) => self.tracker.written(Kind::Publish, id),
                Outgoing::Subscribe(id) => self.tracker.written(Kind::Subscribe, id),
                Outgoing::Unsubscribe(id) => self.tracker.written(Kind::Unsubscribe, id),
                Outgoing::AwaitAck(_) => self.tracker.held(),
                Outgoing::PingReq => self.tracker.pinged(),
                Outgoing::Disconnect
                | Outgoing::PubAck(_)
                | Outgoing::PubRec(_)
                | Outgoing::PubRel(_)
                | Outgoing::PubComp(_)
                | Outgoing::PingResp => {}
            }
        }
    }

    /// What has come of a packet from the broker.
    pub(crate) fn incoming(&mut self, packet: Incoming) -> Result<Heard, LinkError> {
        self.tracker.heard();
        let protocol = |what: &str| LinkError::Protocol { what: what.to_owned() };
        match packet {
            Incoming::Publish(publish) => {
                let size = publish.size();
                Ok(Heard { event: self.message(publish)?, size, packet: None })
            }
            Incoming::PubAck(ack) => self.acked(&ack),
            Incoming::SubAck(ack) => match self.tracker.answered(Kind::Subscribe, ack.pkid) {
                Some(waiting) if waiting.names.len() == ack.return_codes.len() => {
                    let granted = ack.return_codes.into_iter().map(granted);
                    let results = waiting.names.into_iter().zip(granted).collect();
                    Ok(Event::Subscribed { ticket: waiting.ticket, results }.into())
                }
                _ => Err(protocol("a SUBACK that fits no SUBSCRIBE")),
            },
            Incoming::UnsubAck(ack) => match self.tracker.answered(Kind::Unsubscribe, ack.pkid) {
                None => Ok(Heard::default()),
                Some(waiting) => Ok(Event::Unsubscribed { ticket: waiting.ticket }.into()),
            },
            Incoming::PingResp(_) => {
                self.state.await_pingresp = false;
                Ok(Heard::default())
            }
            Incoming::Disconnect(said) => Err(disconnected(&said)),
            Incoming::PubRec(_)
            | Incoming::PubRel(_)
            | Incoming::PubComp(_)
            | Incoming::ConnAck(_)
            | Incoming::Connect(..)
            | Incoming::Subscribe(_)
            | Incoming::Unsubscribe(_)
            | Incoming::PingReq(_)
            | Incoming::Auth(_) => Err(protocol("a packet that a broker does not send")),
        }
    }

    fn acked(&mut self, ack: &PubAck) -> Result<Heard, LinkError> {
        // Without its reason: of an acknowledgement that says no, rumqttc does not free the packet id for who waits for it.
        let bare = Incoming::PubAck(PubAck::new(ack.pkid, None));
        let packet = self
            .state
            .handle_incoming_packet(bare)
            .map_err(|error| LinkError::from_state(error, &self.options))?;
        let event = self.tracker.answered(Kind::Publish, ack.pkid).map(|waiting| Event::Acked {
            ticket: waiting.ticket,
            topic: waiting.names.into_iter().next().unwrap_or_default(),
            result: if matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                Ok(())
            } else {
                Err(format!("{:?}", ack.reason))
            },
        });
        // After it: the same packet id may be in use again.
        self.note();
        Ok(Heard { event, packet, ..Heard::default() })
    }

    fn message(&self, publish: WirePublish) -> Result<Option<Event>, LinkError> {
        let protocol = |what: &str| LinkError::Protocol { what: what.to_owned() };
        if publish.properties.as_ref().is_some_and(|properties| properties.topic_alias.is_some()) {
            return Err(protocol("a topic alias, and none was offered"));
        }
        let (qos, ack) = match publish.qos {
            WireQos::AtMostOnce => (Qos::AtMostOnce, None),
            WireQos::AtLeastOnce => {
                let ack = Ack::new(self.requests.clone(), Arc::clone(&self.tracker), publish.pkid);
                (Qos::AtLeastOnce, Some(ack))
            }
            WireQos::ExactlyOnce => return Err(protocol("a message with QoS 2")),
        };
        let topic = match String::from_utf8(publish.topic.into()) {
            Ok(topic) if !topic.is_empty() => topic,
            _ => {
                tracing::warn!(
                    see = "message-dropped",
                    "a message whose topic is empty or no UTF-8 was dropped"
                );
                dropped(ack);
                return Ok(None);
            }
        };
        Ok(Some(Event::Message(Message {
            topic,
            payload: publish.payload,
            retain: publish.retain,
            dup: publish.dup,
            qos,
            properties: publish.properties.map(Properties::from_wire).unwrap_or_default(),
            held: false,
            ack,
        })))
    }
}

impl From<Event> for Heard {
    fn from(event: Event) -> Self {
        Self { event: Some(event), ..Self::default() }
    }
}

/// Why the broker has ended the connection.
fn disconnected(said: &WireDisconnect) -> LinkError {
    let text = said.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    LinkError::Disconnected { reason: Disconnect::new(said.reason_code, text) }
}

/// A message that nobody is told of must not hold the window of unacknowledged messages.
pub(crate) fn dropped(ack: Option<Ack>) {
    if let Some(Err(error)) = ack.map(Ack::send) {
        tracing::debug!(%error, "a message that was dropped could not be acknowledged");
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::v5::{ConnAck, DisconnectReasonCode, PingResp, PubAck};

    use super::*;

    fn begun(first: Packet, inflight: u16) -> Result<Session, LinkError> {
        let options = Options { inflight, ..Options::new("gate-1", "127.0.0.1", 1883) };
        let (requests, _) = mpsc::channel(8);
        Session::new(first, options, requests, Arc::new(Tracker::new(8)))
    }

    fn session(inflight: u16) -> Session {
        let connack = ConnAck { session_present: false, code: ConnectReturnCode::Success, properties: None };
        begun(Packet::ConnAck(connack), inflight).unwrap()
    }

    #[test]
    fn a_broker_that_hangs_up_before_it_accepts_is_heard() {
        let first = WireDisconnect::new(DisconnectReasonCode::ServerBusy);
        let ended = begun(Packet::Disconnect(first), 2).err();
        assert!(matches!(&ended, Some(LinkError::Disconnected { .. })), "{ended:?}");
        let ended = begun(Packet::PingResp(PingResp), 2).err();
        assert!(matches!(&ended, Some(LinkError::Protocol { .. })), "{ended:?}");
    }

    fn publish(session: &mut Session) -> Option<u16> {
        session.tracker.send(Kind::Publish, vec!["a".to_owned()], || true).unwrap();
        let wire = WirePublish::new("a", WireQos::AtLeastOnce, "x", None);
        session.request(Request::Publish(wire)).unwrap().map(|packet| id(&packet))
    }

    fn id(packet: &Packet) -> u16 {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        publish.pkid
    }

    fn ack(session: &mut Session, acked: u16, reason: PubAckReason) -> (bool, Option<u16>) {
        let ack = PubAck { reason, ..PubAck::new(acked, None) };
        let heard = session.incoming(Incoming::PubAck(ack)).unwrap();
        let released = heard.packet.as_ref().map(self::id);
        let Some(Event::Acked { result, .. }) = heard.event else { panic!("{:?}", heard.event) };
        (result.is_ok(), released)
    }

    #[test]
    fn a_message_that_waits_for_a_packet_id_gets_it_whatever_the_broker_said_of_the_one_before() {
        for reason in [PubAckReason::Success, PubAckReason::NotAuthorized] {
            let mut session = session(2);
            assert_eq!([publish(&mut session), publish(&mut session)], [Some(1), Some(2)]);
            assert!(!session.may_send());
            assert_eq!(ack(&mut session, 2, PubAckReason::Success), (true, None), "out of order");
            assert_eq!(publish(&mut session), None, "its packet id is not free");
            assert!(!session.may_send());
            assert_eq!(ack(&mut session, 1, reason), (reason == PubAckReason::Success, Some(1)));
            assert_eq!(ack(&mut session, 1, PubAckReason::Success), (true, None), "and is heard of");
            assert!(session.may_send());
        }
    }
}
