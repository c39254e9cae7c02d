//! What decides, and what reads and writes messages: the same at each run, so the numbers are exact.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use nowd_core::{
    Action, CallKey, Compat, Core, Ended, Event, Instant, Lane, Limits, Method, Offer, Pattern, Receipt,
    ReplyBody, Settings,
};
use nowd_protocol::{GatewayStamp, Level, Outcome, RawValue, Received, Reply, ReplyStatus, Status, Uuid};

use super::{CALLS, Taken, median, taken};

const INCARNATION: Uuid = Uuid::from_u128(0x1111);

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

fn at(call: usize) -> Instant {
    Instant::from_micros(1_000_000_000 + u64::try_from(call).unwrap() * 1_000)
}

/// One method, whose lane runs one call at a time.
fn core() -> Core<Arc<()>> {
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
struct Sent {
    topic: String,
    payload: String,
}

impl Sent {
    fn new(call: usize) -> Self {
        let id = Uuid::from_u128(u128::try_from(call).unwrap());
        let at = at(call).as_micros() + 1_000_000;
        let payload = format!(
            r#"{{"id":"{id}","timestamp":1795289952102,"request":{{"percent":40}},"timeout":1000,"not_after":{{"incarnation":"{INCARNATION}","at":{at}}},"caller":"arn:aws:iam::123456789012:role/ops","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}"#
        );
        Self { topic: format!("gw-1/window.set/cloud-1/{id}"), payload }
    }

    fn parse(&self) -> Received {
        Received::parse(&self.topic, self.payload.as_bytes()).unwrap()
    }
}

const RECEIPT: Receipt =
    Receipt { wall: None, stalled: false, retained: false, since: Instant::from_micros(0), local: false };

fn key(actions: &[Action<Arc<()>>]) -> CallKey {
    let [Action::Start(start)] = actions else { panic!("not one call that starts, but {actions:?}") };
    start.key
}

fn answered(actions: Vec<Action<Arc<()>>>) -> ReplyBody {
    let mut actions = actions.into_iter();
    let (Some(Action::Reply(reply)), Some(Action::Record(_)), None) =
        (actions.next(), actions.next(), actions.next())
    else {
        panic!("not an answer and its record")
    };
    *reply
}

/// What each step of a call takes, in order.
fn one_call(core: &mut Core<Arc<()>>, call: usize) -> [Taken; 5] {
    let (sent, params) = (Sent::new(call), Arc::new(()));
    let mut message = None;
    let parsed = taken(|| message = Some(sent.parse()));
    let event = Event::Received { message: message.unwrap(), receipt: RECEIPT, params: Ok(params) };
    let mut actions = Vec::new();
    let started = taken(|| actions = core.handle(at(call), event));
    let ended =
        Ended { status: Status::Ok, outcome: Outcome::Executed, response: Some(raw("40")), error: None };
    let event = Event::Ended { key: key(&actions), ended };
    let ended = taken(|| actions = core.handle(at(call), event));
    let body = answered(actions);
    let written = taken(|| drop(write(body)));
    let repeat = Event::Received { message: sent.parse(), receipt: RECEIPT, params: Ok(Arc::new(())) };
    let mut actions = Vec::new();
    let repeated = taken(|| actions = core.handle(at(call), repeat));
    answered(actions);
    [parsed, started, ended, written, repeated]
}

/// Topic and payload of an answer.
fn write(body: ReplyBody) -> (String, String) {
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

#[test]
fn what_a_call_takes_without_a_plugin_and_a_link() {
    let mut core = core();
    for call in 0..CALLS {
        one_call(&mut core, call);
    }
    let calls: Vec<_> = (CALLS..2 * CALLS).map(|call| one_call(&mut core, call)).collect();
    let step = |index: usize| median(&calls.iter().map(|steps| steps[index]).collect::<Vec<_>>()).allocations;
    let found = [
        ("a request is read", step(0)),
        ("it starts", step(1)),
        ("it ends", step(2)),
        ("its answer is written", step(3)),
        ("a repeat is answered", step(4)),
    ];
    let expected = [
        ("a request is read", 6),
        ("it starts", 11),
        ("it ends", 5),
        ("its answer is written", 3),
        ("a repeat is answered", 21),
    ];
    assert_eq!(found, expected, "fewer? then say so here");
}
