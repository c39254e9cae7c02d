//! What becomes of a message: dropped, answered from memory, refused, or let in.

use std::sync::Arc;
use std::time::Duration;

use nowd_protocol::{ErrorBody, MAX_TIMEOUT_MS, Outcome, Received, Request, RequestTopic, Status, Timing};

use super::{Core, readdressed, reply, tell};
use crate::access::Pattern;
use crate::call::{Asker, Call, Maker, State};
use crate::deadline::{Judged, Refusal, judge, judge_compat};
use crate::event::{Action, Drop, Ended, LOCAL_CALLER, LOCAL_CLIENT, Receipt, RecordKind, ReplyBody};
use crate::journal::{JournalLine, PastCall};
use crate::lane::Entry;
use crate::memory::{Mark, Recall};
use crate::settings::Method;
use crate::time::Instant;

/// How many repeats of a call are answered together with it; more of them while it runs get no answer of their own.
const MOST_JOINED: usize = 8;

/// Where an answer goes and what it is about, while a request is judged.
pub(super) struct Asked<'r> {
    pub(super) request: &'r Request,
    pub(super) compat: bool,
    /// It came over the bus of this machine; see [`Receipt::local`].
    pub(super) local: bool,
}

impl<P: Clone + Default> Core<P> {
    pub(super) fn received(
        &mut self,
        now: Instant,
        message: Received,
        receipt: Receipt,
        params: Result<P, ErrorBody>,
        actions: &mut Vec<Action<P>>,
    ) {
        let topic = match &message {
            Received::Request(request) => &request.topic,
            Received::Faulty(topic, _) => topic,
        };
        if let Some(drop) = self.drop(topic, receipt) {
            return actions.push(Action::Dropped(drop));
        }
        let compat = !receipt.local && self.is_compat(topic);
        let request = match message {
            Received::Request(request) => request,
            Received::Faulty(topic, fault) => {
                let refusal = Refusal::new(Status::InvalidRequest, fault.to_string());
                let asker = Asker { topic, caller: None, traceparent: None, attempt: 1, compat };
                return tell(&asker, answer(&asker, &refusal), RecordKind::Answered, actions);
            }
        };
        let posing = |caller: &String| !receipt.local && caller.starts_with(LOCAL_CALLER);
        if request.caller.as_ref().is_some_and(posing) {
            let message = format!("`caller`: {LOCAL_CALLER:?} stands for users of the gateway's own machine");
            let refusal = Refusal::new(Status::InvalidRequest, message);
            return Asked { request: &request, compat, local: false }.refuse(&refusal, actions);
        }
        let calls = &self.calls;
        self.memory.forget(now, |key| calls.contains_key(&key));
        let asked = Asked { request: &request, compat, local: receipt.local };
        if self.built_in(now, &asked, receipt, actions) {
            return;
        }
        let asker = asked.asker();
        match self.recall(&asked) {
            Ok(Recall::New | Recall::Again) => {}
            Ok(Recall::Joined(key)) => {
                self.memory.joined(&request);
                let call = key.and_then(|key| self.calls.get_mut(&key));
                if let Some(call) = call.filter(|call| call.joined.len() < MOST_JOINED) {
                    call.joined.push(asker);
                }
                return;
            }
            Ok(Recall::Answered(reply)) => {
                return tell(&asker, readdressed(*reply, &asker), RecordKind::Repeated, actions);
            }
            Ok(Recall::Conflict) => {
                // A copy of this one must meet the same, however long it takes.
                let longest = request.timeout.map_or(Duration::ZERO, Duration::from_millis);
                self.memory
                    .keep_until(request.topic.id, now.after(longest).after(self.settings.limits.remember));
                let refusal = Refusal::new(Status::Conflict, "this id was used for another request");
                return asked.refuse(&refusal, actions);
            }
            Err(refusal) => {
                self.refused(now, &asked, refusal.status);
                return asked.refuse(&refusal, actions);
            }
        }
        if self.offer().method(request.topic.method.as_str()).is_some_and(|method| method.poll.is_some()) {
            // Nothing moves, whatever the answer: nor may it when the method is not polled any more.
            self.not_remembered(now, &asked);
            return self.tell_value(now, &asked, receipt, params.map(drop), actions);
        }
        match self.admit(now, &asked, receipt, params) {
            Ok(admitted) => self.enter(now, &request, asker, admitted, actions),
            Err((refusal, remember)) => {
                let reply = answer(&asker, &refusal);
                match remember {
                    Some(until) => self.memory.refuse(&request, until, &reply),
                    None => self.refused(now, &asked, refusal.status),
                }
                tell(&asker, reply, RecordKind::Answered, actions);
            }
        }
    }

