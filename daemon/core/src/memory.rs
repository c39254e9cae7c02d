//! What is remembered of requests, so that one id is never started twice and a repeat gets the same answer.
//!
//! An id names one call, whoever sends it: a call may be repeated through another return address. Bounded per asker (the
//! caller, or the return address where none is asserted), and in all: a request that finds no room is refused and *not*
//! remembered. So that a repeat of it is not admitted later, after it was said to be dropped, every request of that
//! asker that is void no later than a forgotten one is refused as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use nowd_protocol::{CallState, Ending, ErrorBody, Level, NotAfter, OutcomeReport, Request, Uuid};

use crate::call::CallKey;
use crate::event::{Ended, ReplyBody};
use crate::settings::Limits;
use crate::time::Instant;

#[derive(Debug, Clone)]
pub(crate) struct Memory {
    limits: Limits,
    entries: BTreeMap<Uuid, Entry>,
    /// When each entry may be forgotten; the order in which that happens.
    until: BTreeSet<(Instant, Uuid)>,
    /// How many ids each asker has.
    ids: BTreeMap<Uuid, usize>,
    /// Deadlines up to which an asker's requests are refused, because one was refused and not remembered.
    gates: BTreeMap<Uuid, Instant>,
    /// The same for those that found no place at all.
    gate: Option<Instant>,
    /// Which responses are kept, oldest first, and how large they are.
    responses: VecDeque<(Uuid, usize)>,
    response_bytes: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    /// The return address that it came through first.
    client: Level,
    mark: Mark,
    /// The latest attempt that was judged or joined: whose, its number, and under which values.
    latest: Level,
    attempt: u32,
    values: Values,
    until: Instant,
    /// The call, once it was let in.
    key: Option<CallKey>,
    state: Known,
}

/// Room for two lengths in words.
const LENGTHS_LEN: usize = 32;

/// What a call is known by: hashes, since the texts may be long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Of method, parameters and caller, which make two requests the same call.
    pub content: Uuid,
    /// Of the caller, or of the return address where no caller is asserted.
    pub asker: Uuid,
}

/// What a request's deadline is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values {
    timestamp: Option<u64>,
    timeout: Option<u64>,
    not_after: Option<NotAfter>,
}

#[derive(Debug, Clone)]
enum Known {
    Unanswered,
    /// Answered; `started` if a plugin had it, whatever it said then.
    Done {
        reply: Box<ReplyBody>,
        started: bool,
        late: Option<Box<Ended>>,
    },
}

/// What is known of a request's id.
#[derive(Debug)]
pub(crate) enum Recall {
    /// Nothing.
    New,
    /// An earlier attempt was not executed, and this is a new one: judge it.
    Again,
    /// The call waits or runs; its answer will answer this attempt too.
    Joined(Option<CallKey>),
    /// It was answered.
    Answered(Box<ReplyBody>),
    /// The id was used for something else.
    Conflict,
}

/// There is no place to remember a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Mark {
    pub(crate) fn of(request: &Request) -> Self {
        let method = request.topic.method.as_str();
        let caller = request.caller.as_deref();
        let parts = [method, caller.unwrap_or_default(), request.request.get()];
        // The lengths keep the parts apart.
        let mut text = String::with_capacity(LENGTHS_LEN + parts.map(str::len).iter().sum::<usize>());
        let written = match caller {
            Some(caller) => write!(text, "{} Some({}) ", method.len(), caller.len()),
            None => write!(text, "{} None ", method.len()),
        };
        // Writing to a string does not fail.
        written.unwrap_or_default();
        text.extend(parts);
        Self { content: Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()), asker: Self::asker_of(request) }
    }

    /// Who asks.
    pub(crate) fn asker_of(request: &Request) -> Uuid {
        let (kind, name) = match &request.caller {
            Some(caller) => ("caller ", caller.as_str()),
            None => ("client ", request.topic.client.as_str()),
        };
        Uuid::new_v5(&Uuid::NAMESPACE_OID, [kind, name].concat().as_bytes())
    }
}

impl Values {
    fn of(request: &Request) -> Self {
        Self { timestamp: request.timestamp, timeout: request.timeout, not_after: request.not_after }
    }
}

