//! How far the connection has come, and waiting for what comes next of it. Decides nothing.

use std::pin::Pin;
use std::time::Duration;

use nowd_link::{Event, Ticket};
use nowd_plugin::{BootInstant, BoxFuture};
use tokio::time::Sleep;
use uuid::Uuid;

use super::line::{Line, LineError, Sender};
use super::probe::Loopback;
use super::renewal::made;
use crate::identity::Which;

pub(super) enum State {
    Waiting(Pin<Box<Sleep>>),
    Opening(Opening),
    Up(Box<Up>),
}

/// A connection that is being made.
pub(super) struct Opening {
    pub(super) session: Session,
    pub(super) which: Which,
    pub(super) result: BoxFuture<'static, Result<Line, LineError>>,
}

/// What came next.
pub(super) enum Turn {
    Waited,
    Opened(Result<Line, LineError>),
    Up(UpEvent),
}

/// A connection that lasted this long was a good one.
const LASTED: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) since: BootInstant,
}

pub(super) struct Up {
    pub(super) connection: Line,
    pub(super) sender: Sender,
    pub(super) session: Session,
    /// With which certificate.
    pub(super) which: Which,
    pub(super) subscription: Option<Ticket>,
    /// When the subscription was granted.
    pub(super) ready: Option<BootInstant>,
    /// The broker has answered a message of ours.
    pub(super) answered: bool,
    /// Somebody else's word for the presence has been heard, which is to be put right.
    pub(super) presence_is_wrong: bool,
    /// When the presence is to be published again.
    pub(super) correction: Option<Pin<Box<Sleep>>>,
    pub(super) loopback: Loopback,
    /// The connection that is to take over from this one.
    pub(super) successor: Option<Opening>,
}

impl State {
    /// What comes next; afterwards the state is another, or is [`State::Up`]. May be dropped while waiting.
    pub(super) async fn turn(&mut self) -> Turn {
        match self {
            Self::Waiting(sleep) => {
                sleep.await;
                Turn::Waited
            }
            Self::Opening(Opening { result, .. }) => Turn::Opened(result.await),
            Self::Up(up) => Turn::Up(up.next().await),
        }
    }
}

pub(super) enum UpEvent {
    Link(Result<Event, LineError>),
    Succeeded(Result<Line, LineError>),
    Correct,
    Probe,
}

impl Up {
    pub(super) fn new(connection: Line, session: Session, which: Which) -> Self {
        let sender = connection.sender();
        Self {
            connection,
            sender,
            session,
            which,
            subscription: None,
            ready: None,
            answered: false,
            presence_is_wrong: false,
            correction: None,
            loopback: Loopback::default(),
            successor: None,
        }
    }

    /// Whether it was a good one: the next attempt may come soon.
    pub(super) fn was_good(&self) -> bool {
        is_good(self.answered, BootInstant::now().saturating_since(self.session.since))
    }

    async fn next(&mut self) -> UpEvent {
        tokio::select! {
            biased;
            () = due(self.correction.as_mut()) => {
                self.correction = None;
                UpEvent::Correct
            }
            // Before the alarm: what has come in may be what it is about.
            event = self.connection.next() => UpEvent::Link(event),
            result = made(self.successor.as_mut()) => UpEvent::Succeeded(result),
            () = self.loopback.alarm() => UpEvent::Probe,
        }
    }
}

/// One on which the broker never answered a message was not good, however long it stood: a broker that limits us may take the connection and leave
/// what is published unanswered, and then must not be asked again and again.
fn is_good(answered: bool, lasted: Duration) -> bool {
    answered && lasted >= LASTED
}

async fn due(sleep: Option<&mut Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

pub(super) fn wait(delay: Duration) -> State {
    State::Waiting(Box::pin(tokio::time::sleep(delay)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_good_that_lasted_and_on_which_the_broker_answered() {
        let short = LASTED.saturating_sub(Duration::from_millis(1));
        let cases = [(true, LASTED, true), (true, short, false), (false, LASTED * 100, false)];
        for (answered, lasted, good) in cases {
            assert_eq!(is_good(answered, lasted), good, "{answered} {lasted:?}");
        }
    }
}
