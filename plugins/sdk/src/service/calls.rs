//! The calls that run in a plugin's own process: which may start, each in a task of its own, and how they end.
//!
//! They outlive the connection they came by: whoever asked has gone then, so they are cancelled, and what they answer is
//! dropped. Never waits to admit a call, and never runs one twice at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use nowd_clock::{BootInstant, from_boottime_micros};
use serde_json::Value;
use tokio::task::{Id, JoinSet};
use uuid::Uuid;
use zbus::message::Message;

use super::interface::Invocation;
use super::{Answer, MAX_RESPONSE_LEN};
use crate::call::{Call, Deadline};
use crate::completion::{CallError, Completion};
use crate::method::Method;
use crate::params::Params;
use crate::{CancellationToken, Plugin};

/// The most calls at once.
pub(super) const MAX_CALLS: usize = 256;

/// The longest request, in bytes: what can come from the cloud.
const MAX_REQUEST_LEN: usize = 128 * 1024;

/// The longest message of an error that is handed on, in characters.
const MAX_ERROR_CHARS: usize = 2_000;

#[derive(Debug)]
pub(super) struct Calls {
    plugin: Arc<dyn Plugin>,
    methods: HashMap<String, Known>,
    tasks: JoinSet<Completion>,
    ids: HashMap<Id, Uuid>,
    running: HashMap<Uuid, Running>,
    /// Whether the plugin is about to end.
    stopping: bool,
}

/// What is known of a method.
#[derive(Debug)]
struct Known {
    params: Option<Params>,
    lane: String,
    stop: bool,
}

#[derive(Debug)]
struct Running {
    cancelled: CancellationToken,
    asked: Asking,
    lane: String,
    /// Whether whoever asked has gone.
    orphan: bool,
}

/// Who asked, and by which connection.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    /// Tells one connection from the next.
    pub(super) session: u64,
    /// What is to be answered.
    pub(super) message: Message,
}

impl Running {
    /// Nobody waits for it any more.
    fn leave(&mut self) {
        self.orphan = true;
        self.cancelled.cancel();
    }
}

impl Calls {
    pub(super) fn new(plugin: Arc<dyn Plugin>) -> Self {
        let known = |method: Method| {
            let Method { name, params, lane, policy, .. } = method;
            (name, Known { params, lane: lane.name, stop: policy.stop })
        };
        let methods = plugin.methods().into_iter().map(known).collect();
        Self {
            plugin,
            methods,
            tasks: JoinSet::new(),
            ids: HashMap::new(),
            running: HashMap::new(),
            stopping: false,
        }
    }

    /// Starts a call. `unsent` answers still hold the places of their calls.
    ///
    /// # Errors
    /// Why it does not start: the answer, at once.
    pub(super) fn start(
        &mut self,
        invocation: Invocation,
        asked: Asking,
        unsent: usize,
    ) -> Result<(), Completion> {
        let Invocation { id, method, request_json, not_after_us } = invocation;
        let unavailable = |code: &str, why: String| Err(Completion::Unavailable(CallError::new(code, why)));
        if self.stopping {
            return unavailable("stopping", "the plugin is about to end".into());
        }
        let Some(id) = canonical(&id) else {
            let why = "the call's id is not a UUID in its canonical form (36 characters, lower case)";
            return Err(Completion::InvalidRequest(CallError::new("invalid_id", why)));
        };
        let Some(known) = self.methods.get(&method).or_else(|| self.methods.get("*")) else {
            let why = format!("the plugin {:?} has no method {}", self.plugin.name(), quoted(&method));
            return unavailable("unknown_method", why);
        };
        let len = request_json.len();
        if len > MAX_REQUEST_LEN {
            let why = format!("the request has {len} bytes, and at most {MAX_REQUEST_LEN} are read");
            return Err(Completion::InvalidRequest(CallError::new("request_too_long", why)));
        }
        if self.running.contains_key(&id) {
            return unavailable("id_in_use", format!("a call with the id {id} runs already"));
        }
        if self.running.len().saturating_add(unsent) >= MAX_CALLS {
            return unavailable("too_many_calls", format!("{MAX_CALLS} calls run already"));
        }
        // Whoever asks keeps the lane for his own calls, and knows nothing of those of somebody who has gone.
        let is_left = |running: &Running| running.lane == known.lane && running.orphan;
        if !known.stop && self.running.values().any(is_left) {
            let why = "a call of a gateway that has left, or from before the bus was lost, still runs in the same lane";
            return unavailable("lane_held", why.into());
        }
        let at = from_boottime_micros(not_after_us);
        let deadline = Deadline::new(at, at.saturating_since(BootInstant::now()));
        deadline.check()?;
        let call = Call::new(id, method, Value::Null, deadline);
        let cancelled = call.cancelled.clone();
        let task = run(Arc::clone(&self.plugin), known.params.clone(), call, request_json);
        let task = self.tasks.spawn(task);
        self.ids.insert(task.id(), id);
        let lane = known.lane.clone();
        self.running.insert(id, Running { cancelled, asked, lane, orphan: false });
        Ok(())
    }

