//! From a message to an event for the core, and from the core's word to a plugin's call.

use std::sync::Arc;

use nowd_core::{Event, Instant, Purpose, Receipt, Start};
use nowd_link::Message;
use nowd_plugin::host::Registry;
use nowd_plugin::{BootInstant, Call, Deadline, Method};
use nowd_protocol::{ErrorBody, Received, Request};
use serde_json::Value;
use tracing::debug;

use super::{Gateway, now};
use crate::record::Line;

impl Gateway {
    pub(super) fn message(&mut self, message: Message) {
        let Message { topic, payload, retain, held, ack, .. } = message;
        self.look_for_lockout();
        // Before the wall clock is read: whatever passes between the two makes the deadline earlier, never later.
        let now = now();
        match Received::parse(&topic, &payload) {
            Ok(received) => {
                // A message of a connection that has just ended is older than the next one.
                let since = self.uplink.since().map_or(now, |since| Instant::from_micros(since.as_micros()));
                let wall = if self.needs_wall(&received) { self.clock.trusted() } else { None };
                // Held back by the link is the same as buffered while we stood still: some time has passed since it came.
                let stalled = self.stall.is_on() || held;
                let receipt = Receipt { wall, stalled, retained: retain, since, local: false };
                self.received(now, received, receipt);
            }
            Err(dropped) => self.records.push(Line::Refused { topic, reason: dropped.to_string() }),
        }
        // Decided: whatever becomes of it is in the reply.
        if let Some(ack) = ack
            && let Err(e) = ack.send()
        {
            debug!("a request was not acknowledged: {e}");
        }
    }

    /// Whether the wall clock may have a say: where there is no `not_after`, and for compatibility callers.
    fn needs_wall(&self, received: &Received) -> bool {
        match received {
            Received::Request(request) => {
                request.not_after.is_none()
                    || !self.generations.current().set.offer.compat.prefixes.is_empty()
            }
            Received::Faulty(..) => false,
        }
    }

    /// A request is judged, whichever way it came.
    pub(super) fn received(&mut self, now: Instant, message: Received, receipt: Receipt) {
        let params = self.params(&message);
        self.act(now, Event::Received { message, receipt, params });
    }

    /// What the plugin will get, or what is wrong with it.
    fn params(&self, received: &Received) -> Result<Arc<Value>, ErrorBody> {
        let Received::Request(Request { request, topic, .. }) = received else { return Ok(Arc::default()) };
        let registry = self.generations.registry();
        let Some((method, _)) = registry.get(topic.method.as_str()) else { return Ok(Arc::default()) };
        let invalid = |message: String| ErrorBody { code: "invalid_request".into(), message };
        let value: Value =
            serde_json::from_str(request.get()).map_err(|e| invalid(format!("`request`: {e}")))?;
        match &method.params {
            Some(params) => {
                let value = params.check(value).map_err(|e| invalid(e.to_string()))?;
                if method.policy.poll.is_some() && value != defaults(method) {
                    let message = "`request`: the gateway reads this method by itself, with the defaults of its \
                                   parameters; leave them out";
                    return Err(invalid(message.into()));
                }
                registry.check_safe_actions_of(method, &value).map_err(|e| invalid(e.to_string()))?;
                Ok(Arc::new(value))
            }
            None => Ok(Arc::new(value)),
        }
    }

    pub(super) fn start(&mut self, start: Start<Arc<Value>>) {
        let registry = self.generations.registry_of(start.generation);
        let Some((method, plugin)) = registry.and_then(|registry| registry.get(&start.method)) else {
            return;
        };
        let mut params = Arc::unwrap_or_clone(start.params);
        match start.purpose {
            Purpose::Call => {}
            // It gets the parameters of the call that it makes safe, as far as it knows them.
            Purpose::SafeAction => {
                // They were looked at before the call was let in.
                params = Registry::safe_params(method, &params).unwrap_or_default();
            }
            Purpose::Poll => params = defaults(method),
        }
        let deadline = Deadline::new(BootInstant::from_micros(start.deadline.as_micros()), start.budget);
        let call = Call::new(start.id, start.method.as_ref(), params, deadline);
        self.host.start(start.key, Arc::clone(plugin), call);
    }
}

/// The parameters with which a method is read.
fn defaults(method: &Method) -> Value {
    method.params.as_ref().and_then(|params| params.check(Value::Null).ok()).unwrap_or_default()
}
