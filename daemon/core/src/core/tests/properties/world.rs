//! A core, what the world has seen of it, and what must hold whatever happens.

use std::collections::{BTreeMap, HashSet};

use proptest::sample::Index;

use super::super::*;
use super::{Deadline, NAMES, Step, offers};
use crate::event::{Start, Wall};

/// What a deadline is computed from, and what makes a request what it is.
type Bytes = (Uuid, Uuid, Option<u64>, Option<u64>, Option<NotAfter>);

fn bytes(request: &Request) -> Bytes {
    (request.topic.id, Mark::of(request).content, request.timestamp, request.timeout, request.not_after)
}

/// A core, and what the world has seen of it.
pub(super) struct World {
    core: Core<u8>,
    settings: Settings,
    now: Instant,
    /// The request that each call was let in with.
    asked: BTreeMap<CallKey, Request>,
    /// Under which incarnation and bytes each id was started, until when that is remembered, and whether the journal has it.
    started: BTreeMap<Uuid, Vec<(Uuid, Bytes, Instant, bool)>>,
    /// All sets of methods that were on offer, by their numbers.
    offers: Vec<Arc<Offer>>,
    /// What each id was started with last, and for whom.
    owners: BTreeMap<Uuid, Mark>,
    /// Which lane each running call holds; safe actions hold none.
    running: BTreeMap<CallKey, Option<String>>,
    refused: HashSet<Bytes>,
    /// What each id was answered, until when that is remembered, and whether the journal has it.
    answered: BTreeMap<Uuid, (Outcome, Instant, bool)>,
    sent: Vec<Request>,
    disk: Vec<JournalLine>,
    unsynced: Vec<(JournalLine, Option<CallKey>)>,
    trusted: bool,
    /// When the subscription was granted.
    since: Instant,
    locked: bool,
}

impl World {
    pub(super) fn new(journal: bool) -> Self {
        let mut settings = settings();
        let remember = Duration::from_secs(3);
        settings.limits = Limits {
            ids_per_asker: 6,
            askers: 2,
            ids: 9,
            remember,
            response_bytes: 10,
            journaled: 1_000,
            ..Limits::default()
        };
        settings.journal = journal;
        settings.offer = Arc::new(offers().remove(0));
        let offers = vec![Arc::clone(&settings.offer)];
        Self {
            core: Core::new(settings.clone(), []),
            offers,
            owners: BTreeMap::new(),
            settings,
            now: at(1),
            asked: BTreeMap::new(),
            started: BTreeMap::new(),
            running: BTreeMap::new(),
            refused: HashSet::new(),
            answered: BTreeMap::new(),
            sent: Vec::new(),
            disk: Vec::new(),
            unsynced: Vec::new(),
            trusted: false,
            since: at(0),
            locked: false,
        }
    }

