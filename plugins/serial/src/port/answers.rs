//! What a port says of calls that it did not do, or of which it knows no more. Touches no line.

use nowd_plugin::{CallError, Completion, Outcome};

use super::{Port, lock};

impl Port {
    /// Why it is not open, while it is not.
    pub(crate) fn why_gone(&self) -> Option<String> {
        lock(&self.gone).clone()
    }

    /// The answer to a call while the port is not open.
    pub(crate) fn unavailable(&self) -> Option<Completion> {
        lock(&self.gone).as_deref().map(|reason| self.gone_because(reason))
    }

    /// The port went before anything was written.
    pub(crate) fn gone_because(&self, reason: &str) -> Completion {
        Completion::Unavailable(CallError::new("port_gone", format!("{self} cannot be used: {reason}")))
    }

    /// A safe action was written and answered, or so it seems.
    pub(crate) fn unclear(&self, answer: &str) -> Completion {
        let message = format!(
            "all was written to {self}, and what came ({answer}) may as well be the late answer to the call before; look at the device"
        );
        Completion::Failed { outcome: Outcome::Unknown, error: CallError::new("answer_unclear", message) }
    }

    /// How a safe action ends that was not answered for certain before: what was done then is not known.
    pub(crate) fn after_unclear(completion: Completion) -> Completion {
        if let Completion::Refused(error) | Completion::Failed { error, .. } = completion {
            return Completion::Failed { outcome: Outcome::Unknown, error };
        }
        completion
    }

    /// The call was cancelled before anything was written.
    pub(crate) fn cancelled(&self) -> Completion {
        let message = format!("the call was cancelled before anything was written to {self}");
        Completion::Unavailable(CallError::new("cancelled", message))
    }
}
