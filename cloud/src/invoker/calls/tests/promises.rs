//! Whatever happens in whatever order: what is promised about every call holds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Happening {
    Call { target: usize, seconds: u64, compat: bool },
    Gone(prop::sample::Index),
    Presence { target: usize, online: bool, session: u128 },
    Echo(prop::sample::Index),
    Reply { call: prop::sample::Index, status: usize, incarnation: Option<u128> },
    NotTaken(prop::sample::Index),
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
        6 => (any::<prop::sample::Index>(), 0..4_usize, prop::option::of(0..3_u128))
            .prop_map(|(call, status, incarnation)| H::Reply { call, status, incarnation }),
        1 => any::<prop::sample::Index>().prop_map(H::NotTaken),
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
    published: u32,
    /// An attempt was published that nothing was heard of.
    undecided: bool,
    /// Its fate was told by somebody else than this side.
    told: bool,
    /// The incarnations that it was sent to or heard of.
    met: BTreeSet<Uuid>,
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
                self.calls.push(Known { target, ..Known::default() });
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
            Happening::Reply { call, status, incarnation } => {
                let Some(n) = pick(call, self.calls.len()) else { return };
                let id = u128::try_from(n).unwrap();
                let known = &mut self.calls[n];
                if STATUSES[status] == Status::Resync && known.undecided {
                    // One from an incarnation that the call has met may be the second copy of an earlier answer.
                    let new = |incarnation| known.met.insert(Uuid::from_u128(incarnation));
                    known.undecided = !incarnation.is_none_or(new);
                }
                known.told = true;
                let reply = reply(
                    id,
                    STATUSES[status],
                    incarnation.map(|incarnation| (incarnation, now.as_micros())),
                );
                let topic = ReplyTopic(topic(TARGETS[known.target], id)).to_string();
                rig.message(&topic, &reply.payload());
            }
            Happening::NotTaken(index) => {
                let Some(n) = pick(index, self.calls.len()) else { return };
                self.calls[n].told = true;
                let about = About::Call(Uuid::from_u128(u128::try_from(n).unwrap()));
                rig.core.not_taken(now, about, "NotAuthorized", &mut rig.desk);
            }
            Happening::Connected => {
                if !rig.core.link_up {
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
                About::Call(id) => {
                    let known = &mut self.calls[usize::try_from(id.as_u128()).unwrap()];
                    assert!(self.rig.core.link_up, "published without a link");
                    assert!(!known.undecided, "sent again while an attempt may be running");
                    assert_eq!(known.answers, 0, "published after its answer");
                    known.undecided = true;
                    let payload: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
                    let incarnation = payload["not_after"]["incarnation"].as_str();
                    known.met.extend(incarnation.map(|text| text.parse::<Uuid>().unwrap()));
                    known.told = false;
                    known.published += 1;
                    assert!(known.published <= 4);
                }
            }
        }
        for answer in &desk.answers[self.seen.1..] {
            let known = &mut self.calls[usize::try_from(answer.id.as_u128()).unwrap()];
            known.answers += 1;
            assert!(!known.gone && known.answers == 1);
            assert_eq!(answer.attempts, known.published);
            let status = answer.status.as_str();
            assert!(status != "offline" || known.published == 0, "offline although it was published");
            assert!(status != "no_reply" || known.undecided, "no_reply although nothing was under way");
            let may_run = known.undecided && !known.told;
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
    fn the_promises_hold(happenings in prop::collection::vec(happening(), 1..80)) {
        let mut world = World { rig: Rig::connected(), calls: Vec::new(), probes: Vec::new(), seen: (0, 0) };
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
