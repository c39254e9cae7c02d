//! The invoker: one connection to the broker and one reply subscription for all calls of a process.
//!
//! [`Invoker::invoke`] makes one call and gives its answer by the call's deadline, whatever happens to broker and
//! gateway. It knows neither HTTP nor who may call what.

use std::sync::Arc;
use std::time::Duration;

use nowd_link::Options;
use nowd_protocol::{
    Level, LevelError, MAX_CALLER_LEN, MAX_PAYLOAD_LEN, MAX_TIMEOUT_MS, RawValue, Request, RequestTopic,
    Status, Uuid,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{BootInstant, unix_ms_at, until};
use crate::pattern::Pattern;

mod answer;
mod background;
mod calls;
mod counts;
mod deliver;
mod dial;

pub use answer::{Answer, Elapsed};
pub use background::Background;
pub use calls::Form;
pub use counts::Dropped;
pub use deliver::{Deliver, Delivered, Delivering, Delivery};
pub use dial::{Dial, DialError, Dialling, Plain};

use background::Command;
use calls::{Core, NewCall};
use counts::Counts;

/// What a later attempt may add to a payload, in bytes: `attempt` and the longest `not_after`.
const ROOM_FOR_LATER: usize = 160;

/// How long after its deadline a call is answered at the latest.
const GIVEN_UP: Duration = Duration::from_millis(400);

/// How many comings and goings may wait to be looked at.
const MOST_COMMANDS: usize = 65_536;

/// How an invoker reaches the broker.
#[derive(Debug, Clone)]
pub struct Config {
    /// The connection. Its `client_id` is not used.
    pub link: Options,
    /// The beginning of the return address, and of the MQTT client id, which is the same. What follows is new for each
    /// invoker.
    pub client: Level,
    /// How many calls may wait for their answers; the next is answered `busy`. 1 or more.
    pub most_calls: usize,
    /// Opens the connection.
    pub dial: Arc<dyn Dial>,
    /// How requests are delivered.
    pub delivery: Delivery,
    /// Whether this process may be stood still for any time, as a Lambda function's is between two requests: a
    /// connection from before is then proved before it is used, and another one dialled at the same time, under a client
    /// id of its own that begins with the return address.
    pub freezes: bool,
    /// Which gateways are called though they have announced nothing.
    pub unannounced: Unannounced,
}

/// Which gateways are called though the broker has no presence of theirs: those whose link keeps none, as through a Greengrass nucleus
/// that does not publish retained messages. One that says that it is offline is not called.
#[derive(Debug, Clone, Default)]
pub struct Unannounced(Option<Arc<Pattern>>);

impl Unannounced {
    /// Those whose name is as `pattern` says, in which `*` stands for any characters, or none. The default is nobody.
    #[must_use]
    pub fn like(pattern: &str) -> Self {
        Self(Some(Arc::new(Pattern::new(pattern))))
    }

    pub(crate) fn includes(&self, target: &Level) -> bool {
        self.0.as_ref().is_some_and(|pattern| pattern.matches(target.as_str()))
    }
}

impl Config {
    /// How many calls may wait unless something else is said.
    pub const MOST_CALLS: usize = 1_024;

    /// The usual: [`Config::MOST_CALLS`], dialled by the link, delivered by publishing, not to be stood still,
    /// and nobody called who has announced nothing.
    #[must_use]
    pub fn new(link: Options, client: Level) -> Self {
        Self {
            link,
            client,
            most_calls: Self::MOST_CALLS,
            dial: Arc::new(Plain),
            delivery: Delivery::Mqtt,
            freezes: false,
            unannounced: Unannounced::default(),
        }
    }
}

/// A call.
#[derive(Debug)]
pub struct CallRequest {
    /// The gateway that is asked.
    pub target: Level,
    /// The method that is asked for.
    pub method: Level,
    /// The method's parameters.
    pub request: Box<RawValue>,
    /// When the call arrived; its deadline is `budget` later.
    pub received: BootInstant,
    /// How long the caller waits: 1 ms to one hour.
    pub budget: Duration,
    /// The call's id, should the caller have chosen one.
    pub id: Option<Uuid>,
    /// Who asks, as the cloud side has made sure.
    pub caller: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// In which form the request is written.
    pub form: Form,
}

impl CallRequest {
    /// A call that arrives now, by nobody in particular.
    #[must_use]
    pub fn new(target: Level, method: Level, request: Box<RawValue>, budget: Duration) -> Self {
        Self {
            target,
            method,
            request,
            received: BootInstant::now(),
            budget,
            id: None,
            caller: None,
            traceparent: None,
            form: Form::Native,
        }
    }
}

/// An invoker cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// With what makes it unique the return address is no topic level.
    #[error("\"{client}\" cannot begin a return address, which has 13 bytes more")]
    Client {
        /// The configured beginning.
        client: Level,
        /// What is wrong.
        #[source]
        source: LevelError,
    },
}

/// Makes calls; clones share one connection.
#[derive(Debug, Clone)]
pub struct Invoker {
    client: Level,
    commands: mpsc::Sender<Command>,
    connected: watch::Receiver<bool>,
    counts: Arc<Counts>,
}

