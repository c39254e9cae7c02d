//! What is remembered of requests, so that one id is never started twice and a repeat gets the same answer.
//!
//! Bounded per client: a request that finds its client's memory full is refused and *not* remembered. So that a repeat
//! of it is not admitted later, after it was said to be dropped, every request of that client whose deadline is no
//! later than that of a forgotten one is refused as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nowd_protocol::{Level, NotAfter, Request, Uuid};

use crate::event::ReplyBody;
use crate::settings::Limits;
use crate::time::Instant;

/// Which call a request belongs to.
type Id = (Level, Uuid);

#[derive(Debug)]
pub(crate) struct Memory {
    limits: Limits,
    entries: BTreeMap<Id, Entry>,
    /// When each entry may be forgotten; the order in which that happens.
    until: BTreeSet<(Instant, Id)>,
    ids: BTreeMap<Level, usize>,
    /// Deadlines up to which a client's requests are refused, because one was refused and not remembered.
    gates: BTreeMap<Level, Instant>,
    /// The same for clients that found no place at all.
    gate: Option<Instant>,
    /// Which responses are kept, oldest first, and how large they are.
    responses: VecDeque<(Id, usize)>,
    response_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    content: Content,
    /// The highest attempt that was judged, and under which values.
    attempt: u32,
    values: Values,
    until: Instant,
    state: Known,
}

/// What makes two requests the same call: a hash over method, parameters and caller, since the texts may be long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content(Uuid);

/// What a request's deadline is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values {
    timestamp: Option<u64>,
    timeout: Option<u64>,
    not_after: Option<NotAfter>,
}

#[derive(Debug)]
enum Known {
    Unanswered,
    /// Answered; `started` if a plugin had it, whatever it said then.
    Done {
        reply: Box<ReplyBody>,
        started: bool,
    },
}

/// What is known of a request's id.
#[derive(Debug)]
pub(crate) enum Recall {
    /// Nothing, or an earlier attempt was not executed and this is a new one: judge it.
    New,
    /// The call waits or runs; its answer will answer this attempt too.
    Joined,
    /// It was answered.
    Answered(Box<ReplyBody>),
    /// The id was used for something else.
    Conflict,
}

/// There is no place to remember a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Content {
    pub(crate) fn of(request: &Request) -> Self {
        let method = request.topic.method.as_str();
        let caller = request.caller.as_deref();
        // The lengths keep the parts apart.
        let mut bytes = format!("{} {:?} ", method.len(), caller.map(str::len)).into_bytes();
        for part in [method, caller.unwrap_or_default(), request.request.get()] {
            bytes.extend_from_slice(part.as_bytes());
        }
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, &bytes))
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
        let id = (request.topic.client.clone(), request.topic.id);
        let Some(entry) = self.entries.get(&id) else { return Recall::New };
        if entry.content != Content::of(request) {
            return Recall::Conflict;
        }
        match &entry.state {
            Known::Unanswered => Recall::Joined,
            // No id is started twice. And of those that were never started, only a later attempt under other values is
            // judged anew: whoever heard that the earlier one was dropped may have turned to something else.
            Known::Done { started: false, .. }
                if request.attempt > entry.attempt && entry.values != Values::of(request) =>
            {
                Recall::New
            }
            Known::Done { reply, .. } => Recall::Answered(reply.clone()),
        }
    }

    /// Whether a request with this deadline can be remembered. If not, so is any other of its client that might be its
    /// repeat.
    pub(crate) fn reserve(&mut self, request: &Request, deadline: Instant) -> Result<(), Full> {
        let client = &request.topic.client;
        if self.entries.contains_key(&(client.clone(), request.topic.id)) {
            return Ok(());
        }
        let gate = self.gates.get(client).max(self.gate.as_ref());
        let closed = gate.is_some_and(|gate| deadline <= *gate);
        match self.ids.get(client) {
            Some(ids) if closed || *ids >= self.limits.ids_per_client => {
                let gate = self.gates.entry(client.clone()).or_insert(deadline);
                *gate = deadline.max(*gate);
                Err(Full)
            }
            None if closed || self.ids.len() >= self.limits.clients => {
                self.gate = self.gate.max(Some(deadline));
                Err(Full)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers a call that waits or runs.
    pub(crate) fn start(&mut self, request: &Request, deadline: Instant) {
        self.remember(request, deadline, Known::Unanswered);
    }

    /// Remembers an answer that was given without a call.
    pub(crate) fn refuse(&mut self, request: &Request, deadline: Instant, reply: &ReplyBody) {
        self.remember(request, deadline, Known::Done { reply: Box::new(reply.clone()), started: false });
    }

    /// Remembers how a call ended.
    pub(crate) fn answer(&mut self, client: &Level, reply: &ReplyBody, started: bool) {
        let id = (client.clone(), reply.topic.id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.state = Known::Done { reply: Box::new(reply.clone()), started };
        let len = reply.response.as_ref().map_or(0, |response| response.get().len());
        if len > 0 {
            self.responses.push_back((id, len));
            self.response_bytes = self.response_bytes.saturating_add(len);
        }
        while self.response_bytes > self.limits.response_bytes
            || self.responses.len() > self.limits.ids_per_client
        {
            let Some((id, len)) = self.responses.pop_front() else { break };
            self.response_bytes = self.response_bytes.saturating_sub(len);
            if let Some(Entry { state: Known::Done { reply, .. }, .. }) = self.entries.get_mut(&id) {
                reply.response = None;
            }
        }
    }

    /// Forgets what may be forgotten at `now`.
    pub(crate) fn forget(&mut self, now: Instant) {
        while let Some((until, _)) = self.until.first() {
            if *until > now {
                break;
            }
            let Some((until, id)) = self.until.pop_first() else { break };
            match self.entries.get_mut(&id) {
                // A call that still runs is not forgotten: its id could be started again.
                Some(entry) if matches!(entry.state, Known::Unanswered) => {
                    entry.until = until.max(now).after(self.limits.remember);
                    let later = entry.until;
                    self.until.insert((later, id));
                }
                Some(_) | None => self.remove(&id),
            }
        }
        self.gates.retain(|_, gate| *gate > now);
        self.gate = self.gate.filter(|gate| *gate > now);
    }

    fn remember(&mut self, request: &Request, deadline: Instant, state: Known) {
        let id = (request.topic.client.clone(), request.topic.id);
        let until = deadline.after(self.limits.remember);
        let entry = Entry {
            content: Content::of(request),
            attempt: request.attempt,
            values: Values::of(request),
            until,
            state,
        };
        match self.entries.insert(id.clone(), entry) {
            Some(old) => {
                self.until.remove(&(old.until, id.clone()));
            }
            None => *self.ids.entry(id.0.clone()).or_default() += 1,
        }
        self.until.insert((until, id));
    }

    fn remove(&mut self, id: &Id) {
        self.entries.remove(id);
        if let Some(ids) = self.ids.get_mut(&id.0) {
            *ids = ids.saturating_sub(1);
            if *ids == 0 {
                self.ids.remove(&id.0);
            }
        }
    }
}
