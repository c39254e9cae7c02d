//! One request that asks something of a gateway: how long it has, who asks, and its record, which is made exactly once,
//! also when the client goes away.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use nowd_protocol::{Level, Outcome, RawValue, Status, Uuid};

use super::problem::{Kind, Refusal};
use super::{AnswerBy, Arrived, Caller, Shared, plain};
use crate::clock::BootInstant;
use crate::invoker::{Answer, CallRequest, Elapsed, Form};
use crate::record::Record;

/// How long before whoever waits stops waiting a call's deadline is at the latest. The invoker answers within 400 ms after
/// a deadline; the rest is for writing the answer and carrying it there.
pub(super) const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// What is recorded as the HTTP status code where nobody was left to answer: what web servers log for a client that closed
/// its request.
const CLIENT_GONE: u16 = 499;

/// A request between its arrival and its answer.
pub(super) struct Exchange {
    shared: Arc<Shared>,
    received: BootInstant,
    /// What had passed of its time before that.
    lost: Duration,
    answer_by: Option<BootInstant>,
    pub(super) id: Uuid,
    pub(super) target: Option<Level>,
    pub(super) method: Option<Level>,
    pub(super) caller: Option<String>,
    traceparent: Option<String>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The request is being read: nothing was sent.
    Reading,
    /// The invoker has it, and how often it was sent is not known here.
    Asked,
    /// There is an answer, and a record.
    Ended,
}

impl Exchange {
    /// A request that has just come in.
    pub(super) fn begin(shared: &Arc<Shared>, request: &Request) -> Self {
        let now = BootInstant::now();
        let extensions = request.extensions();
        // Nothing arrives in the future: that would be a longer budget.
        let arrived = extensions.get::<Arrived>().copied();
        let arrived = arrived.unwrap_or(Arrived { at: now, before: Duration::ZERO });
        Self {
            shared: Arc::clone(shared),
            received: now.min(arrived.at),
            lost: arrived.before,
            answer_by: extensions.get::<AnswerBy>().map(|AnswerBy(by)| *by),
            id: Uuid::new_v4(),
            target: None,
            method: None,
            caller: extensions.get::<Caller>().map(|Caller(caller)| caller.clone()),
            traceparent: traceparent(request.headers()),
            stage: Stage::Reading,
        }
    }

    /// Whether the caller may use this method of this target, which are also what is recorded.
    pub(super) fn allow(&mut self, target: &Level, method: &Level) -> Result<(), Refusal> {
        self.target = Some(target.clone());
        self.method = Some(method.clone());
        let options = &self.shared.options;
        let judged = options.targets.judge(target);
        let judged = judged.and_then(|()| options.access.judge(self.caller.as_deref(), target, method));
        judged.map_err(|message| Refusal { kind: Kind::Status(Status::Forbidden), message })
    }

    /// What is left of `wanted`, counted from the request's arrival, if there has to be an answer in time.
    pub(super) fn budget(&self, wanted: Duration) -> Result<Duration, Refusal> {
        let wanted = wanted.saturating_sub(self.lost);
        let budget = self.answer_by.map_or(wanted, |by| {
            wanted.min(by.saturating_since(self.received).saturating_sub(ANSWER_MARGIN))
        });
        if budget < Duration::from_millis(1) || self.received.saturating_add(budget) <= BootInstant::now() {
            return Err(Refusal::expired(
                "the deadline had passed before anything was sent; nothing was sent",
            ));
        }
        Ok(budget)
    }

    /// The instant at which `budget` ends.
    pub(super) fn deadline(&self, budget: Duration) -> BootInstant {
        self.received.saturating_add(budget)
    }

    /// The call that this request makes.
    pub(super) fn call(
        &self,
        target: Level,
        method: Level,
        request: Box<RawValue>,
        budget: Duration,
        form: Form,
    ) -> CallRequest {
        CallRequest {
            received: self.received,
            id: Some(self.id),
            caller: self.caller.clone(),
            traceparent: self.traceparent.clone(),
            form,
            ..CallRequest::new(target, method, request, budget)
        }
    }