    /// What is known of the request's id, here and in the journal: for those who may call, since it may have come through
    /// another return address, or to an earlier incarnation. And for whoever made the call, even if the method has been
    /// taken away since: a repeat of what runs must not hear that it was not executed.
    fn recall(&self, asked: &Asked<'_>) -> Result<Recall, Refusal> {
        let request = asked.request;
        if !self.memory.is_own(request) && !self.journal.is_own(request) {
            self.permitted(asked)?;
        }
        let recalled = self.memory.recall(request);
        let past = if matches!(recalled, Recall::New) { self.journal.recall(request) } else { None };
        Ok(match past {
            None => recalled,
            Some(PastCall::Conflict) => Recall::Conflict,
            Some(PastCall::Answered(ended)) => {
                Recall::Answered(Box::new(reply(&asked.asker(), ended, Timing::default())))
            }
        })
    }

    fn drop(&self, topic: &RequestTopic, receipt: Receipt) -> Option<Drop> {
        if topic.target != self.settings.target {
            Some(Drop::ForeignTarget(topic.target.clone()))
        } else if receipt.local {
            None
        } else if topic.client.as_str() == LOCAL_CLIENT {
            Some(Drop::NotLocal)
        } else if topic.client == self.settings.target {
            Some(Drop::Loop)
        } else if receipt.retained {
            Some(Drop::Retained)
        } else {
            None
        }
    }

    fn is_compat(&self, topic: &RequestTopic) -> bool {
        self.offer().compat.prefixes.iter().any(|prefix| topic.client.as_str().starts_with(prefix.as_str()))
    }

    /// Judges a request. A refusal says until when it is to be remembered: those that the same bytes would meet at any
    /// later time (unknown method, forbidden, expired, another incarnation) need no memory.
    fn admit(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        receipt: Receipt,
        params: Result<P, ErrorBody>,
    ) -> Result<Admitted<P>, (Refusal, Option<Instant>)> {
        let request = asked.request;
        let method = self.permitted(asked).map_err(|refusal| (refusal, None))?;
        let (max_timeout, min_budget) = (method.max_timeout, method.min_budget);
        let (lane, stop) = (Arc::clone(&method.lane), method.stop);
        // A stop does not wait for a disk, and stops no less for being done twice.
        let journal = self.settings.journal && !method.idempotent && !method.stop;
        let params = params.map_err(|error| (Refusal { status: Status::InvalidRequest, error }, None))?;
        let judged = self.judge(now, asked, receipt, max_timeout);
        let judged = match judged {
            Ok(judged) => judged,
            Err(refusal) => {
                let until = self.resync_until(now, request, &refusal);
                return match until.map(|until| self.memory.reserve(request, Mark::asker_of(request), until)) {
                    None | Some(Ok(())) => Err((refusal, until)),
                    Some(Err(_)) => Err((full(), None)),
                };
            }
        };
        let mark = Mark::of(request);
        if self.memory.reserve(request, mark.asker, judged.void).is_err() {
            return Err((full(), None));
        }
        let refuse = |status, message: &str| Err((Refusal::new(status, message), Some(judged.void)));
        if let Some(locked) = self.locked() {
            return Err((locked, Some(judged.void)));
        }
        if self.stopping {
            return refuse(Status::Unavailable, "the gateway is stopping");
        }
        let admitted = Admitted { params, judged, mark, lane, min_budget, stop, journal };
        if self.is_from_before(judged, request.topic.method.as_str()) {
            return refuse(
                Status::Unavailable,
                "the methods were changed while it was under way; send it again",
            );
        }
        match self.lanes.get(&admitted.lane).map_or(Entry::Stuck, |lane| lane.entry(stop)) {
            Entry::Wait if now >= judged.deadline.before(min_budget) => {
                refuse(Status::Busy, "earlier calls run, and too little time is left to wait for them")
            }
            Entry::Start | Entry::Wait | Entry::WaitForRead => Ok(admitted),
            Entry::Full if self.lanes.get(&admitted.lane).is_some_and(|lane| !lane.may_wait()) => {
                refuse(Status::Busy, "a call runs, and none may wait; try again later")
            }
            Entry::Full => refuse(Status::Busy, "as many calls wait as may wait; try again later"),
            Entry::Stuck => refuse(Status::Unavailable, "an earlier call hangs and holds the device"),
        }
    }

