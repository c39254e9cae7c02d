//! What the tests of the core have in common: a desk that remembers what was done, and a core with its clock.

use super::*;

/// Remembers what the core did.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) published: Vec<(Publish, About)>,
    pub(super) subscribed: Vec<String>,
    pub(super) unsubscribed: Vec<String>,
    pub(super) answers: Vec<Answer>,
    pub(super) full: bool,
    pub(super) subscribing: bool,
}

impl Wire for Desk {
    fn publish(&mut self, publish: Publish, about: About) -> Result<(), SendError> {
        if self.full {
            return Err(SendError::Full);
        }
        self.published.push((publish, about));
        Ok(())
    }

    fn can_subscribe(&self) -> bool {
        !self.subscribing
    }

    fn subscribe(&mut self, filters: &[String]) -> Result<(), SendError> {
        assert!(filters.len() <= 8);
        if self.full {
            return Err(SendError::Full);
        }
        self.subscribed.extend(filters.iter().cloned());
        Ok(())
    }

    fn unsubscribe(&mut self, filter: &str) {
        self.unsubscribed.push(filter.to_owned());
    }

    fn answer(&mut self, answer: Answer) {
        self.answers.push(answer);
    }
}

pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) desk: Desk,
    pub(super) counts: Arc<Counts>,
    pub(super) now: u64,
}

pub(super) fn level(name: &str) -> Level {
    Level::new(name).unwrap()
}

pub(super) fn topic(target: &str, id: u128) -> RequestTopic {
    RequestTopic { target: level(target), method: level("m"), client: level("c"), id: Uuid::from_u128(id) }
}

impl Rig {
    /// Connected, and `g` is known to be online.
    pub(super) fn ready() -> Self {
        let mut rig = Self::connected();
        rig.call("g", 900, 1, Form::Native);
        rig.presence("g", true, 1, 1);
        rig.core.gone(Uuid::from_u128(900));
        rig.desk.published.clear();
        rig
    }

    pub(super) fn connected() -> Self {
        let mut rig = Self::new(100);
        rig.core.connected(rig.at(), &mut rig.desk);
        rig
    }

    /// Connected; requests are delivered directly or by publishing.
    pub(super) fn by(direct: bool) -> Self {
        let mut rig = Self::connected();
        rig.core.direct = direct;
        rig
    }

    pub(super) fn new(most_calls: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let core = Core::new(level("c"), most_calls, Uuid::from_u128(1 << 100), Arc::clone(&counts), false);
        Self { core, desk: Desk::default(), counts, now: 0 }
    }

    pub(super) fn at(&self) -> BootInstant {
        BootInstant::from_micros(self.now)
    }

    pub(super) fn call(&mut self, target: &str, id: u128, seconds: u64, form: Form) {
        let request = Request {
            topic: topic(target, id),
            timestamp: Some(1_000),
            request: RawValue::from_string("{\"a\": 1}".into()).unwrap(),
            timeout: None,
            not_after: None,
            attempt: 1,
            caller: Some("me".into()),
            traceparent: None,
        };
        let received = self.at();
        let deadline = received.saturating_add(Duration::from_secs(seconds));
        self.core.submit(self.at(), NewCall { request, form, received, deadline }, &mut self.desk);
    }

    pub(super) fn message(&mut self, topic: &str, payload: &str) {
        self.core.message(self.at(), topic, payload.as_bytes(), false, &mut self.desk);
    }

    pub(super) fn presence(&mut self, target: &str, online: bool, session: u128, incarnation: u128) {
        let presence = Presence {
            online,
            session: Uuid::from_u128(session),
            incarnation: Uuid::from_u128(incarnation),
            since: 1,
            version: String::new(),
            methods: String::new(),
        };
        self.message(&format!("nowd/presence/{target}"), &presence.payload());
    }

    pub(super) fn echo(&mut self) {
        let probes: Vec<_> =
            self.desk.published.iter().filter(|(_, about)| matches!(about, About::Probe(_))).collect();
        let topic = probes.last().unwrap().0.topic.clone();
        self.message(&topic, "");
    }

    /// A reply to the last attempt.
    pub(super) fn reply(&mut self, id: u128, status: Status, stamp: Option<(u128, u64)>) {
        let attempts = self.requests().into_iter().filter(|r| r.topic.id == Uuid::from_u128(id));
        let attempt = attempts.map(|r| r.attempt).max().unwrap_or(1);
        self.reply_to(id, attempt, status, stamp);
    }

    pub(super) fn reply_to(&mut self, id: u128, attempt: u32, status: Status, stamp: Option<(u128, u64)>) {
        let reply = Reply { attempt: Some(attempt), ..reply(id, status, stamp) };
        self.message(&ReplyTopic(topic("g", id)).to_string(), &reply.payload());
    }

    pub(super) fn pass(&mut self, micros: u64) {
        self.now += micros;
        self.core.tick(self.at(), &mut self.desk);
    }

    pub(super) fn thaw(&mut self, clock_stood: bool) {
        self.core.thawed(self.at(), clock_stood, &mut self.desk);
    }

    /// What was published for calls, as a gateway reads it.
    pub(super) fn requests(&self) -> Vec<Request> {
        let calls = self.desk.published.iter().filter(|(_, about)| matches!(about, About::Call(..)));
        calls
            .map(|(publish, _)| match Received::parse(&publish.topic, &publish.payload) {
                Ok(Received::Request(request)) => request,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    pub(super) fn answers(&self) -> Vec<(u128, &str, Outcome, u32)> {
        let row = |a: &'_ Answer| (a.id.as_u128(), a.outcome, a.attempts);
        self.desk
            .answers
            .iter()
            .map(|a| {
                let (id, outcome, attempts) = row(a);
                (id, a.status.as_str(), outcome, attempts)
            })
            .collect()
    }
}

pub(super) fn reply(id: u128, status: Status, stamp: Option<(u128, u64)>) -> Reply {
    Reply {
        id: Uuid::from_u128(id),
        response: RawValue::from_string("7".into()).unwrap(),
        status: ReplyStatus::Known(status),
        outcome: status.outcome().unwrap(),
        error: Some(ErrorBody { code: "e".into(), message: "why".into() }),
        timing: None,
        attempt: None,
        gateway: stamp.map(|(incarnation, now)| GatewayStamp {
            incarnation: Uuid::from_u128(incarnation),
            now,
            since: None,
            version: String::new(),
        }),
    }
}

pub(super) fn not_after(incarnation: u128, at: u64) -> NotAfter {
    NotAfter { incarnation: Uuid::from_u128(incarnation), at }
}
