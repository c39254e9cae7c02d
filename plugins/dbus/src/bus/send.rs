//! Writing: one message after the other, each with a look at the clock directly before it.
//!
//! What it never does: complete a message late, or let another follow half of one.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::Poll;

use nowd_plugin::{Deadline, Expired};
use tokio::sync::oneshot;
use zbus::Connection;
use zbus::message::Message;

use super::{Bus, too_late};

/// How many calls may wait for replies at once; lanes keep it far below.
const MAX_PENDING: usize = 1024;

/// Why a message was not sent. Nobody has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// There is no connection.
    #[error("the bus is not there")]
    Gone,
    /// The deadline passed first.
    #[error(transparent)]
    Expired(#[from] Expired),
    /// Too many calls wait for replies.
    #[error("{MAX_PENDING} calls wait for replies already")]
    TooMany,
}

impl Bus {
    /// As [`Self::send_to`], to the destination that stands in the message.
    pub(crate) async fn send(
        &self,
        message: &Message,
        deadline: &Deadline,
    ) -> Result<oneshot::Receiver<Message>, SendError> {
        let to = message.header().destination().map(ToString::to_string).unwrap_or_default();
        self.send_to(message, &to, deadline).await
    }

    /// Writes a method call to `to`, its destination, unless `deadline` has passed when it is its turn. What comes back is the reply to wait
    /// for; it is an error when the bus goes away first.
    ///
    /// Dropped in the middle of writing, it gives the connection up: the bus never sees half a message.
    pub(crate) async fn send_to(
        &self,
        message: &Message,
        to: &str,
        deadline: &Deadline,
    ) -> Result<oneshot::Receiver<Message>, SendError> {
        let _writing = tokio::select! {
            biased;
            guard = self.writing.lock() => guard,
            () = deadline.passed() => return Err(too_late(deadline).into()),
        };
        let serial = message.primary_header().serial_num();
        let (id, connection, reply) = self.register(serial, to)?;
        if let Err(expired) = deadline.check() {
            self.forget(serial);
            return Err(expired.into());
        }
        // Writing may have to wait until the bus reads: each further attempt has its own check before it.
        let mut half_written = HalfWritten { bus: self, id: Some(id) };
        let mut writing = pin!(connection.send(message));
        let attempts = poll_fn(|cx| match deadline.check() {
            Ok(()) => writing.as_mut().poll(cx).map(Some),
            Err(_) => Poll::Ready(None),
        });
        let sent = tokio::select! {
            biased;
            sent = attempts => sent,
            () = deadline.passed() => None,
        };
        half_written.id = None;
        match sent {
            Some(Ok(())) => Ok(reply),
            Some(Err(e)) => {
                // An error means that the message was not written to its end, so the bus never sees it.
                tracing::warn!(see = "bus-gone", bus = %self.address, error = %e, "writing to the bus failed; connecting anew");
                self.abandon(id);
                Err(SendError::Gone)
            }
            None => {
                // A message that is written in part must not be completed late: the bus drops it with the connection.
                tracing::warn!(see = "bus-stalled", bus = %self.address, "the bus took no data until a deadline; connecting anew");
                self.abandon(id);
                Err(too_late(deadline).into())
            }
        }
    }

    fn register(
        &self,
        serial: NonZeroU32,
        to: &str,
    ) -> Result<(u64, Connection, oneshot::Receiver<Message>), SendError> {
        let mut state = self.lock();
        let up = state.up.as_mut().ok_or(SendError::Gone)?;
        if up.pending.len() >= MAX_PENDING {
            // A question that was given up is still noted here until its answer comes.
            up.pending.forget_unanswered();
        }
        if up.pending.len() >= MAX_PENDING {
            return Err(SendError::TooMany);
        }
        let reply = up.pending.add(serial, to, &up.owners);
        Ok((up.id, up.connection.clone(), reply))
    }

    pub(super) fn forget(&self, serial: NonZeroU32) {
        if let Some(up) = &mut self.lock().up {
            up.pending.forget(serial);
        }
    }
}

/// A message that is being written; a future that is dropped meanwhile may leave half of one.
struct HalfWritten<'a> {
    bus: &'a Bus,
    id: Option<u64>,
}

impl Drop for HalfWritten<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.bus.abandon(id);
        }
    }
}
