//! One invocation of a method, and the instant after which it must not act.

use std::time::Duration;

use nowd_clock::{BootInstant, boottime_micros};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// One invocation, as a plugin sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The call's id: the same in the cloud, in logs and in `$call.id`.
    pub id: Uuid,
    /// The method's name.
    pub method: String,
    /// The parameters, checked against the method's schema, defaults filled in.
    pub params: Value,
    /// The instant after which nothing may be started.
    pub deadline: Deadline,
    /// Raised when nobody waits for the result any more.
    pub cancelled: CancellationToken,
}

impl Call {
    /// A call that nobody has cancelled yet.
    #[must_use]
    pub fn new(id: Uuid, method: impl Into<String>, params: Value, deadline: Deadline) -> Self {
        Self { id, method: method.into(), params, deadline, cancelled: CancellationToken::new() }
    }
}

/// An instant of the steady clock and the budget the caller had at first.
///
/// It is fixed once, at receipt, and only ever made earlier on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: BootInstant,
    budget: Duration,
}

/// The deadline has passed: nothing may be started any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed {} us ago, before anything was done", .late_by.as_micros())]
pub struct Expired {
    /// How long ago the deadline passed.
    pub late_by: Duration,
}

impl Deadline {
    /// A deadline at `at`, for a call that was given `budget` by its caller.
    #[must_use]
    pub const fn new(at: BootInstant, budget: Duration) -> Self {
        Self { at, budget }
    }

    /// A deadline that lies `budget` after now.
    #[must_use]
    pub fn after(budget: Duration) -> Self {
        Self { at: BootInstant::now().saturating_add(budget), budget }
    }

    /// The instant itself: at it, the call is too late.
    #[must_use]
    pub const fn at(&self) -> BootInstant {
        self.at
    }

    /// What the caller allowed in all, for messages and proportions; never counted afresh.
    #[must_use]
    pub const fn budget(&self) -> Duration {
        self.budget
    }

    /// The same instant as `CLOCK_BOOTTIME` will show it, in microseconds: what a service or device is told, at the moment
    /// of telling. It must not act at or after it.
    #[must_use]
    pub fn boottime_micros(&self) -> u64 {
        boottime_micros(self.at)
    }

    /// Time left at `now`; zero when it has passed.
    #[must_use]
    pub const fn remaining_at(&self, now: BootInstant) -> Duration {
        self.at.saturating_since(now)
    }

    /// Time left; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.remaining_at(BootInstant::now())
    }

    /// The last check, to stand directly before the write to bus or port.
    pub fn check(&self) -> Result<(), Expired> {
        self.check_at(BootInstant::now())
    }

    /// The same check for a given `now`.
    pub fn check_at(&self, now: BootInstant) -> Result<(), Expired> {
        if now < self.at { Ok(()) } else { Err(Expired { late_by: now.saturating_since(self.at) }) }
    }

    /// Waits until the deadline has passed.
    ///
    /// The runtime's clock stands still while the machine is suspended, so this may wake late, never early: it is
    /// for giving up, and [`Self::check`] is for acting.
    pub async fn passed(&self) {
        // Again where the runtime's clock is slewed to run faster.
        while self.check().is_ok() {
            tokio::time::sleep(self.remaining()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_deadline_it_is_too_late() {
        let deadline = Deadline::new(BootInstant::from_micros(1_000), Duration::from_millis(1));
        for (now, late_by) in [(0, None), (999, None), (1_000, Some(0)), (1_700, Some(700))] {
            let checked = deadline.check_at(BootInstant::from_micros(now));
            assert_eq!(checked.err().map(|e| e.late_by), late_by.map(Duration::from_micros), "at {now}");
        }
    }
}
