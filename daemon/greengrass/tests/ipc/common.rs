//! Short ways to do in a test what is done in most of them.

use std::time::Duration;

use nowd_greengrass::{Connection, Environment, Event, IpcError, Options};
use nowd_testkit::{Nucleus, within};

/// A test that waits longer than this has failed.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
/// Whose process this is.
pub(crate) const OURS: &str = "io.nowd.Gateway";

/// Options that make no test fail because the machine is slow, out of the environment that the nucleus would give.
pub(crate) fn options(nucleus: &Nucleus) -> Options {
    let variables = nucleus.environment(OURS);
    let variable =
        |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut options = Options::from(&Environment::of(variable).unwrap());
    options.open_timeout = BOUND;
    options.answer_timeout = BOUND;
    options
}

pub(crate) async fn open(nucleus: &Nucleus) -> Connection {
    Connection::open(&options(nucleus)).await.unwrap_or_else(|error| panic!("{error:?}"))
}

pub(crate) async fn next(connection: &mut Connection) -> Event {
    within(BOUND, "an event", connection.next()).await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Why the connection ends; events before it are dropped.
pub(crate) async fn end(connection: &mut Connection) -> IpcError {
    within(BOUND, "the end of the connection", async {
        loop {
            if let Err(error) = connection.next().await {
                return error;
            }
        }
    })
    .await
}