impl Invoker {
    /// An invoker, and the work behind it, which somebody must run.
    pub fn new(config: Config) -> Result<(Self, Background), ConfigError> {
        let unique = Uuid::new_v4().simple().to_string();
        let prefix = &config.client;
        let client = Level::new(format!("{prefix}-{}", unique.get(..12).unwrap_or_default()))
            .map_err(|source| ConfigError::Client { client: prefix.clone(), source })?;
        let (most_calls, direct) = (config.most_calls, matches!(config.delivery, Delivery::Direct(_)));
        // Room for each call to come and to go away, so that a place given back is known before it is asked for again.
        let (commands, commands_out) = mpsc::channel(most_calls.saturating_mul(2).clamp(64, MOST_COMMANDS));
        let (connected_in, connected) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let core = Core::new(client.clone(), most_calls, Uuid::new_v4(), Arc::clone(&counts), direct)
            .calling(config.unannounced.clone());
        let background = Background::new(core, config, &client, commands_out, connected_in);
        Ok((Self { client, commands, connected, counts }, background))
    }

    /// The return address of this invoker's calls.
    #[must_use]
    pub fn client(&self) -> &Level {
        &self.client
    }

    /// How many messages answered no call.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.counts.read()
    }

    /// Whether there is a connection to the broker now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Waits until there is a connection to the broker; for ever if nobody runs the [`Background`].
    pub async fn connected(&self) {
        let mut connected = self.connected.clone();
        if connected.wait_for(|connected| *connected).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Makes a call. There is an answer soon after the deadline at the latest. Dropped, the call is forgotten; whether
    /// it runs is then unknown.
    pub async fn invoke(&self, call: CallRequest) -> Answer {
        let id = call.id.unwrap_or_else(Uuid::new_v4);
        let (received, given_up) =
            (call.received, call.received.saturating_add(call.budget.saturating_add(GIVEN_UP)));
        let mut answer = match self.check(call, id) {
            // A call that joined another one with a longer budget has only its own.
            Ok(call) => until(given_up, self.submit(call, id)).await.unwrap_or_else(|| {
                let message = "the same call, made before, has not been answered yet; it may have run";
                Answer::own(id, Status::NoReply, message)
            }),
            Err(fault) => Answer::own(id, Status::InvalidRequest, fault),
        };
        answer.timing.total = BootInstant::now().saturating_since(received);
        answer
    }

    async fn submit(&self, call: NewCall, id: Uuid) -> Answer {
        let (caller, answer) = oneshot::channel();
        match self.commands.try_send(Command::Call(Box::new(call), caller)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Answer::own(id, Status::Busy, "too many calls come in at once; nothing was sent");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Answer::own(id, Status::Offline, "the cloud side stops; nothing was sent");
            }
        }
        let mut slot = Slot { id, commands: Some(&self.commands) };
        let answer = answer.await;
        slot.commands = None;
        answer.unwrap_or_else(|_| {
            Answer::own(
                id,
                Status::NoReply,
                "the cloud side ended before a reply came; the request may have run",
            )
        })
    }

    /// Refuses what the wire would not carry.
    fn check(&self, call: CallRequest, id: Uuid) -> Result<NewCall, String> {
        let CallRequest { target, method, request, received, budget, id: _, caller, traceparent, form } =
            call;
        let timeout = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout) {
            return Err(format!("the timeout is {timeout} ms; 1 to {MAX_TIMEOUT_MS} ms are allowed"));
        }
        if target == self.client {
            return Err(format!("{target} is this side's own return address, not a gateway"));
        }
        for (name, value) in [("caller", &caller), ("traceparent", &traceparent)] {
            if value.as_ref().is_some_and(|value| value.len() > MAX_CALLER_LEN) {
                return Err(format!("the {name} is longer than {MAX_CALLER_LEN} bytes"));
            }
        }
        let topic = RequestTopic { target, method, client: self.client.clone(), id };
        if topic.check_len().is_err() {
            let message =
                "the names of target and method are too long together with the return address for a topic";
            return Err(message.into());
        }
        let request = Request {
            topic,
            timestamp: Some(unix_ms_at(received)),
            request,
            timeout: Some(timeout),
            not_after: None,
            attempt: 1,
            caller,
            traceparent,
        };
        let size = request.compat_payload().len() + ROOM_FOR_LATER;
        if size > MAX_PAYLOAD_LEN {
            return Err(format!("the request is too large: a payload has at most {MAX_PAYLOAD_LEN} bytes"));
        }
        Ok(NewCall { request, form, received, deadline: received.saturating_add(budget) })
    }
}

/// Frees a call's place when the one who asked goes away.
struct Slot<'a> {
    id: Uuid,
    commands: Option<&'a mpsc::Sender<Command>>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(commands) = self.commands
            && commands.try_send(Command::Gone(self.id)).is_err()
        {
            tracing::debug!(id = %self.id, "a call whose caller went away keeps its place until its deadline");
        }
    }
}
