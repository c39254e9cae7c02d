//! What is to be written to the bus. Answers of calls that ran go first; of everything else little is kept, and what does not
//! fit is dropped, so that nobody who asks much and reads little costs memory or holds up an answer.

use std::collections::VecDeque;
use std::fmt;

use zbus::Connection;
use zbus::message::Message;

use super::bus::{ASK_LIMIT, BusError};
use crate::BoxFuture;

/// How many short answers to calls that did not start may wait.
const MAX_REFUSALS: usize = 512;

/// How many other messages may wait. A description may be long.
const MAX_OTHERS: usize = 32;

/// The messages that wait, and the one that is being written.
pub(super) struct Out {
    connection: Connection,
    /// Bounded by whoever lets calls start.
    answers: VecDeque<Message>,
    refusals: VecDeque<Message>,
    others: VecDeque<Message>,
    sending: Option<BoxFuture<'static, Result<(), BusError>>>,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = [self.answers.len(), self.refusals.len(), self.others.len()];
        f.debug_struct("Out").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl Out {
    pub(super) fn new(connection: Connection) -> Self {
        let (answers, refusals, others) = Default::default();
        Self { connection, answers, refusals, others, sending: None }
    }

    /// The answer of a call that ran.
    pub(super) fn answer(&mut self, message: Message) {
        self.answers.push_back(message);
    }

    /// The answer to a call that did not start.
    pub(super) fn refusal(&mut self, message: Message) {
        if self.refusals.len() < MAX_REFUSALS {
            self.refusals.push_back(message);
        }
    }

    /// Anything else; whether it will be sent.
    pub(super) fn other(&mut self, message: Message) -> bool {
        let fits = self.others.len() < MAX_OTHERS;
        if fits {
            self.others.push_back(message);
        }
        fits
    }

    /// How many answers of calls that ran are still to be written.
    pub(super) fn unsent(&self) -> usize {
        self.answers.len()
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_none()
            && self.answers.is_empty()
            && self.refusals.is_empty()
            && self.others.is_empty()
    }

    /// Ends when one more message is written. Waits for ever while there is none; may be dropped while waiting.
    pub(super) async fn progress(&mut self) -> Result<(), BusError> {
        if self.sending.is_none() {
            let next = self.answers.pop_front().or_else(|| self.refusals.pop_front());
            let Some(message) = next.or_else(|| self.others.pop_front()) else {
                return std::future::pending().await;
            };
            let connection = self.connection.clone();
            self.sending = Some(Box::pin(async move {
                tokio::select! {
                    sent = connection.send(&message) => Ok(sent?),
                    // A part of it may be written: nothing can follow that.
                    () = tokio::time::sleep(ASK_LIMIT) => Err(BusError::TooLong),
                }
            }));
        }
        let sent = match &mut self.sending {
            Some(sending) => sending.await,
            None => Ok(()),
        };
        self.sending = None;
        sent
    }
}