    /// Tells the plugin that nobody waits for a call any more.
    pub(super) fn cancel(&self, id: &str) {
        if let Some(running) = canonical(id).and_then(|id| self.running.get(&id)) {
            running.cancelled.cancel();
        }
    }

    /// Its caller has left the bus.
    pub(super) fn cancel_of(&mut self, session: u64, caller: &str) {
        let is_theirs = |asked: &Asking| {
            asked.session == session
                && asked.message.header().sender().is_some_and(|sender| sender.as_str() == caller)
        };
        self.running.values_mut().filter(|running| is_theirs(&running.asked)).for_each(Running::leave);
    }

    /// Nobody who called can be answered any more.
    pub(super) fn cancel_all(&mut self) {
        self.running.values_mut().for_each(Running::leave);
    }

    /// From now on no call starts.
    pub(super) const fn refuse_more(&mut self) {
        self.stopping = true;
    }

    /// How many calls run.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// The next call that ends. Waits for ever while none runs; may be dropped while waiting.
    pub(super) async fn next(&mut self) -> (Asking, Completion) {
        loop {
            let (task, completion) = match self.tasks.join_next_with_id().await {
                Some(Ok(ended)) => ended,
                Some(Err(e)) => {
                    let what = if e.is_panic() { "panicked" } else { "was cancelled" };
                    let error = CallError::new("plugin_failed", format!("the plugin's task {what}"));
                    (e.id(), Completion::Internal(error))
                }
                None => std::future::pending().await,
            };
            let ended = self.ids.remove(&task).and_then(|id| Some((id, self.running.remove(&id)?)));
            if let Some((id, running)) = ended {
                if matches!(completion, Completion::Internal(_)) {
                    tracing::error!(see = "bug", %id, "a call failed by a bug of the plugin; it may have acted");
                }
                return (running.asked, completion);
            }
        }
    }

    /// Ends all calls that still run, wherever they are. What they did is not known.
    pub(super) fn abandon(&mut self) -> Vec<(Asking, Completion)> {
        self.tasks.abort_all();
        self.ids.clear();
        let all = self.running.drain().map(|(id, running)| {
            tracing::warn!(see = "calls-given-up", %id, "a call still ran when the plugin had to end; it may have acted");
            running.cancelled.cancel();
            let error = CallError::new("plugin_stopped", "the plugin was stopped while the call ran");
            (running.asked, Completion::Failed { outcome: crate::Outcome::Unknown, error })
        });
        all.collect()
    }
}

/// One call, in its own task: whatever goes wrong here is told of this call alone.
async fn run(plugin: Arc<dyn Plugin>, params: Option<Params>, mut call: Call, request: String) -> Completion {
    let invalid = |why: String| Completion::InvalidRequest(CallError::new("invalid_request", why));
    let given: Value = match serde_json::from_str(&request) {
        Ok(given) => given,
        Err(e) => return invalid(format!("the request is not JSON: {e}")),
    };
    drop(request);
    call.params = match params {
        None => given,
        Some(params) => match params.check(given) {
            Ok(params) => params,
            Err(e) => return invalid(e.to_string()),
        },
    };
    if let Err(expired) = call.deadline.check() {
        return expired.into();
    }
    plugin.invoke(&call).await
}

/// The answer to a call, as long as can be handed on.
pub(super) fn answer(completion: Completion) -> Answer {
    let answer = Answer::of(&shortened(completion));
    let len = answer.response_json.len();
    if len <= MAX_RESPONSE_LEN {
        return answer;
    }
    let why = format!("the response has {len} bytes, more than the {MAX_RESPONSE_LEN} that can be handed on");
    let response_json = serde_json::json!({ "code": "response_too_long", "message": why }).to_string();
    // Its outcome is known all the same.
    Answer { status: "failed".into(), response_json, ..answer }
}

fn shortened(mut completion: Completion) -> Completion {
    match &mut completion {
        Completion::Failed { error, .. }
        | Completion::Refused(error)
        | Completion::Timeout(error)
        | Completion::InvalidRequest(error)
        | Completion::Unavailable(error)
        | Completion::Internal(error) => {
            for text in [&mut error.code, &mut error.message] {
                if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_CHARS) {
                    text.truncate(end);
                }
            }
        }
        Completion::Ok(_) | Completion::Sent(_) | Completion::Expired(_) => {}
    }
    completion
}

/// The id, if it is written in the one form in which ids are compared everywhere.
fn canonical(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    let mut buffer = Uuid::encode_buffer();
    (*id.hyphenated().encode_lower(&mut buffer) == *text).then_some(id)
}

fn quoted(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}
