//! What happens to the core, and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use nowd_protocol::{ErrorBody, Level, Outcome, RawValue, Received, RequestTopic, Status, Timing, Uuid};

use crate::call::CallKey;
use crate::journal::JournalLine;
use crate::settings::Offer;
use crate::time::Instant;

/// The return address of calls over the bus of this machine. No message may have it.
pub const LOCAL_CLIENT: &str = "nowd-local";

/// How the callers begin that the gateway's own bus vouches for; nobody else's may.
pub const LOCAL_CALLER: &str = "local:";

/// Something happened.
#[expect(clippy::large_enum_variant, reason = "an event is made, handled and gone; most are messages")]
#[derive(Debug)]
pub enum Event<P> {
    /// A message came that proves where its answer would go.
    Received {
        /// The message.
        message: Received,
        /// How it came.
        receipt: Receipt,
        /// The parameters as the plugin will get them, or what is wrong with them.
        params: Result<P, ErrorBody>,
    },
    /// A plugin is done with a call, and its resource is free again.
    Ended {
        /// The call.
        key: CallKey,
        /// What the plugin says of it.
        ended: Ended,
    },
    /// A line of the journal is on disk, or could not be written.
    Journaled {
        /// The call that waits for it.
        key: CallKey,
        /// Whether it will survive a loss of power.
        kept: bool,
    },
    /// Other methods are on offer from now on, or the same under other rules.
    ///
    /// Calls that run end under the offer that they were let in with. Calls that wait are given up: their parameters were
    /// checked against the schemas of before.
    Offer(Arc<Offer>),
    /// The gateway is locked out on site, for this reason; `None`: not any more.
    Lockout(Option<String>),
    /// Time has passed; to be told no later than [`crate::Core::wake_at`] says.
    Time,
    /// The process is asked to stop: calls that run may end, nothing new starts but safe actions.
    Stop,
    /// The process ends now: calls that still run are answered `unknown`.
    Abandon,
}

/// How a message came.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    /// The wall clock, where it is trusted.
    pub wall: Option<Wall>,
    /// Whether the message may have lain in a buffer while the process stood still.
    pub stalled: bool,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// When the subscription that it came through was granted: what was asked for before may have reached another process.
    pub since: Instant,
    /// Whether it came over the bus of this machine, from somebody whom the gateway serves there: who may call has then been
    /// decided, for every method that is not internal.
    pub local: bool,
}

/// A reading of a wall clock that is trusted.
#[derive(Debug, Clone, Copy)]
pub struct Wall {
    /// Milliseconds since the epoch.
    pub now_ms: u64,
    /// How wrong it may be, in milliseconds.
    pub error_ms: u64,
}

/// What a plugin says of a call.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How it ended.
    pub status: Status,
    /// What is known of the physical world.
    pub outcome: Outcome,
    /// What the method gave back.
    pub response: Option<Box<RawValue>>,
    /// The error, where there is one.
    pub error: Option<ErrorBody>,
}

/// Something is to be done, in the order given.
#[derive(Debug)]
pub enum Action<P> {
    /// Append to the journal. With a call's key: so that it survives a loss of power, and then say
    /// [`Event::Journaled`].
    Journal {
        /// What to append.
        line: JournalLine,
        /// The call that waits for it.
        then: Option<CallKey>,
    },
    /// Ask the plugin to run a call, now.
    Start(Start<P>),
    /// Tell the plugin that nobody waits for this call any more.
    Cancel(CallKey),
    /// Answer.
    Reply(Box<ReplyBody>),
    /// Write down how a call ended.
    Record(Box<Record>),
    /// Write down that a message was dropped without an answer.
    Dropped(Drop),
    /// Write down that the gateway's own reads of a method fail from now on, and why; or, without a reason, that they
    /// work again.
    Polled {
        /// The method.
        method: String,
        /// What went wrong.
        error: Option<ErrorBody>,
    },
}

/// A call to be run.
#[derive(Debug)]
pub struct Start<P> {
    /// The core's name for it.
    pub key: CallKey,
    /// The call's id.
    pub id: Uuid,
    /// The number of the offer that it was let in with.
    pub generation: u64,
    /// The method.
    pub method: Arc<str>,
    /// The parameters; of a safe action, those of the call that it makes safe; of a poll, none.
    pub params: P,
    /// The instant at which it is too late.
    pub deadline: Instant,
    /// The original budget.
    pub budget: Duration,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a call is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody asked for it.
    Call,
    /// It makes another call safe.
    SafeAction,
    /// The gateway reads a value that calls are answered with.
    Poll,
}

/// An answer; the shell adds the gateway's clock.
#[derive(Debug, Clone)]
pub struct ReplyBody {
    /// What is answered.
    pub topic: RequestTopic,
    /// Which attempt of it.
    pub attempt: u32,
    /// How the call ended.
    pub status: Status,
    /// What is known of the physical world.
    pub outcome: Outcome,
    /// What the method gave back.
    pub response: Option<Box<RawValue>>,
    /// The error, where there is one.
    pub error: Option<ErrorBody>,
    /// Where the time went.
    pub timing: Timing,
}

/// How a call ended, for the log.
#[derive(Debug, Clone)]
pub struct Record {
    /// The call's id.
    pub id: Uuid,
    /// The method.
    pub method: Arc<str>,
    /// The return address; `None` for the gateway's own safe actions.
    pub client: Option<Level>,
    /// Who asked, as the cloud side asserts.
    pub caller: Option<Arc<str>>,
    /// W3C trace context.
    pub traceparent: Option<Arc<str>>,
    /// Which sending it was.
    pub attempt: u32,
    /// How it ended.
    pub status: Status,
    /// What is known of the physical world.
    pub outcome: Outcome,
    /// The error, where there is one.
    pub error: Option<ErrorBody>,
    /// Where the time went.
    pub timing: Timing,
    /// What kind of record it is.
    pub kind: RecordKind,
}

/// Which moment of a call a record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// It was answered (or would have been, for compatibility callers).
    Answered,
    /// Its result came after its deadline, when `timeout` had been answered.
    Late,
    /// A repeat was answered: from memory, or together with the call that it joined.
    Repeated,
    /// A safe action ended.
    SafeAction,
}

/// Why a message that proves its return address is dropped all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drop {
    /// It is for another gateway.
    ForeignTarget(Level),
    /// Its return address is the gateway itself.
    Loop,
    /// The broker had kept it.
    Retained,
    /// Its return address is that of calls over the bus of this machine, and it did not come from there.
    NotLocal,
}

impl std::fmt::Display for Drop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ForeignTarget(target) => {
                write!(f, "the request is for another target, {:?}", target.as_str())
            }
            Self::Loop => f.write_str("the request's client is this gateway itself"),
            Self::Retained => {
                f.write_str("the request was retained by the broker, which says nothing of now")
            }
            Self::NotLocal => {
                write!(
                    f,
                    "the request's client is {LOCAL_CLIENT:?}, which stands for calls over the gateway's own bus"
                )
            }
        }
    }
}
