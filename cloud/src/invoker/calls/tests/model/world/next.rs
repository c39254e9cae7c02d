//! What can happen next in a world, and what that is called.

use super::*;

impl World {
    /// Everything that can happen next.
    pub(in super::super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.is_over() {
            return steps;
        }
        for (n, call) in self.calls.iter().enumerate() {
            if call.submitted.is_none() && self.now <= self.config.latest_submit {
                steps.push(Step::Submit(n));
            }
        }
        let mut seen = Vec::new();
        for (at, sent) in self.requests.iter().enumerate() {
            if seen.contains(&sent.digest) {
                continue;
            }
            seen.push(sent.digest);
            for copy in [false, true] {
                for trusted in self.config.wall {
                    if !copy || self.left.copies > 0 {
                        steps.push(Step::Request { at, copy, trusted: *trusted });
                    }
                }
            }
            if self.left.refusals > 0 && self.sides[self.calls[sent.call].side].up {
                steps.push(Step::Refuse(at));
            }
        }
        seen.clear();
        for (at, heard) in self.replies.iter().enumerate() {
            if self.sides[heard.side].up && !seen.contains(&heard.digest) {
                seen.push(heard.digest);
                steps.push(Step::Reply { at, copy: false });
                if self.left.copies > 0 {
                    steps.push(Step::Reply { at, copy: true });
                }
            }
        }
        for (n, side) in self.sides.iter().enumerate() {
            if self.is_due(side) {
                steps.push(Step::Tick(n));
            }
            if side.up && self.left.drops > 0 {
                steps.push(Step::Down(n));
            } else if !side.up {
                steps.push(Step::Up(n));
            }
            if side.core.link == Link::Up && self.left.doubts > 0 {
                steps.push(Step::Doubt(n));
            } else if side.core.link == Link::Doubted {
                steps.push(Step::Prove(n));
            }
        }
        let wakes = self.gateway.core.wake_at().is_some_and(|at| at <= self.gateway_now());
        if wakes {
            steps.push(Step::Wake);
        }
        if self.left.restarts > 0 {
            steps.push(Step::Restart { unsynced_kept: false });
            if self.gateway.synced < self.gateway.journal.len() {
                steps.push(Step::Restart { unsynced_kept: true });
            }
        }
        for at in 0..self.gateway.running.len() {
            steps.extend([Step::Ended { at, refused: false }, Step::Ended { at, refused: true }]);
        }
        steps.extend((0..self.gateway.committing.len()).map(Step::Journaled));
        let overdue = wakes || self.sides.iter().any(|side| self.is_due(side));
        if (!overdue || self.left.freezes > 0) && self.next_instant().is_some() {
            steps.push(Step::Pass);
        }
        steps
    }

    /// Whether no law can be broken any more: every call is answered, and nothing is left that could be started.
    pub(super) fn is_over(&self) -> bool {
        let gateway = &self.gateway;
        self.calls.iter().all(|call| call.answer().is_some())
            && self.requests.is_empty()
            && gateway.committing.is_empty()
            && gateway.core.calls() == gateway.core.running()
    }

    pub(super) fn is_due(&self, side: &Side) -> bool {
        let now = BootInstant::from_micros(START + self.now);
        side.core.next_wake(now).is_some_and(|at| at <= now)
    }

    /// When something may be decided otherwise: an instant of the configuration, or somebody's timer.
    pub(super) fn next_instant(&self) -> Option<u64> {
        let last = *self.config.instants.last()?;
        let now = BootInstant::from_micros(START + self.now);
        let sides = self.sides.iter().filter_map(|side| Some(side.core.next_wake(now)?.as_micros() - START));
        let gateway = self.gateway.core.wake_at().map(|at| at.as_micros().saturating_sub(START + AHEAD));
        let all = self.config.instants.iter().copied().chain(sides).chain(gateway);
        all.filter(|at| *at > self.now && *at <= last).min()
    }

    pub(super) fn words(&self, step: Step) -> String {
        let and_again = |copy: bool| if copy { ", and a copy of it stays under way" } else { "" };
        match step {
            Step::Request { at, copy, trusted } => {
                let sent = &self.requests[at];
                let trusted = if trusted { " (wall clock trusted)" } else { "" };
                format!(
                    "attempt {} of call {} comes to incarnation {}{trusted}{}",
                    sent.attempt,
                    sent.call,
                    self.gateway.incarnation,
                    and_again(copy)
                )
            }
            Step::Reply { at, copy } => {
                let heard = &self.replies[at];
                format!("cloud side {} hears: {}{}", heard.side, heard.words, and_again(copy))
            }
            Step::Submit(_)
            | Step::Refuse(_)
            | Step::Tick(_)
            | Step::Wake
            | Step::Down(_)
            | Step::Up(_)
            | Step::Doubt(_)
            | Step::Prove(_)
            | Step::Restart { .. }
            | Step::Ended { .. }
            | Step::Journaled(_)
            | Step::Pass => format!("{step:?}"),
        }
    }
}
