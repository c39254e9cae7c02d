//! Keeps the gateway on its bus: connects, takes the name, serves, and begins again, for ever.
//!
//! A bus that is not there is told once, and changes nothing else. Nothing is kept from one connection for the next.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use nowd_plugin::bus::{BusAddress, Longer};
use nowd_plugin::{BootInstant, CancellationToken};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};
use zbus::{Connection, MessageStream};

use super::access::Access;
use super::serve::Served;
use super::watch::Watchers;
use super::{NAME, Waiting};
use crate::config::BusConfig;

/// How long connecting may take in all, and a message.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// The longest message that is taken, in bytes: what a call may have, with room for all that is not its parameters.
pub(super) const MAX_MESSAGE_LEN: usize = 256 * 1024;

/// How many messages wait to be looked at: few, since as many are taken before it is another task's turn.
const MAX_QUEUED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// Between two attempts: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The same where the bus is there and does not give the name: somebody has to mend that.
const NAME_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// `DBUS_NAME_FLAG_DO_NOT_QUEUE`, and what the bus says to who asks for a name.
const DO_NOT_QUEUE: u32 = 4;
const PRIMARY_OWNER: u32 = 1;

/// Why the gateway is not there.
#[derive(Debug, thiserror::Error)]
enum NotThere {
    #[error("it takes longer than {} s", LIMIT.as_secs())]
    TooLong,
    #[error("{0}")]
    Bus(#[from] zbus::Error),
    #[error(
        "the name {NAME} is taken: another gateway runs here; give this one a bus of its own, or `bus.serve = false`"
    )]
    Taken,
    #[error(
        "the bus does not give the name {NAME} to this user: {0}; is /usr/share/dbus-1/system.d/io.nowd.Gateway1.conf installed?"
    )]
    NotAllowed(zbus::Error),
}

/// Until `stop`.
pub(super) async fn run(
    mut waiting: Waiting,
    config: BusConfig,
    state_dir: PathBuf,
    stop: CancellationToken,
) {
    let mut attempts = Attempts::default();
    while !stop.is_cancelled() {
        let group = config.group.clone();
        // The machine's users may be asked of the network.
        let access = tokio::task::spawn_blocking(move || Access::new(&group)).await;
        let Ok(access) = access else { return };
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            connected = connect(&config.address) => connected,
        };
        waiting.tried.store(true, Ordering::Relaxed);
        let pause = match ended {
            Ok((connection, stream)) => {
                attempts.succeeded(&config.address);
                if !access.has_group() && !std::mem::replace(&mut attempts.told_group, true) {
                    info!(
                        "there is no group {:?}: root and this gateway's own user are served on the bus, and nobody else",
                        config.group
                    );
                }
                let since = BootInstant::now();
                let watchers = Watchers::new(Arc::clone(&waiting.watched));
                let served = Served::new(
                    connection.clone(),
                    access,
                    watchers,
                    waiting.asks.clone(),
                    state_dir.clone(),
                    since,
                );
                serve(Arc::new(served), stream, &mut waiting, &stop).await;
                // Who watched on this connection does not on the next.
                waiting.watched.store(false, Ordering::Relaxed);
                tokio::select! {
                    closed = connection.close() => drop(closed),
                    () = tokio::time::sleep(LIMIT) => {}
                }
                if stop.is_cancelled() {
                    return;
                }
                warn!(see = "own-bus-gone", "{} is gone; connecting anew", config.address.called());
                PAUSES.0
            }
            Err(e) => attempts.failed(&config.address, &e),
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Until the bus is gone or takes nothing, or `stop`.
async fn serve(
    served: Arc<Served>,
    mut stream: MessageStream,
    waiting: &mut Waiting,
    stop: &CancellationToken,
) {
    // Those who watched before do not any more.
    while waiting.ended.try_recv().is_ok() {}
    let mut tasks = JoinSet::new();
    let watchers = Arc::clone(&served);
    let mut telling = pin!(watchers.watchers().tell(watchers.connection(), &mut waiting.ended));
    loop {
        tokio::select! {
            next = stream.next() => match next {
                Some(Ok(message)) => Arc::clone(&served).heard(message, &mut tasks),
                Some(Err(_)) | None => return,
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            () = &mut telling => return,
            () = served.given_up() => return,
            () = stop.cancelled() => break,
        }
    }
    // What is answered is still to be written.
    while tasks.join_next().await.is_some() {}
}

async fn connect(address: &BusAddress) -> Result<(Connection, MessageStream), NotThere> {
    tokio::select! {
        connected = try_connect(address) => connected,
        () = tokio::time::sleep(LIMIT) => Err(NotThere::TooLong),
    }
}

async fn try_connect(address: &BusAddress) -> Result<(Connection, MessageStream), NotThere> {
    const BUS: &str = "org.freedesktop.DBus";
    // Anybody on the bus may send anything.
    let bounded = address.bounded(MAX_MESSAGE_LEN, Longer::LosesItsBody).await?;
    let builder = bounded.unwrap_or_else(|| address.connection()).max_queued(MAX_QUEUED);
    let connection = builder.build().await?;
    // Before the name, so that no call is lost.
    let stream = MessageStream::from(&connection);
    let path = "/org/freedesktop/DBus";
    let reply = connection
        .call_method(Some(BUS), path, Some(BUS), "RequestName", &(NAME, DO_NOT_QUEUE))
        .await
        .map_err(NotThere::NotAllowed)?;
    match reply.body().deserialize::<u32>()? {
        PRIMARY_OWNER => Ok((connection, stream)),
        _ => Err(NotThere::Taken),
    }
}

/// A connection to this bus, of somebody who only asks.
pub(crate) async fn open(address: &BusAddress) -> Result<Connection, zbus::Error> {
    address.connection().build().await
}

/// What was tried, and what was said of it.
#[derive(Debug, Default)]
struct Attempts {
    failures: u32,
    told: bool,
    told_name: bool,
    told_group: bool,
}

impl Attempts {
    fn succeeded(&mut self, address: &BusAddress) {
        *self = Self { told_group: self.told_group, ..Self::default() };
        info!("on {} as {NAME}", address.called());
    }

    /// How long to wait.
    fn failed(&mut self, address: &BusAddress, e: &NotThere) -> Duration {
        let pauses = match e {
            NotThere::Taken | NotThere::NotAllowed(_) => {
                if std::mem::replace(&mut self.told_name, true) {
                    debug!("not on {}: {e}", address.called());
                } else {
                    error!(see = "name-refused", "not on {}: {e}", address.called());
                }
                NAME_PAUSES
            }
            NotThere::TooLong | NotThere::Bus(_) => {
                if std::mem::replace(&mut self.told, true) {
                    debug!("not on {}: {e}", address.called());
                } else {
                    warn!(
                        see = "own-bus-missing",
                        "not on {}, so `nowd call`, `nowd status` and their like find no gateway; trying on: {e}",
                        address.called()
                    );
                }
                PAUSES
            }
        };
        self.failures = self.failures.saturating_add(1);
        pause(self.failures, pauses)
    }
}

/// Doubles from the first pause to the longest, and takes between half and all of it at random.
fn pause(failures: u32, (first, longest): (Duration, Duration)) -> Duration {
    let whole = first.saturating_mul(1_u32 << failures.min(10)).min(longest);
    let random = u32::try_from(RandomState::new().hash_one(failures) % 512).unwrap_or_default();
    whole / 2 + whole.saturating_mul(random) / 1024
}
