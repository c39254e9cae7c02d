//! Whatever happens in whatever order: what is promised about every call holds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Happening {
    Call {
        target: usize,
        seconds: u64,
        compat: bool,
    },
    Gone(prop::sample::Index),
    Presence {
        target: usize,
        online: bool,
        session: u128,
    },
    Echo(prop::sample::Index),
    Reply {
        call: prop::sample::Index,
        attempt: prop::sample::Index,
        status: usize,
        incarnation: Option<u128>,
        old: bool,
    },
    NotTaken(prop::sample::Index),
    NotDelivered(prop::sample::Index),
    Thawed(bool),
    Proved,
    Connected,
    Disconnected,
    Full(bool),
    Subscribing(bool),
    Pass(u64),
}

const TARGETS: [&str; 3] = ["g", "h", "i"];
const STATUSES: [Status; 4] = [Status::Ok, Status::Resync, Status::Resync, Status::Busy];

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    prop_oneof![
        4 => (0..3_usize, 0..4_u64, any::<bool>())
            .prop_map(|(target, seconds, compat)| H::Call { target, seconds, compat }),
        1 => any::<prop::sample::Index>().prop_map(H::Gone),
        4 => (0..3_usize, any::<bool>(), 0..3_u128)
            .prop_map(|(target, online, session)| H::Presence { target, online, session }),
        3 => any::<prop::sample::Index>().prop_map(H::Echo),
        6 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_usize, prop::option::of(0..3_u128), any::<bool>())
            .prop_map(|(call, attempt, status, incarnation, old)| H::Reply { call, attempt, status, incarnation, old }),
        1 => any::<prop::sample::Index>().prop_map(H::NotTaken),
        1 => any::<prop::sample::Index>().prop_map(H::NotDelivered),
        1 => any::<bool>().prop_map(H::Thawed),
        2 => Just(H::Proved),
        2 => Just(H::Connected),
        1 => Just(H::Disconnected),
        1 => any::<bool>().prop_map(H::Full),
        1 => any::<bool>().prop_map(H::Subscribing),
        3 => (0..2_000_000_u64).prop_map(H::Pass),
    ]
}

/// What is known of a call from outside.
#[derive(Default)]
struct Known {
    target: usize,
    /// What was published, without the numbers of the attempts.
    published: Vec<Request>,
    /// The first attempt of the last round.
    round: usize,
    /// The attempts that may have run or may still run.
    undecided: BTreeSet<usize>,
    deadline: u64,
    compat: bool,
    repeats: u32,
    gone: bool,
    answers: u32,
}

struct World {
    rig: Rig,
    calls: Vec<Known>,
    probes: Vec<String>,
    seen: (usize, usize),
}

impl World {
    fn happen(&mut self, happening: Happening) {
        let rig = &mut self.rig;
        let now = rig.at();
        let pick = |index: prop::sample::Index, len: usize| (len > 0).then(|| index.index(len));
        match happening {
            Happening::Call { target, seconds, compat } => {
                let id = u128::try_from(self.calls.len()).unwrap();
                let deadline = rig.now + seconds * SECOND;
                self.calls.push(Known { target, deadline, compat, ..Known::default() });
                let form = if compat { Form::Compat } else { Form::Native };
                rig.call(TARGETS[target], id, seconds, form);
            }
            Happening::Gone(index) => {
                let Some(n) = pick(index, self.calls.len()) else { return };
                self.calls[n].gone = true;
                rig.core.gone(Uuid::from_u128(u128::try_from(n).unwrap()));
            }
            Happening::Presence { target, online, session } => {
                rig.presence(TARGETS[target], online, session, session);
            }
            Happening::Echo(index) => {
                let Some(n) = pick(index, self.probes.len()) else { return };
                let topic = self.probes[n].clone();
                rig.message(&topic, "");
            }
            Happening::Reply { call, attempt, status, incarnation, old } => {
                let Some(n) = pick(call, self.calls.len()) else { return };
                let id = u128::try_from(n).unwrap();
                let known = &mut self.calls[n];
                let Some(attempt) = pick(attempt, known.published.len()) else { return };
                if STATUSES[status].outcome() == Some(Outcome::NotExecuted) && attempt >= known.round {
                    // One that began only now says nothing of what was published before.
                    let vouches = incarnation.is_none() || old;
                    known.undecided.retain(|_| !vouches);
                }
                let stamp = incarnation.map(|incarnation| (incarnation, now.as_micros()));
                let mut reply = reply(id, STATUSES[status], stamp);
                reply.attempt = Some(u32::try_from(attempt + 1).unwrap());
                if let Some(stamp) = &mut reply.gateway {
                    stamp.now += 1_000 * SECOND;
                    stamp.since = Some(if old { 0 } else { stamp.now });
                }
                if STATUSES[status] == Status::Ok {
                    known.undecided.clear();
                }
                let topic = ReplyTopic(topic(TARGETS[known.target], id)).to_string();
                rig.message(&topic, &reply.payload());
            }
            Happening::NotTaken(index) | Happening::NotDelivered(index) => {
                let Some(n) = pick(index, self.calls.len()) else { return };
                let known = &mut self.calls[n];
                let Some(attempt) = known.published.len().checked_sub(1) else { return };
                known.undecided.remove(&attempt);
                let (id, attempt) =
                    (Uuid::from_u128(u128::try_from(n).unwrap()), u32::try_from(attempt + 1).unwrap());
                if matches!(happening, Happening::NotTaken(_)) {
                    rig.core.not_taken(now, About::Call(id, attempt), "NotAuthorized", &mut rig.desk);
                } else {
                    let answer = Answer::own(id, Status::Unavailable, "not delivered");
                    rig.core.not_delivered(now, attempt, answer, &mut rig.desk);
                }
            }
            Happening::Thawed(clock_stood) => rig.thaw(clock_stood),
            Happening::Proved => {
                if rig.core.link == Link::Doubted {
                    rig.core.proved(now, &mut rig.desk);
                }
            }
            Happening::Connected => {
                if rig.core.link == Link::Down {
                    rig.core.connected(now, &mut rig.desk);
                }
            }
            Happening::Disconnected => {
                rig.core.disconnected();
                self.probes.clear();
            }
            Happening::Full(full) => rig.desk.full = full,
            Happening::Subscribing(subscribing) => rig.desk.subscribing = subscribing,
            Happening::Pass(micros) => rig.pass(micros),
        }
        self.rig.pass(0);
        self.check();
    }