impl Memory {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            until: BTreeSet::new(),
            ids: BTreeMap::new(),
            gates: BTreeMap::new(),
            gate: None,
            responses: VecDeque::new(),
            response_bytes: 0,
        }
    }

    /// How many ids are remembered.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Looks a request up.
    pub(crate) fn recall(&self, request: &Request) -> Recall {
        let Some(entry) = self.entries.get(&request.topic.id) else { return Recall::New };
        if entry.mark.content != Mark::of(request).content {
            return Recall::Conflict;
        }
        match &entry.state {
            Known::Unanswered => Recall::Joined(entry.key),
            // No id is started twice. And of those that were never started, only a later attempt under other values is
            // judged anew: whoever heard that the earlier one was dropped may have turned to something else.
            Known::Done { started: false, .. } if entry.is_before(request) => Recall::Again,
            Known::Done { reply, .. } => Recall::Answered(reply.clone()),
        }
    }

    /// Whether this very request was made before, by the same asker.
    pub(crate) fn is_own(&self, request: &Request) -> bool {
        self.entries.get(&request.topic.id).is_some_and(|entry| entry.mark == Mark::of(request))
    }

    /// A repeat joined the call: no copy of it is to be judged once the call is answered.
    pub(crate) fn joined(&mut self, request: &Request) {
        if let Some(entry) = self.entries.get_mut(&request.topic.id).filter(|entry| entry.is_before(request))
        {
            entry.latest = request.topic.client.clone();
            entry.attempt = request.attempt;
            entry.values = Values::of(request);
        }
    }

    /// What may be told of a call to the one who made it; the key leads to the call while it is not over.
    pub(crate) fn report(&self, id: Uuid, asker: Uuid) -> Option<(OutcomeReport, Option<CallKey>)> {
        let entry = self.entries.get(&id).filter(|entry| entry.mark.asker == asker)?;
        let report = match &entry.state {
            Known::Unanswered => OutcomeReport::bare(CallState::Waiting),
            Known::Done { reply, late, .. } => {
                let ReplyBody { status, outcome, response, error, .. } = (**reply).clone();
                let answer = Some(Ended { status, outcome, response, error }.into());
                let late = late.as_deref().cloned().map(Ending::from);
                OutcomeReport { state: CallState::Ended, answer, late }
            }
        };
        Some((report, entry.key))
    }

    /// Whether a request whose bytes are void at `void` can be remembered. If not, so is any other of its asker that might
    /// be its repeat.
    pub(crate) fn reserve(&mut self, request: &Request, asker: Uuid, void: Instant) -> Result<(), Full> {
        // Through another address an earlier copy of this one may have been refused for want of room.
        if self.entries.get(&request.topic.id).is_some_and(|entry| entry.client == request.topic.client) {
            return Ok(());
        }
        let shuts = |gate: Option<&Instant>| gate.is_some_and(|gate| void <= *gate);
        let ids = self.ids.get(&asker).copied();
        // What shuts out one asker must not shut out all.
        let own = shuts(self.gates.get(&asker)) || ids.is_some_and(|ids| ids >= self.limits.ids_per_asker);
        let everybody = shuts(self.gate.as_ref()) || self.entries.len() >= self.limits.ids;
        if own || (everybody && ids.is_some()) {
            let gate = self.gates.entry(asker).or_insert(void);
            *gate = void.max(*gate);
            Err(Full)
        } else if everybody || (ids.is_none() && self.ids.len() >= self.limits.askers) {
            self.gate = self.gate.max(Some(void));
            Err(Full)
        } else {
            Ok(())
        }
    }

    /// Remembers a call that waits or runs.
    pub(crate) fn start(&mut self, request: &Request, mark: Mark, deadline: Instant, key: CallKey) {
        self.remember(request, mark, deadline, Some(key), Known::Unanswered);
    }

    /// Remembers an answer that was given without a call.
    pub(crate) fn refuse(&mut self, request: &Request, deadline: Instant, reply: &ReplyBody) {
        let reply = Box::new(reply.clone());
        self.remember(
            request,
            Mark::of(request),
            deadline,
            None,
            Known::Done { reply, started: false, late: None },
        );
    }

    /// Remembers how a call ended.
    pub(crate) fn answer(&mut self, now: Instant, reply: &ReplyBody, started: bool) {
        let id = reply.topic.id;
        self.keep_until(id, now.after(self.limits.remember));
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.state = Known::Done { reply: Box::new(reply.clone()), started, late: None };
        self.keep_response(id, reply.response.as_ref().map_or(0, |response| response.get().len()));
    }

    /// Remembers what a plugin said after the answer had been given.
    pub(crate) fn late(&mut self, now: Instant, id: Uuid, ended: Ended) {
        self.keep_until(id, now.after(self.limits.remember));
        let Some(Entry { state: Known::Done { late, .. }, .. }) = self.entries.get_mut(&id) else { return };
        let len = ended.response.as_ref().map_or(0, |response| response.get().len());
        *late = Some(Box::new(ended));
        self.keep_response(id, len);
    }

    /// Keeps a response of this length, at the cost of the oldest.
    fn keep_response(&mut self, id: Uuid, len: usize) {
        if len > 0 {
            self.responses.push_back((id, len));
            self.response_bytes = self.response_bytes.saturating_add(len);
        }
        while self.response_bytes > self.limits.response_bytes
            || self.responses.len() > self.limits.ids_per_asker
        {
            let Some((id, len)) = self.responses.pop_front() else { break };
            self.response_bytes = self.response_bytes.saturating_sub(len);
            if let Some(Entry { state: Known::Done { reply, late, .. }, .. }) = self.entries.get_mut(&id) {
                if reply.response.take().is_some() {
                    reply.error.get_or_insert_with(forgotten);
                }
                if let Some(late) = late {
                    late.response = None;
                }
            }
        }
    }

    /// Forgets what may be forgotten at `now`: nothing of a call that is still there.
    pub(crate) fn forget(&mut self, now: Instant, is_there: impl Fn(CallKey) -> bool) {
        while let Some((until, _)) = self.until.first() {
            if *until > now {
                break;
            }
            let Some((until, id)) = self.until.pop_first() else { break };
            match self.entries.get_mut(&id) {
                // A call that still runs is not forgotten: its id could be started again.
                Some(entry) if entry.key.is_some_and(&is_there) => {
                    self.until.insert((until, id));
                    self.keep_until(id, now.after(self.limits.remember));
                }
                Some(_) | None => self.remove(id),
            }
        }
        self.gates.retain(|_, gate| *gate > now);
        self.gate = self.gate.filter(|gate| *gate > now);
    }

    /// Remembers an id for longer.
    pub(crate) fn keep_until(&mut self, id: Uuid, until: Instant) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.until < until) else { return };
        self.until.remove(&(entry.until, id));
        entry.until = until;
        self.until.insert((until, id));
    }

    fn remember(
        &mut self,
        request: &Request,
        mark: Mark,
        deadline: Instant,
        key: Option<CallKey>,
        state: Known,
    ) {
        let (id, client) = (request.topic.id, request.topic.client.clone());
        // A later attempt takes the place of the one before.
        self.remove(id);
        let until = deadline.after(self.limits.remember);
        *self.ids.entry(mark.asker).or_default() += 1;
        self.until.insert((until, id));
        let values = Values::of(request);
        let (latest, attempt) = (client.clone(), request.attempt);
        self.entries.insert(id, Entry { client, mark, latest, attempt, values, until, key, state });
    }

    fn remove(&mut self, id: Uuid) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.until.remove(&(entry.until, id));
        if let Some(ids) = self.ids.get_mut(&entry.mark.asker) {
            *ids = ids.saturating_sub(1);
            if *ids == 0 {
                self.ids.remove(&entry.mark.asker);
            }
        }
    }
}

impl Entry {
    /// Whether `request` is a later attempt under other values: made later, or sent again. Of two that were made in the same
    /// millisecond through two return addresses one is the later all the same, so that one of them goes on.
    fn is_before(&self, request: &Request) -> bool {
        let (judged, new) = (self.values, Values::of(request));
        let latest = (judged.timestamp, &self.latest, self.attempt);
        judged != new && latest < (new.timestamp, &request.topic.client, request.attempt)
    }
}

/// A repeat is told that there was a response.
pub(crate) fn forgotten() -> ErrorBody {
    let message = "it was answered before, and the response of then is not kept any more";
    ErrorBody { code: "response_forgotten".into(), message: message.into() }
}

impl From<Ended> for Ending {
    fn from(ended: Ended) -> Self {
        let Ended { status, outcome, response, error } = ended;
        Self { status: status.as_str().into(), outcome, error, response }
    }
}
