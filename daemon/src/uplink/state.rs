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
            presence_is_wrong: false,
            correction: None,
            loopback: Loopback::default(),
            successor: None,
        }
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

async fn due(sleep: Option<&mut Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

pub(super) fn wait(delay: Duration) -> State {
    State::Waiting(Box::pin(tokio::time::sleep(delay)))
}