    /// Makes the call, if there is one, and writes the answer.
    pub(super) async fn end(
        mut self,
        call: Result<CallRequest, Refusal>,
        write: impl FnOnce(&Answer, Option<Kind>, Option<&Level>) -> Response<Body>,
    ) -> Response<Body> {
        let (answer, kind) = match call {
            Ok(call) => {
                self.stage = Stage::Asked;
                (self.shared.invoker.invoke(call).await, None)
            }
            Err(refusal) => (refusal.answer(self.id), Some(refusal.kind)),
        };
        // Of what was not executed there is nothing to ask after.
        let target = self.target.as_ref().filter(|_| answer.outcome != Outcome::NotExecuted);
        let response = write(&answer, kind, target);
        self.record(&answer, response.status().as_u16());
        response
    }

    fn record(&mut self, answer: &Answer, http: u16) {
        self.stage = Stage::Ended;
        let Some(recorder) = &self.shared.options.recorder else { return };
        let total = BootInstant::now().saturating_since(self.received);
        let timing =
            if answer.timing.total.is_zero() { Elapsed { total, ..answer.timing } } else { answer.timing };
        recorder(&Record {
            id: answer.id,
            target: self.target.take(),
            method: self.method.take(),
            caller: self.caller.take(),
            traceparent: self.traceparent.take(),
            status: answer.status.clone(),
            outcome: answer.outcome,
            http,
            attempts: answer.attempts,
            timing,
            error: answer.error.as_ref().map(|error| error.message.clone()),
        });
    }
}

/// The client went away. While its request was read nothing had been sent; after that nobody knows.
impl Drop for Exchange {
    fn drop(&mut self) {
        let answer = match self.stage {
            Stage::Ended => return,
            // Whoever catches the panic records it.
            _ if std::thread::panicking() => return,
            Stage::Reading => {
                Refusal::from("the client went away before its request was complete".to_owned())
                    .answer(self.id)
            }
            Stage::Asked => {
                let message = "the client went away before there was an answer; the request may have run";
                Answer::own(self.id, Status::NoReply, message)
            }
        };
        self.record(&answer, CLIENT_GONE);
    }
}

/// A request that whoever runs the router refuses before it, in the router's own words, and its record. Nothing was
/// published.
#[cfg(feature = "aws")]
pub(crate) fn refuse(
    status: Status,
    message: &str,
    caller: Option<String>,
    recorder: &crate::record::Recorder,
) -> Response<Body> {
    let kind = Kind::Status(status);
    let answer = Refusal { kind, message: message.to_owned() }.answer(Uuid::new_v4());
    let response = super::response::answer(&answer, Some(kind), None);
    recorder(&Record {
        id: answer.id,
        target: None,
        method: None,
        caller,
        traceparent: None,
        status: answer.status,
        outcome: answer.outcome,
        http: response.status().as_u16(),
        attempts: 0,
        timing: answer.timing,
        error: Some(message.to_owned()),
    });
    response
}

/// Where to ask what became of a call.
pub(super) fn instance(target: &Level, id: Uuid) -> String {
    format!("/things/{}/calls/{id}", plain::encode(target.as_str()))
}

/// The W3C trace context, if it is one, and one.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let text = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    is_traceparent(text).then(|| text.to_owned())
}

/// Four parts in hexadecimal, neither id all zeros. A later version than 00 reads the same; `ff` is none.
pub(crate) fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let id = |part: &str| hex(part) && part.bytes().any(|byte| byte != b'0');
    matches!(*parts.as_slice(), [version, trace, parent, flags]
        if (version.len(), trace.len(), parent.len(), flags.len()) == (2, 32, 16, 2)
            && hex(version) && version != "ff" && id(trace) && id(parent) && hex(flags))
}
