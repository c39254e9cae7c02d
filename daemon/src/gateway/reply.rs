//! Answers, stamped with the gateway's clock, on their way to the link.

use nowd_core::{LOCAL_CLIENT, ReplyBody};
use nowd_link::{Properties, Publish, Qos};
use nowd_plugin::BootInstant;
use nowd_protocol::{ErrorBody, GatewayStamp, RawValue, Reply, ReplyStatus};

use super::Gateway;
use crate::record::Line;

impl Gateway {
    pub(super) fn reply(&mut self, body: ReplyBody) {
        if body.topic.client.as_str() == LOCAL_CLIENT {
            return self.local_reply(body);
        }
        let id = body.topic.id;
        let unsent = |reason: String| self.records.push(Line::Unsent { id, reason });
        let Some(sender) = self.uplink.sender() else { return unsent("the link is down".into()) };
        let topic = body.topic.reply();
        let payload = self.payload(body, self.uplink.since(), sender.most_payload());
        let properties = Properties {
            correlation_data: Some(id.into_bytes().to_vec().into()),
            content_type: Some("application/json".into()),
            ..Properties::default()
        };
        let publish = Publish {
            topic,
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            properties,
            ..Publish::default()
        };
        if let Err(e) = sender.publish(publish) {
            unsent(e.to_string());
        }
    }

    /// The reply as on the wire: `since` is when requests began to come to this process alone, the way that this one came; `most`
    /// is how many bytes fit into a message on it.
    pub(super) fn payload(&self, body: ReplyBody, since: Option<BootInstant>, most: usize) -> String {
        let mut reply = Reply {
            id: body.topic.id,
            response: body.response.unwrap_or_else(|| RawValue::NULL.to_owned()),
            status: ReplyStatus::Known(body.status),
            outcome: body.outcome,
            error: body.error,
            timing: Some(body.timing),
            attempt: Some(body.attempt),
            gateway: Some(GatewayStamp {
                incarnation: self.incarnation,
                now: BootInstant::now().as_micros(),
                since: since.map(BootInstant::as_micros),
                version: env!("CARGO_PKG_VERSION").into(),
            }),
        };
        let payload = reply.payload();
        if payload.len() <= most {
            return payload;
        }
        // What happened has happened; only its description does not fit.
        reply.response = RawValue::NULL.to_owned();
        let message = format!("the response does not fit into a message of {most} bytes and was left out");
        reply.error = Some(ErrorBody { code: "response_too_large".into(), message });
        reply.payload()
    }
}
