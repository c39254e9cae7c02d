//! Which bus a plugin is served on, and how it is reached. Keeps no connection.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::time::Duration;

use zbus::message::{Flags, Message, Type};
use zbus::{Connection, MessageStream};

use super::MAX_MESSAGE_LEN;
use crate::bus::{BusAddress, Longer};

/// How long each question to the bus may take, connecting too.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Between two attempts to connect: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How many messages wait to be looked at: few, since each may be as long as is allowed.
const MAX_QUEUED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// The bus's own name, and the interface of that name.
pub(super) const BUS_NAME: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// `RequestName`: fail instead of waiting for the name.
const DO_NOT_QUEUE: u32 = 4;

/// Why the bus cannot be used, now.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    #[error("it did not answer within {} s", ASK_LIMIT.as_secs())]
    TooLong,
    #[error("it refused a question: {0}")]
    Refused(String),
    #[error(transparent)]
    Bus(#[from] zbus::Error),
}

/// Why the plugin has not got its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("another process has the name")]
    Taken,
    #[error("the bus does not allow this user to own the name")]
    NotAllowed,
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Connects. Nobody knows the connection before its stream is read.
pub(super) async fn connect(bus: &BusAddress) -> Result<MessageStream, BusError> {
    let connect = async {
        // Anybody on the bus may send anything.
        let bounded = bus.bounded(MAX_MESSAGE_LEN, Longer::LosesItsBody).await?;
        bounded.unwrap_or_else(|| bus.connection()).max_queued(MAX_QUEUED).build().await
    };
    tokio::select! {
        connected = connect => Ok(MessageStream::from(&connected?)),
        () = tokio::time::sleep(ASK_LIMIT) => Err(BusError::TooLong),
    }
}

/// Asks to be told of everybody who leaves the bus, and then for the name. The connection must be read meanwhile.
pub(super) async fn introduce(connection: Connection, name: String) -> Result<(), NameError> {
    let rule =
        format!("type='signal',sender='{BUS_NAME}',interface='{BUS_NAME}',member='NameOwnerChanged',arg2=''");
    ask(&connection, "AddMatch", &rule).await?;
    let reply = match ask(&connection, "RequestName", &(name, DO_NOT_QUEUE)).await {
        Ok(reply) => reply,
        Err(BusError::Bus(zbus::Error::FDO(e))) if matches!(*e, zbus::fdo::Error::AccessDenied(_)) => {
            return Err(NameError::NotAllowed);
        }
        Err(e) => return Err(e.into()),
    };
    match reply.body().deserialize::<u32>().map_err(BusError::Bus)? {
        // Ours now, or already.
        1 | 4 => Ok(()),
        3 => Err(NameError::Taken),
        other => Err(BusError::Refused(format!("RequestName answered {other}")).into()),
    }
}

/// Gives the name back. When this comes back, all that was written before has reached the bus.
pub(super) async fn release(connection: &Connection, name: &str) -> Result<(), BusError> {
    ask(connection, "ReleaseName", &name).await.map(drop)
}

async fn ask<B>(connection: &Connection, member: &'static str, body: &B) -> Result<Message, BusError>
where
    B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
{
    let asked = connection.call_method(Some(BUS_NAME), BUS_PATH, Some(BUS_NAME), member, body);
    tokio::select! {
        reply = asked => Ok(reply?),
        () = tokio::time::sleep(ASK_LIMIT) => Err(BusError::TooLong),
    }
}

/// Doubles from the first pause to the longest, and takes between half and all of it at random.
pub(super) fn pause(failures: u32) -> Duration {
    let (first, longest) = PAUSES;
    let whole = first.saturating_mul(1_u32 << failures.min(10)).min(longest);
    let random = u32::try_from(RandomState::new().hash_one(failures) % 512).unwrap_or_default();
    whole / 2 + whole.saturating_mul(random) / 1024
}

/// Who has left the bus, if the message is the bus's word that somebody has; also for well-known names.
pub(super) fn leaver(message: &Message) -> Option<String> {
    let (name, _, new) = from_bus::<(String, String, String)>(message, "NameOwnerChanged")?;
    new.is_empty().then_some(name)
}

/// The name that was taken from this connection, if the message says so.
pub(super) fn lost_name(message: &Message) -> Option<String> {
    from_bus(message, "NameLost")
}

fn from_bus<B>(message: &Message, member: &str) -> Option<B>
where
    B: for<'d> zbus::zvariant::DynamicDeserialize<'d>,
{
    let header = message.header();
    let fits = message.message_type() == Type::Signal
        && header.sender().is_some_and(|sender| sender.as_str() == BUS_NAME)
        && header.member().is_some_and(|found| found.as_str() == member);
    if fits { message.body().deserialize().ok() } else { None }
}

/// Whether the caller waits for an answer.
pub(super) fn wants_reply(message: &Message) -> bool {
    !message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for failures in 0..40 {
            let pause = pause(failures);
            assert!(pause >= Duration::from_millis(25) && pause <= PAUSES.1, "{failures}: {pause:?}");
        }
        assert!(pause(30) >= PAUSES.1 / 2);
    }
}
