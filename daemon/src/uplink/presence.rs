//! What the gateway says of its being there, and what it does when somebody else's word for it is wrong.

use nowd_link::{Message, Publish, Qos};
use nowd_protocol::Presence;
use serde_json::{Value, json};
use tracing::warn;

use super::report::acknowledge;
use super::{PRESENCE_PAUSE, Session, State, Uplink, Way};

impl Uplink {
    /// Our own presence, as others see it. After a takeover the broker may publish the old connection's will after we
    /// have said that we are online, and would say offline for ever.
    pub(super) fn heard_presence(&mut self, message: Message) {
        let State::Up(up) = &mut self.state else { return };
        // A retained one is from before the subscription; ours has overwritten it or is about to.
        let right = message.retain
            || up.ready.is_none()
            || Presence::parse(&message.payload).is_ok_and(|p| p.online && p.session == up.session.id);
        // A broker that ends in order publishes the wills of those who are connected, and ends their connections after it: that
        // one is right, and with the connection the correction is forgotten.
        if !right && !std::mem::replace(&mut up.presence_is_wrong, true) {
            up.correction = Some(Box::pin(tokio::time::sleep(PRESENCE_PAUSE)));
        }
        acknowledge(message, "a presence");
    }

    /// The presence is to be published again, because it is wrong or was refused.
    pub(super) fn correct(&mut self) {
        if let State::Up(up) = &mut self.state
            && std::mem::take(&mut up.presence_is_wrong)
        {
            self.counts.corrections = self.counts.corrections.saturating_add(1);
            warn!(
                see = "presence-wrong",
                "the presence of this gateway was wrong, which the will of an earlier connection explains; it is put right"
            );
        }
        self.announce(true);
    }

    pub(super) fn announce(&self, online: bool) {
        let State::Up(up) = &self.state else { return };
        let publish = Publish {
            topic: self.presence_topic.clone(),
            payload: self.presence(&up.session, online).into(),
            qos: Qos::AtLeastOnce,
            retain: true,
            ..Publish::default()
        };
        if let Err(e) = up.sender.publish(publish) {
            warn!(
                see = "presence-unsent",
                "the presence was not published: {e}; it is said again with the next connection"
            );
        }
    }

    /// One through a nucleus has no last will, and so says `via`: that nobody takes back its `online` when it dies.
    pub(super) fn presence(&self, session: &Session, online: bool) -> String {
        let presence = Presence {
            online,
            session: session.id,
            incarnation: self.facts.incarnation,
            since: session.since.as_micros(),
            version: env!("CARGO_PKG_VERSION").into(),
            methods: self.facts.methods.clone(),
        };
        let mut value = match (&self.way, serde_json::to_value(&presence)) {
            (Way::Relay(_), Ok(Value::Object(value))) => value,
            (Way::Direct(_) | Way::Relay(_), _) => return presence.payload(),
        };
        value.insert("via".into(), json!(self.way.name()));
        Value::Object(value).to_string()
    }
}