    fn check(&mut self) {
        let desk = &self.rig.desk;
        for (publish, about) in &desk.published[self.seen.0..] {
            match about {
                About::Probe(_) => self.probes.push(publish.topic.clone()),
                About::Call(id, attempt) => {
                    let known = &mut self.calls[usize::try_from(id.as_u128()).unwrap()];
                    assert!(self.rig.core.link == Link::Up, "published without a link that is known to work");
                    assert!(self.rig.now < known.deadline, "published after its deadline");
                    assert_eq!(known.answers, 0, "published after its answer");
                    assert_eq!(usize::try_from(*attempt).unwrap(), known.published.len() + 1);
                    let Ok(Received::Request(request)) = Received::parse(&publish.topic, &publish.payload)
                    else {
                        panic!("{publish:?}")
                    };
                    let bytes = Request { attempt: 1, ..request };
                    let same = known.published.last().is_some_and(|last| last.payload() == bytes.payload());
                    if known.undecided.is_empty() {
                        known.round = known.published.len();
                    } else {
                        assert!(same, "sent under new values while an attempt may be running");
                        assert!(!known.compat, "sent twice to what may be a device of the sample");
                        known.repeats += 1;
                    }
                    known.undecided.insert(known.published.len());
                    known.published.push(bytes);
                    assert!(known.repeats <= 1 && known.published.len() <= 5);
                }
            }
        }
        for answer in &desk.answers[self.seen.1..] {
            let known = &mut self.calls[usize::try_from(answer.id.as_u128()).unwrap()];
            known.answers += 1;
            assert!(!known.gone && known.answers == 1);
            assert_eq!(usize::try_from(answer.attempts).unwrap(), known.published.len());
            let status = answer.status.as_str();
            assert!(status != "offline" || known.published.is_empty(), "offline although it was published");
            assert!(
                status != "no_reply" || !known.undecided.is_empty(),
                "no_reply although nothing was under way"
            );
            let may_run = !known.undecided.is_empty();
            assert!(answer.outcome != Outcome::NotExecuted || !may_run, "{status} although it may run");
        }
        self.seen = (desk.published.len(), desk.answers.len());
        let core = &self.rig.core;
        assert_eq!(core.calls.len(), core.deadlines.len());
        assert!(core.waiting.len() <= core.calls.len());
        assert!(core.watches.len() <= MOST_WATCHES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_promises_hold(direct: bool, happenings in prop::collection::vec(happening(), 1..80)) {
        let mut world = World { rig: Rig::by(direct), calls: Vec::new(), probes: Vec::new(), seen: (0, 0) };
        for happening in happenings {
            world.happen(happening);
        }
        world.happen(Happening::Pass(5 * SECOND));
        for known in &world.calls {
            assert_eq!(known.answers, u32::from(!known.gone || known.answers == 1), "every call is answered");
        }
        assert!(world.rig.core.calls.is_empty() && world.rig.core.waiting.is_empty());
    }
}