    fn handle(&mut self, event: Event<u8>) {
        let cause = if let Event::Received { message: Received::Request(request), .. } = &event {
            Some(request.clone())
        } else {
            None
        };
        let starts_nothing = matches!(event, Event::Ended { .. }) && !self.core.may_start_another();
        let actions = self.core.handle(self.now, event);
        for (key, call) in &self.core.calls {
            if let Some(cause) = cause.as_ref().filter(|cause| cause.topic.id == call.id) {
                self.asked.entry(*key).or_insert_with(|| cause.clone());
            }
        }
        let mut actions = actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            match action {
                Action::Start(start) => {
                    let is_unlooked = starts_nothing && start.purpose != Purpose::SafeAction;
                    assert!(!is_unlooked, "it was started without a look for a lockout");
                    self.start(&start);
                }
                Action::Reply(reply) => {
                    // Its record follows it.
                    let repeated = matches!(actions.peek(), Some(Action::Record(record)) if record.kind == RecordKind::Repeated);
                    self.reply(&reply, cause.as_ref(), repeated);
                }
                Action::Journal { line, then } => self.unsynced.push((line, then)),
                Action::Cancel(_) | Action::Record(_) | Action::Dropped(_) | Action::Polled { .. } => {}
            }
        }
        self.check();
    }

    fn check(&self) {
        for lane in self.core.lanes.values() {
            // Nobody waits before a free place.
            assert!(lane.clone().next().is_none(), "a call starves");
        }
        let unused = self
            .core
            .lanes
            .iter()
            .find(|(name, lane)| lane.is_idle() && !self.settings.offer.lanes.contains_key(&***name));
        assert!(unused.is_none(), "a lane stays that nobody needs");
        // Slots of all lanes in their widest form, and safe actions.
        assert!(self.running.len() <= 6 + NAMES.len() + 1, "too much runs");
        let limits = self.settings.limits;
        assert!(self.core.remembered() <= limits.ids, "memory is not bounded");
        assert!(self.core.wake_at().is_none_or(|at| at > self.now), "a timer is overdue");
    }

    /// Whatever offer it is of, a call takes a place that the lane has now.
    fn hold(&mut self, start: &Start<u8>) {
        let lane = &self.offers[usize::try_from(start.generation).unwrap()].methods[&*start.method].lane;
        let slots = usize::from(self.settings.offer.lanes[&**lane].concurrency.get());
        let held = self.running.values().filter(|held| held.as_deref() == Some(&**lane)).count();
        assert!(held < slots, "a lane is overfull");
        if start.purpose == Purpose::Poll {
            let lane = &self.core.lanes[lane];
            assert!(held == 0 && lane.beside().next().is_none(), "read beside others");
            assert!(lane.clone().purge().is_empty(), "read before those who wait");
        }
        self.running.insert(start.key, Some(lane.as_ref().to_owned()));
    }

    fn start(&mut self, start: &Start<u8>) {
        assert!(self.now < start.deadline, "started at or after its deadline");
        if start.purpose == Purpose::SafeAction {
            self.running.insert(start.key, None);
            return;
        }
        assert!(!self.locked, "started under lockout");
        let declared = &self.offers[usize::try_from(start.generation).unwrap()];
        let same = self.settings.offer.generation == start.generation
            || self.settings.offer.agrees(declared, &start.method);
        assert!(same, "started as declared before");
        self.hold(start);
        if start.purpose == Purpose::Poll {
            return;
        }
        let request = self.asked[&start.key].clone();
        let bytes = bytes(&request);
        self.owners.insert(start.id, Mark::of(&request));
        // The caller's deadline: in the gateway's clock, or by its own, which is right here.
        let by_timestamp = || at(request.timestamp.unwrap_or_default() + request.timeout.unwrap());
        let theirs =
            request.not_after.map_or_else(by_timestamp, |not_after| Instant::from_micros(not_after.at));
        assert!(self.now < theirs, "started at or after its caller's deadline");
        // One that claims to have been made later than it was may get past a change of the methods.
        let lies = request.not_after.is_some() && theirs > by_timestamp();
        assert!(!self.refused.contains(&bytes) || lies, "what was refused was started");
        let journaled = self.is_journaled(&start.method);
        if journaled {
            assert!(
                self.disk
                    .iter()
                    .any(|line| matches!(line, JournalLine::Started { id, .. } if *id == start.id))
            );
        }
        let incarnation = self.settings.incarnation;
        for (before, others, remembered, kept) in self.started.get(&start.id).into_iter().flatten() {
            assert!(!kept, "started twice, in spite of the journal");
            assert!(*others != bytes, "the same bytes were started twice");
            assert!(*before != incarnation || *remembered <= self.now, "started twice by one incarnation");
        }
        let remembered = start.deadline.after(self.settings.limits.remember);
        self.started.entry(start.id).or_default().push((incarnation, bytes, remembered, journaled));
    }

    /// Stops wait for no disk.
    fn is_journaled(&self, method: &str) -> bool {
        self.settings.journal && !matches!(method, "stop" | "level")
    }

    fn reply(&mut self, reply: &ReplyBody, cause: Option<&Request>, repeated: bool) {
        let level =
            self.settings.offer.methods.get("level").filter(|_| reply.topic.method.as_str() == "level");
        if level.is_some_and(|level| level.poll.is_some()) && cause.is_some() && !repeated {
            // What it tells was read by the gateway itself, and it is told it as often as it asks.
            assert_eq!(reply.status == Status::Ok, reply.response.is_some());
            if let Some(cause) = cause.filter(|_| reply.outcome == Outcome::NotExecuted) {
                self.refused.insert(bytes(cause));
            }
            return;
        }
        let id = reply.topic.id;
        let starts = self.started.get(&id).map(Vec::as_slice).unwrap_or_default();
        // Without the journal nobody knows of an earlier incarnation; the cloud side does.
        let journaled = self.is_journaled(reply.topic.method.as_str());
        let ours = |by: &Uuid, kept: bool| kept || *by == self.settings.incarnation;
        let ever = starts.iter().any(|(by, .., kept)| ours(by, *kept));
        let remembered = starts.iter().any(|(by, _, until, kept)| ours(by, *kept) && *until > self.now);
        if reply.outcome == Outcome::NotExecuted {
            // Unless the device itself said so, or it is about another call.
            // Another request of the same id, or somebody else's, which has not been asked whether it is the same.
            let other = matches!(reply.status, Status::UnknownMethod | Status::Forbidden)
                && cause.is_some_and(|cause| self.owners.get(&id) != Some(&Mark::of(cause)));
            let allowed = matches!(reply.status, Status::Conflict | Status::Refused) || other;
            assert!(!remembered || allowed, "{} for a call that was started", reply.status.as_str());
            if let Some(cause) = cause.filter(|cause| cause.topic == reply.topic && !allowed) {
                self.refused.insert(bytes(cause));
            }
        } else {
            // Killed between the journal's line and the start, nobody knows that it was not started.
            let may_be = journaled && reply.outcome == Outcome::Unknown;
            assert!(ever || may_be, "{} for a call that was not started", reply.status.as_str());
            // To be told again makes nothing be remembered for longer.
            let until = if repeated { self.now } else { self.now.after(self.settings.limits.remember) };
            let (before, ..) = *self.answered.entry(id).or_insert((reply.outcome, until, journaled));
            assert!(before == reply.outcome || may_be, "answered in two ways");
        }
    }

    fn send(&mut self, request: Request) {
        self.sent.push(request.clone());
        let now_ms = self.now.since(at(0)).as_millis();
        let wall = Wall { now_ms: u64::try_from(now_ms).unwrap(), error_ms: 1 };
        // Whoever is served on the bus is asked for no `allow`; everything else holds for it as well.
        let local = request.topic.id.as_u128().is_multiple_of(3);
        let receipt = Receipt { wall: self.trusted.then_some(wall), since: self.since, local, ..receipt() };
        self.handle(Event::Received { message: Received::Request(request), receipt, params: Ok(0) });
    }

    fn end(&mut self, key: CallKey, ended: Ended) {
        self.running.remove(&key);
        self.handle(Event::Ended { key, ended });
    }

    /// The journal's next line reaches the disk, or does not.
    fn write(&mut self, kept: bool) {
        if self.unsynced.is_empty() {
            return;
        }
        let (line, then) = self.unsynced.remove(0);
        if kept || then.is_none() {
            self.disk.push(line);
        }
        if let Some(key) = then {
            self.handle(Event::Journaled { key, kept });
        }
    }

    fn restart(&mut self, survive: Index) {
        let survivors = survive.index(self.unsynced.len() + 1);
        self.disk.extend(self.unsynced.drain(..).take(survivors).map(|(line, _)| line));
        self.unsynced.clear();
        self.settings.incarnation = Uuid::from_u128(self.settings.incarnation.as_u128() + 1);
        self.since = self.now;
        self.core = Core::new(self.settings.clone(), self.disk.iter().copied());
        self.running.clear();
        self.asked.clear();
        self.answered.retain(|_, (.., kept)| *kept);
        if self.locked {
            self.handle(Event::Lockout(Some("as before".into())));
        }
    }

    fn new_request(
        &self,
        id: u128,
        name: usize,
        budget: u64,
        attempt: u32,
        deadline: Deadline,
        client: usize,
    ) -> Request {
        let mut request = request(id, NAMES[name], 0);
        request.topic.client = Level::new(format!("app{client}")).unwrap();
        request.attempt = attempt;
        request.timeout = Some(budget);
        request.timestamp = Some(u64::try_from(self.now.since(at(0)).as_millis()).unwrap());
        let incarnation = match deadline {
            Deadline::Own => self.settings.incarnation,
            Deadline::OfAnotherIncarnation => Uuid::from_u128(9),
            Deadline::ByTimestamp => {
                request.not_after = None;
                return request;
            }
        };
        let deadline = self.now.after(Duration::from_millis(budget));
        request.not_after = Some(NotAfter { incarnation, at: deadline.as_micros() });
        request
    }

    pub(super) fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { id, name, budget, slack, attempt, deadline, client } => {
                let request = self.new_request(id, name, budget, attempt, deadline, client);
                let later =
                    |at: u64| Instant::from_micros(at).after(Duration::from_millis(slack)).as_micros();
                let not_after = request.not_after.map(|n| NotAfter { at: later(n.at), ..n });
                self.send(Request { not_after, ..request });
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
            Step::Repeat(_) | Step::End(..) => {}
            Step::Write(kept) => self.write(kept),
            Step::Wait(ms) => {
                self.now = self.now.after(Duration::from_millis(ms));
                let now = self.now;
                self.answered.retain(|_, (_, until, kept)| *kept || *until > now);
                self.handle(Event::Time);
            }
            Step::Trust(trusted) => self.trusted = trusted,
            Step::Lock(locked) => {
                self.locked = locked;
                self.handle(Event::Lockout(locked.then(|| "somebody works here".into())));
            }
            Step::Stop => self.handle(Event::Stop),
            Step::Abandon => self.handle(Event::Abandon),
            Step::Restart(survive) => self.restart(survive),
            Step::Reload(which) => {
                let generation = u64::try_from(self.offers.len()).unwrap();
                let offer = Arc::new(Offer { generation, ..offers().remove(which) });
                self.offers.push(Arc::clone(&offer));
                self.settings.offer = Arc::clone(&offer);
                self.handle(Event::Offer(offer));
            }
        }
    }

    /// Every call that was started and has had its time has its answer, and in the end nothing is left.
    pub(super) fn finish(mut self) {
        while !self.unsynced.is_empty() {
            self.write(true);
        }
        self.step(&Step::Wait(60_000));
        self.step(&Step::Wait(60_000)); // safe actions that the first wait has started
        assert_eq!(self.core.unanswered(), 0);
        while let Some(key) = self.running.keys().next().copied() {
            self.end(key, ok());
        }
        assert_eq!(self.core.calls(), 0);
        let before = self.settings.offer.generation;
        assert!((0..=before).all(|generation| !self.core.uses(generation)));
        // The gateway would read for ever.
        self.step(&Step::Lock(true));
        assert_eq!(self.core.wake_at(), None);
    }
}
