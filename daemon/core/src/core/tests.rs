use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use nowd_protocol::{Level, NotAfter, RawValue, Received, Request, RequestTopic, Uuid};

use super::*;
use crate::access::Pattern;
use crate::event::Receipt;
use crate::memory::Mark;
use crate::settings::{self, Compat, Limits, Offer};

mod admission;
mod crowd;
mod journal;
mod lanes;
mod lockout;
mod on_offer;
mod outcome;
mod polls;
mod properties;
mod reload;
mod repeats;

const INCARNATION: Uuid = Uuid::from_u128(0x1111);
const NOW: u64 = 1_000_000_000;

fn at(ms: u64) -> Instant {
    Instant::from_micros(NOW + ms * 1_000)
}

fn method(lane: &str) -> settings::Method {
    settings::Method {
        entry: entry("{}"),
        identity: None,
        lane: lane.into(),
        timeout: Duration::from_millis(100),
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
    }
}

fn entry(json: &str) -> Arc<RawValue> {
    RawValue::from_string(json.into()).unwrap().into()
}

fn lane(concurrency: u16, depth: u16) -> settings::Lane {
    settings::Lane { concurrency: NonZeroU16::new(concurrency).unwrap(), depth }
}

/// `set` and `halt` share the lane `window`, which runs one call and lets two wait; `wide` runs three.
fn settings() -> Settings {
    let mut methods: BTreeMap<String, settings::Method> =
        ["set", "other"].into_iter().map(|name| (name.into(), method("window"))).collect();
    methods.insert("stop".into(), settings::Method { stop: true, ..method("window") });
    methods.insert("halt".into(), settings::Method { internal: true, ..method("window") });
    methods.insert(
        "safe".into(),
        settings::Method {
            on_timeout: Some("halt".into()),
            on_stop: Some("halt".into()),
            ..method("window")
        },
    );
    methods.insert("wide".into(), method("wide"));
    methods.insert(
        "patient".into(),
        settings::Method { min_budget: Duration::from_millis(300), ..method("window") },
    );
    methods.insert(
        "ops".into(),
        settings::Method {
            allow: Some(vec![Pattern::new("ops-*"), Pattern::new("arn:*:role/ops")]),
            ..method("wide")
        },
    );
    let offer = Offer {
        generation: 0,
        methods,
        lanes: [("window".into(), lane(1, 2)), ("wide".into(), lane(3, 2))].into(),
        access_default: vec![Pattern::new("*")],
        compat: Compat { prefixes: vec!["old-".into()], budget: Duration::from_secs(1) },
    };
    Settings {
        target: Level::new("gw").unwrap(),
        incarnation: INCARNATION,
        offer: Arc::new(offer),
        limits: Limits::default(),
        journal: false,
        new_id: || Uuid::from_u128(0x5afe),
    }
}

/// What is on offer, to be changed before the core is made.
fn offer(settings: &mut Settings) -> &mut Offer {
    Arc::make_mut(&mut settings.offer)
}

fn receipt() -> Receipt {
    Receipt { wall: None, stalled: false, retained: false, since: Instant::from_micros(0) }
}

/// A request that may take until `at(until)`.
fn request(id: u128, name: &str, until: u64) -> Request {
    Request {
        topic: RequestTopic {
            target: Level::new("gw").unwrap(),
            method: Level::new(name).unwrap(),
            client: Level::new("app").unwrap(),
            id: Uuid::from_u128(id),
        },
        timestamp: None,
        request: RawValue::from_string("1".into()).unwrap(),
        timeout: Some(5_000),
        not_after: Some(NotAfter { incarnation: INCARNATION, at: at(until).as_micros() }),
        attempt: 1,
        caller: None,
        traceparent: None,
    }
}

fn ok() -> Ended {
    Ended { status: Status::Ok, outcome: Outcome::Executed, response: None, error: None }
}

/// A core and what it did, in words: `start 1 set`, `reply 1 ok`, `cancel 1`, `record 1 Late ok`, `drop ...`.
struct Bench {
    core: Core<u8>,
    keys: BTreeMap<u128, CallKey>,
    journal: Vec<JournalLine>,
}

impl Bench {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        Self { core: Core::new(settings, []), keys: BTreeMap::new(), journal: Vec::new() }
    }

    fn handle(&mut self, ms: u64, event: Event<u8>) -> Vec<String> {
        let actions = self.core.handle(at(ms), event);
        let mut words = Vec::new();
        for action in actions {
            words.push(match action {
                Action::Start(start) => {
                    self.keys.insert(start.id.as_u128(), start.key);
                    assert!(at(ms) < start.deadline, "started at or after its deadline");
                    format!("start {:x} {}", start.id.as_u128(), start.method)
                }
                Action::Cancel(_) => "cancel".into(),
                Action::Journal { line, then } => {
                    let (what, id) = match line {
                        JournalLine::Started { id, .. } => ("started".to_owned(), id),
                        JournalLine::Ended { id, status, .. } => (status.as_str().to_owned(), id),
                        JournalLine::NotStarted { id } => ("not started".to_owned(), id),
                    };
                    self.journal.push(line);
                    if let Some(key) = then {
                        self.keys.insert(id.as_u128(), key);
                    }
                    format!("journal {:x} {what}", id.as_u128())
                }
                Action::Reply(reply) => {
                    format!("reply {:x} {}", reply.topic.id.as_u128(), reply.status.as_str())
                }
                Action::Record(record) if record.kind == RecordKind::Answered => continue,
                Action::Record(record) => {
                    format!("record {:x} {:?} {}", record.id.as_u128(), record.kind, record.status.as_str())
                }
                Action::Dropped(drop) => format!("drop: {drop}"),
                Action::Polled { method, error: None } => format!("{method} works again"),
                Action::Polled { method, error: Some(error) } => format!("{method} fails: {}", error.code),
            });
        }
        words
    }

    fn send(&mut self, ms: u64, request: Request) -> Vec<String> {
        self.send_with(ms, request, receipt())
    }

    fn send_with(&mut self, ms: u64, request: Request, receipt: Receipt) -> Vec<String> {
        self.handle(ms, Event::Received { message: Received::Request(request), receipt, params: Ok(0) })
    }

    fn end(&mut self, ms: u64, id: u128, ended: Ended) -> Vec<String> {
        let key = self.keys[&id];
        self.handle(ms, Event::Ended { key, ended })
    }

    fn time(&mut self, ms: u64) -> Vec<String> {
        self.handle(ms, Event::Time)
    }
}