    /// What is refused without being remembered would meet the same at any later time, unless other methods come on offer.
    fn refused(&mut self, now: Instant, asked: &Asked<'_>, status: Status) {
        if matches!(status, Status::UnknownMethod | Status::Forbidden | Status::InvalidRequest) {
            self.not_remembered(now, asked);
        }
    }

    /// Copies of a request that was answered without a call and is not remembered must not meet other methods.
    fn not_remembered(&mut self, now: Instant, asked: &Asked<'_>) {
        // Compatibility callers do not hear of it.
        if let Some(void) = self.void_at(now, asked.request).filter(|_| !asked.compat) {
            self.refused_until = self.refused_until.max(void);
        }
    }

    /// Whether a copy of a request may have been refused before its method was changed: who heard that it was not
    /// executed may have turned to something else.
    fn is_from_before(&self, judged: Judged, method: &str) -> bool {
        let Judged { void, budget, .. } = judged;
        let refused_until = self.changes.after(method, void.before(budget));
        refused_until.is_some_and(|refused_until| void <= refused_until)
    }

    /// The method that is called, if it is there for this caller.
    pub(super) fn permitted(&self, asked: &Asked<'_>) -> Result<&Method, Refusal> {
        let request = asked.request;
        let name = request.topic.method.as_str();
        let Some(method) = self.offer().method(name) else {
            return Err(Refusal::new(Status::UnknownMethod, format!("there is no method {name:?}")));
        };
        if method.internal && asked.local {
            return Err(Refusal::new(
                Status::Forbidden,
                format!("{name:?} is internal: only the gateway itself calls it"),
            ));
        }
        if method.internal || !self.may_call(method, asked) {
            let client = request.topic.client.as_str();
            let caller =
                request.caller.as_deref().map_or_else(String::new, |caller| format!(" or {caller:?}"));
            let message = format!(
                "this caller may not use {name:?}: its `allow`, or `[access] default` where it has none, has no pattern for {client:?}{caller}"
            );
            return Err(Refusal::new(Status::Forbidden, message));
        }
        Ok(method)
    }

    /// The deadline.
    pub(super) fn judge(
        &self,
        now: Instant,
        asked: &Asked<'_>,
        receipt: Receipt,
        max_timeout: Duration,
    ) -> Result<Judged, Refusal> {
        let strict = || judge(now, receipt, asked.request, self.settings.incarnation, max_timeout);
        if !asked.compat {
            return strict();
        }
        let judged = judge_compat(now, receipt, asked.request, self.offer().compat.budget.min(max_timeout))?;
        if asked.request.not_after.is_none() {
            return Ok(judged);
        }
        // Whoever says a deadline means it, also where a reload has made it a compatibility caller meanwhile.
        let said = strict()?;
        Ok(Judged {
            deadline: judged.deadline.min(said.deadline),
            void: judged.void.max(said.void),
            ..judged
        })
    }

    /// A request that was answered `resync` could be admitted later, when the clock has come to be trusted or the
    /// deadline has come near: until then it is remembered, an hour at most.
    fn resync_until(&self, now: Instant, request: &Request, refusal: &Refusal) -> Option<Instant> {
        if refusal.status == Status::Resync { self.void_at(now, request) } else { None }
    }

