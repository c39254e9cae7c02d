//! What is recorded of each HTTP request that asked something of a gateway. It holds neither
//! parameters nor responses; `error` may quote what was wrong, and what a device said of it.

use std::sync::Arc;

use nowd_protocol::{Level, Outcome, ReplyStatus, Uuid};

use crate::invoker::Elapsed;

/// One request and how it ended.
#[derive(Debug, Clone)]
pub struct Record {
    /// The call's id, which the gateway logs too.
    pub id: Uuid,
    /// The gateway that was asked, if the request named one that can be.
    pub target: Option<Level>,
    /// The method that was asked for; `nowd.presence`, `nowd.methods` and `nowd.outcome` stand for questions.
    pub method: Option<Level>,
    /// Who asked, if that is known.
    pub caller: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// How it ended.
    pub status: ReplyStatus,
    /// What is known of the physical world.
    pub outcome: Outcome,
    /// The HTTP status code of the answer; 499 where the client had gone away before it.
    pub http: u16,
    /// How many times the request was sent: 0 if never.
    pub attempts: u32,
    /// Where the time went.
    pub timing: Elapsed,
    /// The error, where there is one: a sentence for people.
    pub error: Option<String>,
}

/// Takes records. It is called before the answer is given, and must not block.
pub type Recorder = Arc<dyn Fn(&Record) + Send + Sync>;
