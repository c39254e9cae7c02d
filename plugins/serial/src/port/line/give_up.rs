//! When a call is given up, and why. Ends nothing itself.

use std::io;

use nowd_plugin::{Call, CancellationToken, Deadline, Expired};

/// When nothing more is to be done for a call.
#[derive(Debug)]
pub(crate) struct GiveUp {
    pub(crate) deadline: Deadline,
    pub(crate) cancelled: CancellationToken,
    pub(crate) stop: CancellationToken,
    /// Raised when a safe action has come that takes the line from the call.
    pub(crate) cut: CancellationToken,
    /// It is a safe action, which a line that is never silent must not keep from being written.
    pub(crate) makes_safe: bool,
}

/// Why a call could not be finished.
#[derive(Debug)]
pub(crate) enum Interrupt {
    /// The deadline passed.
    Late(Expired),
    /// Nobody waits any more, or the daemon stops.
    Cancelled,
    /// The device is not there any more.
    Gone(io::Error),
}

impl From<io::Error> for Interrupt {
    fn from(gone: io::Error) -> Self {
        Self::Gone(gone)
    }
}

impl From<Expired> for Interrupt {
    fn from(expired: Expired) -> Self {
        Self::Late(expired)
    }
}

impl GiveUp {
    pub(crate) fn of(call: &Call, stop: &CancellationToken, makes_safe: bool) -> Self {
        let (deadline, cancelled) = (call.deadline, call.cancelled.clone());
        Self { deadline, cancelled, stop: stop.clone(), cut: CancellationToken::new(), makes_safe }
    }

    /// Whether nobody waits for the call any more.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.check().is_err() || self.cancelled.is_cancelled()
    }

    pub(super) async fn wait(&self) -> Interrupt {
        loop {
            if let Err(expired) = self.deadline.check() {
                return Interrupt::Late(expired);
            }
            tokio::select! {
                () = self.deadline.passed() => continue,
                () = self.cancelled.cancelled() => {}
                () = self.stop.cancelled() => {}
                () = self.cut.cancelled() => {}
            }
            // Who cancels at the deadline may be a little sooner than the timer.
            return self.deadline.check().err().map_or(Interrupt::Cancelled, Interrupt::Late);
        }
    }
}
