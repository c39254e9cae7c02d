//! Keeps the connection to a bus: connects, subscribes, reads, and connects again, for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nowd_plugin::bus::{Longer, too_long};
use nowd_plugin::service::MAX_MESSAGE_LEN;
use nowd_plugin::{CancellationToken, Deadline};
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use super::pending::Pending;
use super::signal::owner_change;
use super::{Allowance, BUS_NAME, Bus, Trust, Up, bus_call};

/// How long connecting may take in all, and closing.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The most that keeping the connection may be without a wait for messages: connecting, closing, and a pause.
pub(super) const LONGEST_ROUND: Duration = Duration::from_secs(22);

/// Between two attempts to connect: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The longest message on the connection to services, in bytes. One that is longer than the gateway can hand on is judged where
/// it is read; this is how much memory one may take.
const MAX_SERVICE_MESSAGE_LEN: usize = 1024 * 1024;

/// A connection that a plugin's offence ends sooner counts as a failure.
const YOUNG: Duration = Duration::from_secs(10);

/// How many messages of a plugin wait to be looked at: few, since each may be as long as is allowed.
const MAX_QUEUED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// How many messages of a plugin that nobody has asked for are borne, at once and after that one in this time, before its
/// connection is given up.
const PATIENCE: (u32, Duration) = (4_096, Duration::from_micros(500));

impl Bus {
    /// Keeps a connection until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            self.pulse.moved();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ended = self.connected() => {
                    let why = match ended {
                        Ok(Ended { offence: Some(offence), lived }) => {
                            // Who does that at once each time is not to keep the gateway busy.
                            failures = if lived { 0 } else { failures };
                            if failures == 0 {
                                tracing::warn!(see = "bus-offence", bus = %self.address, "giving up a connection: {offence}");
                            } else {
                                tracing::debug!(bus = %self.address, "giving up a connection: {offence}");
                            }
                            offence
                        }
                        Ok(Ended { offence: None, .. }) => {
                            failures = 0;
                            tracing::warn!(see = "bus-gone", bus = %self.address, "the bus is gone; connecting anew");
                            "it went away; the gateway keeps trying to connect".into()
                        }
                        Err(e) => {
                            let why = self.reason(&e);
                            if failures == 0 {
                                tracing::warn!(see = "bus-unreachable", "cannot connect to {}; trying on: {why}", self.address.full());
                            } else {
                                tracing::debug!("cannot connect to {}: {why}", self.address.full());
                            }
                            why
                        }
                    };
                    self.lock().down = Some(why);
                    self.tried.send_replace(true);
                }
            }
            self.disconnect();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause(failures)) => {}
            }
            failures = failures.saturating_add(1);
        }
    }

    /// Connects and reads until the bus is gone. An error means that there never was a usable connection.
    async fn connected(&self) -> Result<Ended, ConnectError> {
        let (mut stream, dead) = tokio::select! {
            connected = self.connect() => connected?,
            () = tokio::time::sleep(CONNECT_LIMIT) => return Err(ConnectError::TooLong),
        };
        tracing::info!(bus = %self.address, "connected to the bus");
        self.tried.send_replace(true);
        let young = Deadline::after(YOUNG);
        let mut offence = None;
        let mut patience = Allowance::new(PATIENCE.0, PATIENCE.1);
        let given_up = {
            // Not polled any more, it could hold up those who write: it ends with the reading.
            let mut learning = pin!(self.keep_learned());
            loop {
                tokio::select! {
                    never = &mut learning => match never {},
                    next = self.pulse.idle(stream.next()) => match next {
                        Some(Ok(message)) => {
                            let asked_for = self.dispatch(&message);
                            // What strangers send is dropped, and is not the plugin's fault.
                            let offends = !asked_for
                                && matches!(self.trust, Trust::Plugins(_))
                                && self.is_of_owner(&message)
                                && !patience.spend(cost(message.data().len())).is_zero();
                            if offends {
                                // Slower reading would hold up its answers, and beyond its own bound the bus drops those too.
                                offence = Some(format!(
                                    "it sent more than {} messages that nobody has asked for, faster than {} a second",
                                    PATIENCE.0,
                                    Duration::from_secs(1).as_micros() / PATIENCE.1.as_micros()
                                ));
                                break false;
                            }
                        }
                        Some(Err(e)) => {
                            offence = too_long(&e);
                            break false;
                        }
                        None => break false,
                    },
                    () = dead.cancelled() => break true,
                }
            }
        };
        if given_up {
            tokio::select! {
                closed = Connection::from(stream).close() => {
                    if let Err(e) = closed {
                        tracing::debug!(bus = %self.address, error = %e, "closing the connection failed");
                    }
                }
                () = tokio::time::sleep(CONNECT_LIMIT) => {}
            }
        }
        Ok(Ended { offence, lived: young.check().is_err() })
    }

    /// Whether it comes from whoever has one of the names that are followed.
    fn is_of_owner(&self, message: &Message) -> bool {
        let header = message.header();
        let Some(sender) = header.sender() else { return false };
        let state = self.lock();
        let owners = state.up.as_ref().map(|up| &up.owners);
        owners.is_some_and(|owners| owners.values().any(|owner| owner == sender.as_str()))
    }

    /// Why there is no connection, and what to do, in words.
    fn reason(&self, error: &ConnectError) -> String {
        match error {
            ConnectError::Bus(e) => self.address.why(e),
            ConnectError::TooLong
            | ConnectError::Refused
            | ConnectError::Closed
            | ConnectError::NoUnixSocket => error.to_string(),
        }
    }

    /// Connects, subscribes, learns who owns the destinations, and only then lets calls use the connection.
    async fn connect(&self) -> Result<(MessageStream, CancellationToken), ConnectError> {
        let builder = match (&self.trust, &self.address) {
            (Trust::Plugins(_), address) => {
                let builder = address.bounded(MAX_MESSAGE_LEN, Longer::EndsConnection).await?;
                builder.ok_or(ConnectError::NoUnixSocket)?.max_queued(MAX_QUEUED)
            }
            (Trust::Services, address) => {
                // Services are trusted, but not everybody else on their bus.
                let bounded = address.bounded(MAX_SERVICE_MESSAGE_LEN, Longer::LosesItsBody).await?;
                bounded.unwrap_or_else(|| address.connection())
            }
        };
        let connection = builder.build().await?;
        let mut stream = MessageStream::from(&connection);
        let mut owners = HashMap::new();
        for rule in &self.rules {
            ask(&connection, &mut stream, &bus_call("AddMatch").build(rule)?, &mut owners).await?;
        }
        for destination in self.losses.keys() {
            let message = bus_call("GetNameOwner").build(destination)?;
            match ask(&connection, &mut stream, &message, &mut owners).await {
                Ok(reply) => {
                    let owner: String = reply.body().deserialize()?;
                    owners.insert(destination.clone(), owner);
                }
                Err(ConnectError::Refused) => {
                    owners.remove(destination);
                }
                Err(e) => return Err(e),
            }
        }
        if matches!(self.trust, Trust::Services) {
            self.tell_absent(&connection, &mut stream, &mut owners).await?;
        }
        let mut state = self.lock();
        state.next_up = state.next_up.wrapping_add(1);
        let dead = CancellationToken::new();
        state.up = Some(Up {
            id: state.next_up,
            connection,
            dead: dead.clone(),
            owners,
            pending: Pending::default(),
            waiters: HashMap::new(),
            learned: BTreeMap::new(),
            unlearned: self.objects.keys().cloned().collect::<BTreeSet<_>>(),
        });
        drop(state);
        self.changed();
        Ok((stream, dead))
    }
}

