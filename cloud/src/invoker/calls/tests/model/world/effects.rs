//! What comes of what happens: the core of a cloud side or of the gateway is told, and what it wants done is done. It judges
//! nothing.

use super::*;

impl World {
    /// Does something to a cloud side, as its loop does, and sees what comes of it.
    pub(super) fn side(&mut self, n: usize, act: impl FnOnce(&mut Core, BootInstant, &mut Desk)) {
        let now = BootInstant::from_micros(START + self.now);
        let mut desk = Desk::default();
        let side = Rc::make_mut(&mut self.sides[n]);
        act(&mut side.core, now, &mut desk);
        side.core.tick(now, &mut desk);
        let mut seen = 0;
        while let Some((publish, about)) = desk.published.get(seen).cloned() {
            seen += 1;
            match about {
                About::Call(_, attempt) => self.published(n, &publish, attempt),
                // Where presence is in the model, the broker has it; where it is not, this side may not know.
                About::Probe(_) if self.config.presence => self.presence(n, true, self.gateway.incarnation),
                About::Probe(_) => {
                    let side = Rc::make_mut(&mut self.sides[n]);
                    side.core.not_subscribed(now, "nowd/presence/g", "NotAuthorized", &mut desk);
                }
            }
        }
        for answer in &desk.answers {
            let (at, id) = (self.now, answer.id);
            let call = self.calls.iter().position(|call| call.id == id && call.side == n).unwrap();
            self.tell(format!("  call {call} is answered {} {:?}", answer.status.as_str(), answer.outcome));
            self.answered(call, at, answer);
            // It has no effect any more. That makes many worlds alike.
            self.replies.retain(|heard| heard.call != Some(call));
        }
        self.ticked(n);
        let side = Rc::make_mut(&mut self.sides[n]);
        side.digest = digest_of(side, &self.calls, n, self.config.presence);
    }

    fn published(&mut self, n: usize, publish: &Publish, attempt: u32) {
        let Ok(Received::Request(request)) = Received::parse(&publish.topic, &publish.payload) else {
            panic!("{publish:?}")
        };
        let call = self.calls.iter().position(|call| call.id == request.topic.id && call.side == n).unwrap();
        let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
        self.tell(format!(
            "  call {call} is published, attempt {attempt}, not_after {:?}",
            request
                .not_after
                .map(|n| (n.incarnation.as_u128(), n.at.cast_signed() - (START + AHEAD).cast_signed()))
        ));
        let round = self.publishing(call, attempt, &Request { attempt: 1, ..request }.payload());
        let digest = digest(format_args!("{call} {round} {} {payload}", publish.topic));
        let topic = publish.topic.clone();
        self.requests.push(Rc::new(Sent { call, round, attempt, topic, payload, digest }));
    }

    pub(super) fn presence(&mut self, side: usize, online: bool, incarnation: u8) {
        let presence = Presence {
            online,
            session: Uuid::from_u128(u128::from(incarnation)),
            incarnation: incarnation_id(incarnation),
            since: 1,
            version: String::new(),
            methods: String::new(),
        };
        let words = format!("the presence of incarnation {incarnation}, online {online}");
        self.under_way(side, None, words, "nowd/presence/g".into(), presence.payload());
    }

    fn under_way(&mut self, side: usize, call: Option<usize>, words: String, topic: String, payload: String) {
        let digest = digest(format_args!("{side} {topic} {payload}"));
        self.replies.push(Rc::new(Heard { side, call, words, topic, payload, digest }));
    }

    /// Tells the gateway's core something, and does what it wants done.
    pub(super) fn gateway(&mut self, event: Event<(usize, u32)>) {
        let now = self.gateway_now();
        let actions = Rc::make_mut(&mut self.gateway).core.handle(now, event);
        for action in actions {
            match action {
                Action::Start(start) => {
                    let (call, round) = start.params;
                    self.tell(format!("  the device is asked to act for call {call}"));
                    let deadline = start.deadline.as_micros().saturating_sub(START + AHEAD);
                    self.started(call, round, deadline);
                    Rc::make_mut(&mut self.gateway).running.push((start.key, call));
                }
                Action::Reply(reply) => self.replied(*reply),
                Action::Journal { line, then } => {
                    let gateway = Rc::make_mut(&mut self.gateway);
                    gateway.journal.push(line);
                    gateway.committing.extend(then);
                }
                Action::Cancel(_) | Action::Record(_) | Action::Dropped(_) | Action::Polled { .. } => {}
            }
        }
        let gateway = Rc::make_mut(&mut self.gateway);
        gateway.digest = gateway.digest();
    }

    fn replied(&mut self, body: ReplyBody) {
        let side = usize::from(body.topic.client == client(1));
        let words = format!(
            "attempt {} is answered {} by incarnation {}",
            body.attempt,
            body.status.as_str(),
            self.gateway.incarnation
        );
        self.tell(format!("  {words}"));
        let call = self.calls.iter().position(|call| call.id == body.topic.id && call.side == side).unwrap();
        if self.calls[call].answer().is_some() {
            return;
        }
        let reply = Reply {
            id: body.topic.id,
            response: RawValue::NULL.to_owned(),
            status: ReplyStatus::Known(body.status),
            outcome: body.outcome,
            error: body.error,
            // Nothing is decided by it, and without it more worlds are alike.
            timing: None,
            attempt: Some(body.attempt),
            gateway: Some(GatewayStamp {
                incarnation: incarnation_id(self.gateway.incarnation),
                now: self.gateway_now().as_micros(),
                since: Some(self.gateway.started),
                version: String::new(),
            }),
        };
        self.under_way(side, Some(call), words, ReplyTopic(body.topic).to_string(), reply.payload());
    }
}
