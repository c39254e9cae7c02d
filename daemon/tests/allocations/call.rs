//! One call, as a cloud side makes it and as the core sees it. Here its allocations are counted, and in `daemon/core/benches` its time.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use nowd_core::{
    Action, CallKey, Compat, Core, Instant, Lane, Limits, Method, Offer, Pattern, Receipt, ReplyBody,
    Settings,
};
use nowd_protocol::{GatewayStamp, Level, RawValue, Received, Reply, ReplyStatus, Uuid};

const INCARNATION: Uuid = Uuid::from_u128(0x1111);

pub(super) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

pub(super) fn at(call: usize) -> Instant {
    Instant::from_micros(1_000_000_000 + u64::try_from(call).unwrap() * 1_000)
}

/// One method, whose lane runs one call at a time.
pub(super) fn core() -> Core<Arc<()>> {
    let method = Method {
        entry: raw("{}").into(),
        identity: None,
        lane: "window".into(),
        timeout: Duration::from_secs(1),
        max_timeout: Duration::from_secs(5),
        min_budget: Duration::ZERO,
        stuck_after: Duration::from_secs(1),
        allow: None,
        stop: false,
        internal: false,
        idempotent: false,
        on_timeout: None,
        on_stop: None,
        poll: None,
    };
    let lane = Lane { concurrency: NonZeroU16::MIN, depth: 8 };
    let offer = Offer {
        generation: 0,
        methods: [("window.set".into(), method)].into(),
        lanes: [("window".into(), lane)].into(),
        access_default: vec![Pattern::new("arn:*:role/ops")],
        compat: Compat { prefixes: Vec::new(), budget: Duration::from_secs(1) },
    };
    let settings = Settings {
        target: Level::new("gw-1").unwrap(),
        incarnation: INCARNATION,
        offer: Arc::new(offer),
        limits: Limits::default(),
        journal: false,
        new_id: Uuid::new_v4,
    };
    Core::new(settings, [])
}

/// A message as a cloud side sends it.
pub(super) struct Sent {
    topic: String,
    payload: String,
}

impl Sent {
    pub(super) fn new(call: usize) -> Self {
        let id = Uuid::from_u128(u128::try_from(call).unwrap());
        let at = at(call).as_micros() + 1_000_000;
        let payload = format!(
            r#"{{"id":"{id}","timestamp":1795289952102,"request":{{"percent":40}},"timeout":1000,"not_after":{{"incarnation":"{INCARNATION}","at":{at}}},"caller":"arn:aws:iam::123456789012:role/ops","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}"#
        );
        Self { topic: format!("gw-1/window.set/cloud-1/{id}"), payload }
    }

    pub(super) fn parse(&self) -> Received {
        Received::parse(&self.topic, self.payload.as_bytes()).unwrap()
    }
}

pub(super) const RECEIPT: Receipt =
    Receipt { wall: None, stalled: false, retained: false, since: Instant::from_micros(0), local: false };

pub(super) fn key(actions: &[Action<Arc<()>>]) -> CallKey {
    let [Action::Start(start)] = actions else { panic!("not one call that starts, but {actions:?}") };
    start.key
}

pub(super) fn answered(actions: Vec<Action<Arc<()>>>) -> ReplyBody {
    let mut actions = actions.into_iter();
    let (Some(Action::Reply(reply)), Some(Action::Record(_)), None) =
        (actions.next(), actions.next(), actions.next())
    else {
        panic!("not an answer and its record")
    };
    *reply
}

/// Topic and payload of an answer.
pub(super) fn write(body: ReplyBody) -> (String, String) {
    let topic = body.topic.reply();
    let reply = Reply {
        id: body.topic.id,
        response: body.response.unwrap(),
        status: ReplyStatus::Known(body.status),
        outcome: body.outcome,
        error: body.error,
        timing: Some(body.timing),
        attempt: Some(body.attempt),
        gateway: Some(GatewayStamp {
            incarnation: INCARNATION,
            now: 1_000_000_000,
            since: Some(1_000),
            version: "0.1.0".into(),
        }),
    };
    (topic, reply.payload())
}
