//! The deadline of a request in the gateway's own clock, or why there is none.

use std::time::Duration;

use nowd_protocol::{ErrorBody, Request, Status, Uuid};

use crate::event::Receipt;
use crate::time::{Instant, micros};

/// A request that is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) error: ErrorBody,
}

impl Refusal {
    /// A refusal whose code is its status.
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, error: ErrorBody { code: status.as_str().into(), message: message.into() } }
    }
}

/// An admitted request's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) deadline: Instant,
    pub(crate) budget: Duration,
    /// When the same bytes would be too late, whenever they came: the deadline itself may be earlier.
    pub(crate) void: Instant,
}

/// Judges a request of a caller that knows deadlines.
pub(crate) fn judge(
    now: Instant,
    receipt: Receipt,
    request: &Request,
    incarnation: Uuid,
    max_timeout: Duration,
) -> Result<Judged, Refusal> {
    let Some(timeout) = request.timeout else {
        return Err(Refusal::new(Status::InvalidRequest, "`timeout` is missing"));
    };
    let budget = Duration::from_millis(timeout);
    if budget > max_timeout {
        let message =
            format!("`timeout` is {timeout} ms; this method allows at most {} ms", max_timeout.as_millis());
        return Err(Refusal::new(Status::InvalidRequest, message));
    }
    let (deadline, void) = match request.not_after {
        Some(not_after) if not_after.incarnation != incarnation => {
            return Err(Refusal::new(
                Status::Resync,
                "`not_after` is for another incarnation of this gateway",
            ));
        }
        Some(not_after) => {
            let at = Instant::from_micros(not_after.at);
            if at > now.after(max_timeout) {
                return Err(Refusal::new(Status::Resync, "`not_after` lies beyond what this method allows"));
            }
            // The caller's budget began before the message came, so a later instant than this is a mistake.
            (at.min(now.after(budget)), at)
        }
        None => {
            let deadline = by_wall_clock(now, receipt, request.timestamp, budget)?;
            (deadline, deadline)
        }
    };
    admit(now, deadline, void, budget)
}

/// Judges a request of a compatibility caller: a short budget from receipt.
pub(crate) fn judge_compat(
    now: Instant,
    receipt: Receipt,
    request: &Request,
    budget: Duration,
) -> Result<Judged, Refusal> {
    if receipt.stalled {
        return Err(Refusal::new(Status::Expired, "it may have waited while the gateway stood still"));
    }
    let deadline = match receipt.wall {
        Some(_) => by_wall_clock(now, receipt, request.timestamp, budget)?,
        None => now.after(budget),
    };
    admit(now, deadline, deadline, budget)
}

/// Receipt + budget - age - error bound, where both clocks can be believed.
fn by_wall_clock(
    now: Instant,
    receipt: Receipt,
    timestamp: Option<u64>,
    budget: Duration,
) -> Result<Instant, Refusal> {
    let Some(timestamp) = timestamp else {
        return Err(Refusal::new(Status::Resync, "there is neither `not_after` nor `timestamp`"));
    };
    let Some(wall) = receipt.wall else {
        return Err(Refusal::new(
            Status::Resync,
            "there is no `not_after`, and this gateway's wall clock is not trusted",
        ));
    };
    if timestamp > wall.now_ms.saturating_add(wall.error_ms) {
        return Err(Refusal::new(
            Status::Resync,
            "`timestamp` lies in the future; one of the clocks is wrong",
        ));
    }
    let age = Duration::from_millis(wall.now_ms.saturating_sub(timestamp).saturating_add(wall.error_ms));
    // Nothing in it names the process that may run it. What is older than the connection may have been run by another.
    if now.before(age) <= receipt.since {
        return Err(Refusal::new(Status::Resync, "it was made before this gateway was connected"));
    }
    Ok(now.after(budget).before(age))
}

fn admit(now: Instant, deadline: Instant, void: Instant, budget: Duration) -> Result<Judged, Refusal> {
    if deadline <= now {
        let late = micros(now.since(deadline));
        return Err(Refusal::new(
            Status::Expired,
            format!("it came {late} us after its deadline, and was dropped"),
        ));
    }
    Ok(Judged { deadline, budget, void })
}
