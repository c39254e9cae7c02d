//! Laws that hold for every interleaving of requests, results, repeats and jumps of time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Send {
        id: u128,
        name: usize,
        budget: u64,
        attempt: u32,
        foreign: bool,
        client: usize,
    },
    /// The same bytes as an earlier request.
    Repeat(Index),
    /// A running call ends, done or refused.
    End(Index, bool),
    /// Time passes: so many milliseconds.
    Wait(u64),
    Stop,
    Abandon,
}

const NAMES: [&str; 5] = ["set", "stop", "safe", "wide", "patient"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..12_u128, 0..NAMES.len(), 1..2_000_u64, 1..4_u32, prop::bool::weighted(0.1), 0..3_usize).prop_map(
            |(id, name, budget, attempt, foreign, client)| Step::Send { id, name, budget, attempt, foreign, client }
        ),
        6 => any::<Index>().prop_map(Step::Repeat),
        8 => (any::<Index>(), any::<bool>()).prop_map(|(which, done)| Step::End(which, done)),
        8 => (0..3_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Stop),
        1 => Just(Step::Abandon),
    ]
}

/// A core, and what the world has seen of it.
struct World {
    core: Core<u8>,
    now: Instant,
    started: BTreeSet<(String, Uuid)>,
    /// Which lane each running call holds; safe actions hold none.
    running: BTreeMap<CallKey, Option<String>>,
    refused_attempts: BTreeSet<(String, Uuid, u32)>,
    answered: BTreeMap<(String, Uuid), Outcome>,
    sent: Vec<Request>,
}

impl World {
    fn handle(&mut self, event: Event<u8>) {
        let cause = if let Event::Received { message: Received::Request(request), .. } = &event {
            Some(request.clone())
        } else {
            None
        };
        for action in self.core.handle(self.now, event) {
            match action {
                Action::Start(start) => self.start(&start, cause.as_ref()),
                Action::Reply(reply) => self.reply(&reply, cause.as_ref()),
                Action::Cancel(_) | Action::Record(_) | Action::Dropped(_) => {}
            }
        }
        for (lane, settings) in &self.core.settings.lanes {
            let held = self.running.values().filter(|held| held.as_ref() == Some(lane)).count();
            assert!(held <= usize::from(settings.concurrency.get()), "a lane is overfull");
        }
        let slots: usize =
            self.core.settings.lanes.values().map(|lane| usize::from(lane.concurrency.get())).sum();
        assert!(self.running.len() <= slots + self.core.settings.methods.len(), "too much runs");
        let limits = self.core.settings.limits;
        assert!(self.core.remembered() <= limits.ids_per_client * limits.clients, "memory is not bounded");
        assert!(self.core.wake_at().is_none_or(|at| at > self.now), "a timer is overdue");
    }

    fn start(&mut self, start: &Start<u8>, cause: Option<&Request>) {
        assert!(self.now < start.deadline, "started at or after its deadline");
        if start.safe_action {
            self.running.insert(start.key, None);
            return;
        }
        let call = &self.core.calls.get(&start.key);
        // A call may have ended by another action of the same event; its lane is its method's in any case.
        let lane = self.core.settings.methods[&start.method].lane.clone();
        self.running.insert(start.key, Some(lane));
        let client = call.unwrap().asker.as_ref().unwrap().topic.client.to_string();
        assert!(self.started.insert((client.clone(), start.id)), "started twice");
        if let Some(cause) = cause.filter(|cause| cause.topic.id == start.id) {
            let attempt = (client, start.id, cause.attempt);
            assert!(!self.refused_attempts.contains(&attempt), "an attempt that was refused was started");
        }
    }

    fn reply(&mut self, reply: &ReplyBody, cause: Option<&Request>) {
        let id = (reply.topic.client.to_string(), reply.topic.id);
        let started = self.started.contains(&id);
        if reply.outcome == Outcome::NotExecuted {
            let allowed = matches!(reply.status, Status::Conflict | Status::Refused);
            assert!(!started || allowed, "{} for a call that was started", reply.status.as_str());
            if let Some(cause) = cause.filter(|cause| cause.topic == reply.topic) {
                self.refused_attempts.insert((id.0, id.1, cause.attempt));
            }
        } else {
            assert!(started, "{} for a call that was not started", reply.status.as_str());
            let before = self.answered.insert(id, reply.outcome);
            assert!(before.is_none_or(|before| before == reply.outcome), "answered in two ways");
        }
    }

    fn send(&mut self, request: Request) {
        self.sent.push(request.clone());
        self.handle(Event::Received {
            message: Received::Request(request),
            receipt: receipt(),
            params: Ok(0),
        });
    }

    fn end(&mut self, key: CallKey, ended: Ended) {
        self.running.remove(&key);
        self.handle(Event::Ended { key, ended });
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { id, name, budget, attempt, foreign, client } => {
                let mut request = request(id, NAMES[name], 0);
                request.topic.client = Level::new(format!("app{client}")).unwrap();
                request.attempt = attempt;
                request.timeout = Some(budget);
                let incarnation = if foreign { Uuid::from_u128(9) } else { INCARNATION };
                let deadline = self.now.after(Duration::from_millis(budget));
                request.not_after = Some(NotAfter { incarnation, at: deadline.as_micros() });
                // A cloud side numbers its attempts: the same number is the same bytes.
                let key = |r: &Request| (r.topic.client.clone(), r.topic.id, r.attempt);
                let twin = self.sent.iter().find(|sent| key(sent) == key(&request)).cloned();
                self.send(twin.unwrap_or(request));
            }
            Step::Repeat(ref which) if !self.sent.is_empty() => self.send(which.get(&self.sent).clone()),
            Step::End(ref which, done) if !self.running.is_empty() => {
                let key = *which.get(&self.running.keys().copied().collect::<Vec<_>>());
                let refused = Ended {
                    status: Status::Refused,
                    outcome: Outcome::NotExecuted,
                    response: None,
                    error: None,
                };
                self.end(key, if done { ok() } else { refused });
            }
            Step::Wait(ms) => {
                self.now = self.now.after(Duration::from_millis(ms));
                self.handle(Event::Time);
            }
            Step::Stop => self.handle(Event::Stop),
            Step::Abandon => self.handle(Event::Abandon),
            Step::Repeat(_) | Step::End(..) => {}
        }
    }
}

proptest! {
    // PROPTEST_CASES=100000 is the long form.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, ..ProptestConfig::default() })]

    #[test]
    fn laws(steps in prop::collection::vec(step(), 1..60)) {
        let mut settings = settings();
        let remember = Duration::from_secs(600);
        settings.limits = Limits { ids_per_client: 6, clients: 2, remember, response_bytes: 10 };
        let mut world = World {
            core: Core::new(settings),
            now: at(0),
            started: BTreeSet::new(),
            running: BTreeMap::new(),
            refused_attempts: BTreeSet::new(),
            answered: BTreeMap::new(),
            sent: Vec::new(),
        };
        for step in steps {
            world.step(&step);
        }
        // Every call that was started and has had its time has its answer, and in the end nothing is left.
        world.step(&Step::Wait(60_000));
        world.step(&Step::Wait(60_000)); // safe actions that the first wait has started
        prop_assert_eq!(world.core.unanswered(), 0);
        while let Some(key) = world.running.keys().next().copied() {
            world.end(key, ok());
        }
        prop_assert_eq!(world.core.calls(), 0);
        prop_assert_eq!(world.core.wake_at(), None);
    }
}