    /// Until when these bytes could be admitted, as far as one may look ahead; `None` if never.
    fn void_at(&self, now: Instant, request: &Request) -> Option<Instant> {
        let longest = Duration::from_millis(MAX_TIMEOUT_MS);
        match request.not_after {
            Some(not_after) if not_after.incarnation != self.settings.incarnation => None,
            Some(not_after) => Some(Instant::from_micros(not_after.at).min(now.after(longest))),
            None => Some(now.after(request.timeout.map_or(longest, Duration::from_millis))),
        }
    }

    pub(super) fn may_call(&self, method: &Method, asked: &Asked<'_>) -> bool {
        if asked.local {
            return true;
        }
        let request = asked.request;
        let patterns = method.allow.as_ref().unwrap_or(&self.offer().access_default);
        let matches = |name: &str| patterns.iter().any(|pattern: &Pattern| pattern.matches(name));
        matches(request.topic.client.as_str()) || request.caller.as_deref().is_some_and(matches)
    }

    /// An admitted call starts or waits.
    fn enter(
        &mut self,
        now: Instant,
        request: &Request,
        asker: Asker,
        admitted: Admitted<P>,
        actions: &mut Vec<Action<P>>,
    ) {
        let Admitted { params, judged, mark, lane, min_budget, stop, journal } = admitted;
        let Judged { deadline, budget, void } = judged;
        let key = self.new_key();
        self.memory.start(request, mark, void, key);
        let id = request.topic.id;
        let call = Call {
            id,
            method: request.topic.method.shared(),
            lane: Arc::clone(&lane),
            params,
            deadline,
            budget,
            received: now,
            maker: Maker::Asker(asker),
            offer: Arc::clone(self.offer()),
            give_up_at: deadline.before(min_budget),
            joined: Vec::new(),
            journal: journal.then_some(JournalLine::Started { id, mark }),
            state: State::Waiting,
            timer: None,
        };
        self.calls.insert(key, call);
        let purged = if stop { self.purge_for_stop(&lane) } else { Vec::new() };
        for other in purged {
            let refusal = Refusal::new(Status::Busy, "a stop method cleared its lane");
            self.give_up(now, other, &refusal, actions);
        }
        let entry = self.lanes.get(&lane).map_or(Entry::Start, |lane| lane.entry(stop));
        if entry == Entry::Start {
            return self.start(now, key, actions);
        }
        // A read is in the way, and nobody else: it would have started with less than `min_budget` left.
        let give_up_at = if entry == Entry::WaitForRead { deadline } else { deadline.before(min_budget) };
        if let Some(call) = self.calls.get_mut(&key) {
            call.give_up_at = give_up_at;
        }
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.wait(key);
        }
        self.set_timer(key, Some(give_up_at));
    }
}

/// A request that may start or wait.
struct Admitted<P> {
    params: P,
    judged: Judged,
    mark: Mark,
    lane: Arc<str>,
    min_budget: Duration,
    stop: bool,
    journal: bool,
}

impl Asked<'_> {
    pub(super) fn asker(&self) -> Asker {
        Asker {
            topic: self.request.topic.clone(),
            caller: self.request.caller.as_deref().map(Into::into),
            traceparent: self.request.traceparent.as_deref().map(Into::into),
            attempt: self.request.attempt,
            compat: self.compat,
        }
    }

    pub(super) fn refuse<P>(&self, refusal: &Refusal, actions: &mut Vec<Action<P>>) {
        let asker = self.asker();
        tell(&asker, answer(&asker, refusal), RecordKind::Answered, actions);
    }
}

fn full() -> Refusal {
    Refusal::new(Status::Busy, "whoever asks has more calls to be remembered than fit; try again later")
}

fn answer(asker: &Asker, refusal: &Refusal) -> ReplyBody {
    let ended = Ended {
        status: refusal.status,
        outcome: Outcome::NotExecuted,
        response: None,
        error: Some(refusal.error.clone()),
    };
    reply(asker, ended, Timing::default())
}