/// How a connection ended.
struct Ended {
    /// What a plugin did that is not borne.
    offence: Option<String>,
    /// Whether it lived for a while.
    lived: bool,
}

/// What a message costs that nobody has asked for: the large ones more.
fn cost(len: usize) -> u32 {
    u32::try_from(len / 4096).unwrap_or(u32::MAX).saturating_add(1)
}

/// Why there is no usable connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("it took longer than {} s", CONNECT_LIMIT.as_secs())]
    TooLong,
    #[error("the bus refused a question")]
    Refused,
    #[error("the bus closed the connection")]
    Closed,
    #[error("plugins are reached only over a Unix socket, such as \"unix:path=/run/example/bus\"")]
    NoUnixSocket,
    #[error(transparent)]
    Bus(#[from] zbus::Error),
}

/// Asks the bus while nobody else uses the connection.
pub(super) async fn ask(
    connection: &Connection,
    stream: &mut MessageStream,
    message: &Message,
    owners: &mut HashMap<String, String>,
) -> Result<Message, ConnectError> {
    connection.send(message).await?;
    let serial = message.primary_header().serial_num();
    while let Some(next) = stream.next().await {
        let next = next?;
        if let Some(change) = owner_change(&next) {
            change.apply(owners);
        } else if is_answer(&next, serial) {
            return if next.message_type() == Type::Error { Err(ConnectError::Refused) } else { Ok(next) };
        }
    }
    Err(ConnectError::Closed)
}

/// Whether it is the bus's own answer to the message of this serial.
fn is_answer(message: &Message, serial: NonZeroU32) -> bool {
    let header = message.header();
    header.reply_serial() == Some(serial) && header.sender().is_some_and(|sender| sender == BUS_NAME)
}

/// Doubles from the first pause to the longest, and takes between half and all of it at random.
fn pause(failures: u32) -> Duration {
    let (first, longest) = PAUSES;
    let whole = first.saturating_mul(1_u32 << failures.min(10)).min(longest);
    let random = u32::try_from(RandomState::new().hash_one(failures) % 512).unwrap_or_default();
    whole / 2 + whole.saturating_mul(random) / 1024
}
