//! Questions: to plugins about themselves, and to the bus about signals. Nothing acts on them.

use nowd_plugin::Deadline;
use tokio::sync::oneshot;
use zbus::message::{Flags, Message, Type};

use super::{ASK_LIMIT, Bus, SendError, bus_call};

/// How many questions of one connection may be without an answer: a bus bounds the calls that wait (often 128), and most
/// of these are for calls that matter.
const MAX_UNANSWERED: usize = 32;

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It was not asked.
    #[error(transparent)]
    NotSent(#[from] SendError),
    /// The bus went away.
    #[error("the bus went away")]
    Gone,
    /// Not in time.
    #[error("no answer came in time")]
    Late,
}

impl Bus {
    /// Asks, and waits for the answer until `deadline`. May be an error.
    pub(crate) async fn ask(&self, message: &Message, deadline: &Deadline) -> Result<Message, Unanswered> {
        if self.unanswered() >= MAX_UNANSWERED {
            return Err(Unanswered::Late);
        }
        let reply: oneshot::Receiver<Message> = self.send(message, deadline).await?;
        tokio::select! {
            biased;
            reply = reply => reply.map_err(|_| Unanswered::Gone),
            () = deadline.passed() => Err(Unanswered::Late),
        }
    }

    /// How many wait for answers that nobody takes any more.
    fn unanswered(&self) -> usize {
        let state = self.lock();
        state.up.as_ref().map_or(0, |up| up.pending.unanswered())
    }

    /// Tells something that has no answer. In vain where the bus is not there, or takes no data.
    pub(crate) async fn tell(&self, message: &Message) {
        debug_assert!(message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED));
        // Nothing acts on this late: the time is only a bound.
        let sent = self.send(message, &Deadline::after(ASK_LIMIT)).await;
        self.forget(message.primary_header().serial_num());
        if let Err(e) = sent {
            tracing::debug!(bus = %self.address, error = %e, "could not tell a plugin");
        }
    }

    /// Begins or ends to hear the signals of a match rule. Whether the bus does it is in the result.
    pub(crate) async fn matches(&self, rule: &str, wanted: bool) -> Result<bool, Unanswered> {
        let member = if wanted { "AddMatch" } else { "RemoveMatch" };
        let Ok(message) = bus_call(member).build(&rule) else { return Ok(false) };
        let reply = self.ask(&message, &Deadline::after(ASK_LIMIT)).await?;
        Ok(reply.message_type() != Type::Error)
    }
}
