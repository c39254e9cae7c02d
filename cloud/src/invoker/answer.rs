//! How a call ended, as its caller is told.

use std::time::Duration;

use nowd_protocol::{ErrorBody, Outcome, Presence, RawValue, Reply, ReplyStatus, Status, Timing, Uuid};
use serde::Serialize;

use crate::presence::Standing;

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The call's id.
    pub id: Uuid,
    /// How it ended.
    pub status: ReplyStatus,
    /// What is known of the physical world.
    pub outcome: Outcome,
    /// What the method gave back; `null` where it gave nothing.
    pub response: Box<RawValue>,
    /// The error, where there is one.
    pub error: Option<ErrorBody>,
    /// Where the time went.
    pub timing: Elapsed,
    /// How many times the request was published: 0 if never.
    pub attempts: u32,
}

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Elapsed {
    /// From the arrival of the call to its answer.
    pub total: Duration,
    /// From the publish of the attempt that was answered to its reply; `None` where no reply came, or it answers a request
    /// that was made before.
    pub round_trip: Option<Duration>,
    /// What the gateway says of its own share.
    pub gateway: Option<Timing>,
}

impl Elapsed {
    /// The part of the round trip that was not the gateway's: broker and network.
    #[must_use]
    pub fn network(&self) -> Option<Duration> {
        let gateway = Duration::from_micros(self.gateway?.total);
        Some(self.round_trip?.saturating_sub(gateway))
    }
}

impl Answer {
    /// An answer that the cloud side gives by itself. A status whose outcome is declared elsewhere counts as unknown.
    #[must_use]
    pub fn own(id: Uuid, status: Status, message: impl Into<String>) -> Self {
        Self {
            id,
            status: ReplyStatus::Known(status),
            outcome: status.outcome().unwrap_or(Outcome::Unknown),
            response: RawValue::NULL.to_owned(),
            error: Some(ErrorBody { code: status.as_str().into(), message: message.into() }),
            timing: Elapsed::default(),
            attempts: 0,
        }
    }

    /// What is known of a gateway's presence.
    pub(crate) fn told(id: Uuid, seen: &Seen<'_>) -> Self {
        Self {
            id,
            status: ReplyStatus::Known(Status::Ok),
            outcome: Outcome::Executed,
            // Plain fields: serialising cannot fail.
            response: serde_json::value::to_raw_value(seen).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            error: None,
            timing: Elapsed::default(),
            attempts: 0,
        }
    }

    pub(crate) fn heard(reply: Reply, round_trip: Option<Duration>) -> Self {
        Self {
            id: reply.id,
            status: reply.status,
            outcome: reply.outcome,
            response: reply.response,
            error: reply.error,
            timing: Elapsed { total: Duration::ZERO, round_trip, gateway: reply.timing },
            attempts: 0,
        }
    }
}

/// What is known of a gateway's presence, as the one who asks is told.
#[derive(Debug, Serialize)]
pub(crate) struct Seen<'a> {
    /// Whether it is connected now.
    online: bool,
    /// Whether it has ever said anything of itself that the broker still keeps.
    announced: bool,
    #[serde(flatten)]
    said: Option<Said<'a>>,
}

/// What a gateway says of itself.
#[derive(Debug, Serialize)]
struct Said<'a> {
    session: Uuid,
    incarnation: Uuid,
    /// When it said so, in the gateway's own clock, microseconds.
    since: u64,
    version: &'a str,
    /// A digest of the methods on offer: another one means that it is worth asking which.
    methods: &'a str,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(standing: Standing, presence: Option<&'a Presence>) -> Self {
        let said = presence.map(|said| Said {
            session: said.session,
            incarnation: said.incarnation,
            since: said.since,
            version: &said.version,
            methods: &said.methods,
        });
        Self { online: standing == Standing::Online, announced: said.is_some(), said }
    }
}
