//! What is known of each gateway's clock, and the deadlines that follow from it.
//!
//! A reply that a gateway stamped `now` and that was heard at our instant T proves that the gateway's clock stands at
//! `now` or later at T. So at our deadline D it has reached at least `now + (D - T)`, less what two clocks may drift
//! apart in between; that is the `not_after` sent. It can only err early: by the time the reply was under way, and by
//! the drift margin. Nothing here estimates or averages, and nothing here reads a clock.

use std::time::Duration;

use nowd_protocol::{GatewayStamp, Level, NotAfter, Uuid};

use crate::clock::BootInstant;
use crate::lru::Lru;

/// How much faster our clock may run than a gateway's, in parts per million. Quartz stays within 100 on each side.
pub const DRIFT_MARGIN_PPM: u64 = 200;

/// A bound is not used where the drift margin since it was heard would take more than one part in this many of the
/// budget that is left: the gateway says its time anew instead.
const WORTH_ONE_IN: u64 = 10;

/// The largest bound known for each target.
#[derive(Debug, Clone)]
pub(crate) struct ClockBounds {
    targets: Lru<Bound>,
    capacity: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    incarnation: Uuid,
    now: u64,
    heard: BootInstant,
}

impl Bound {
    fn new(stamp: &GatewayStamp, heard: BootInstant) -> Self {
        Self { incarnation: stamp.incarnation, now: stamp.now, heard }
    }

    /// The least that the gateway's clock can show at our instant `at`, in microseconds.
    fn at(&self, at: BootInstant) -> u64 {
        let passed = micros(at.saturating_since(self.heard));
        self.now.saturating_add(passed.saturating_sub(drift(passed)))
    }
}

impl ClockBounds {
    /// Keeps the bounds of `capacity` targets: those used last.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { targets: Lru::new(), capacity }
    }

    /// A reply with `stamp` was heard at `heard`, to what was sent at `published`. The largest bound is kept; another
    /// incarnation starts anew. So does one whose clock shows less than the bound says of the time when it was asked: the
    /// bound was wrong, because the gateway's clock runs slower than any that is sound, or stood still.
    pub(crate) fn heard(
        &mut self,
        target: &Level,
        stamp: &GatewayStamp,
        heard: BootInstant,
        published: Option<BootInstant>,
    ) {
        let new = Bound::new(stamp, heard);
        let disproved = |old: &Bound| {
            published.is_some_and(|published| published >= old.heard && stamp.now < old.at(published))
        };
        match self.targets.peek_mut(target) {
            Some(old)
                if old.incarnation == new.incarnation
                    && old.at(heard) >= new.at(heard)
                    && !disproved(old) => {}
            Some(old) => *old = new,
            None => return self.insert(target, new),
        }
        self.targets.touch(target);
    }

    /// A `resync` with `stamp` was heard at `heard`: what was believed before did not serve, so it is replaced.
    pub(crate) fn resynced(&mut self, target: &Level, stamp: &GatewayStamp, heard: BootInstant) {
        self.insert(target, Bound::new(stamp, heard));
    }

    /// The target's gateway runs as `incarnation`: a bound of another one is void.
    pub(crate) fn runs_as(&mut self, target: &Level, incarnation: Uuid) {
        if self.targets.peek(target).is_some_and(|bound| bound.incarnation != incarnation) {
            self.targets.remove(target);
        }
    }

    /// Our `deadline` in the target's own clock, for a request that leaves at `now`.
    pub(crate) fn not_after(
        &self,
        target: &Level,
        deadline: BootInstant,
        now: BootInstant,
    ) -> Option<NotAfter> {
        let bound = self.targets.peek(target)?;
        let lost = drift(micros(now.saturating_since(bound.heard)));
        let left = micros(deadline.saturating_since(now));
        (lost <= left / WORTH_ONE_IN)
            .then(|| NotAfter { incarnation: bound.incarnation, at: bound.at(deadline) })
    }

    /// Our own clock did not run on, and with it no bound.
    pub(crate) fn clear(&mut self) {
        self.targets.clear();
    }

    fn insert(&mut self, target: &Level, bound: Bound) {
        self.targets.insert(target.clone(), bound);
        if self.targets.len() > self.capacity
            && let Some(oldest) = self.targets.oldest(|_| true)
        {
            self.targets.remove(&oldest);
        }
    }
}

/// Whether the process that stamped a reply, heard at `heard`, was surely the one to get what was published at our instant
/// `published`, and no other was. Gateways that do not say since when are believed.
pub(crate) fn was_the_one(stamp: &GatewayStamp, heard: BootInstant, published: BootInstant) -> bool {
    let Some(since) = stamp.since else { return true };
    // For so long it had been, when it replied; and we heard it so long after we had published.
    let age = stamp.now.saturating_sub(since);
    let passed = micros(heard.saturating_since(published));
    age > passed.saturating_add(drift(passed))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How far two clocks may drift apart in this many microseconds, rounded up.
fn drift(passed: u64) -> u64 {
    passed.saturating_mul(DRIFT_MARGIN_PPM).div_ceil(1_000_000)
}

#[cfg(test)]
mod tests;
