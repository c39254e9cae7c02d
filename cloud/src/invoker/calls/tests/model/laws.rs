//! What must hold in every world, and what is kept of each call to see whether it does.

use super::world::World;
use super::*;

/// A call, as seen by one who sees both sides and the device.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: Uuid,
    /// The cloud side that makes it.
    pub(super) side: usize,
    pub(super) submitted: Option<u64>,
    attempts: u32,
    round: u32,
    /// What the round's attempts have in common: all but their numbers.
    bytes: String,
    /// How often a request of this call was started.
    starts: u8,
    /// How often the device acted for it.
    acted: u8,
    answer: Option<(&'static str, Outcome)>,
}

impl Known {
    pub(super) fn new(id: u128, side: usize) -> Self {
        Self {
            id: Uuid::from_u128(id),
            side,
            submitted: None,
            attempts: 0,
            round: 0,
            bytes: String::new(),
            starts: 0,
            acted: 0,
            answer: None,
        }
    }

    /// The device says that it did nothing, and it did not.
    pub(super) fn refused(&mut self) {
        self.acted -= 1;
    }

    pub(super) fn answer(&self) -> Option<(&'static str, Outcome)> {
        self.answer
    }

    fn deadline(&self) -> u64 {
        self.submitted.unwrap() + BUDGET
    }
}

impl World {
    /// A call is published. Says to which round the attempt belongs.
    pub(super) fn publishing(&mut self, call: usize, attempt: u32, bytes: &str) -> u32 {
        let now = self.now;
        let known = &mut self.calls[call];
        let (late, answered) = (now >= known.deadline(), known.answer.is_some());
        let misnumbered = attempt != known.attempts + 1;
        known.attempts = attempt;
        let anew = known.bytes != bytes;
        if anew {
            known.round += 1;
            bytes.clone_into(&mut known.bytes);
        }
        let (round, starts) = (known.round, known.starts);
        self.law(!late, "nothing is published at or after the deadline");
        self.law(!answered, "nothing is published after the answer");
        self.law(!misnumbered, "attempts are numbered from 1");
        self.law(!anew || starts == 0, "no round begins after an attempt of an earlier one was started");
        round
    }

    /// A plugin is asked to run a call, with this deadline in the caller's clock.
    pub(super) fn started(&mut self, call: usize, round: u32, deadline: u64) {
        let now = self.now;
        let known = &mut self.calls[call];
        known.starts += 1;
        known.acted += 1;
        let (callers, last_round) = (known.deadline(), known.round);
        let refused_before = matches!(known.answer, Some((_, Outcome::NotExecuted)));
        let acted = self.acted(call);
        self.law(now < callers, "nothing is started at or after the caller's deadline");
        self.law(deadline <= callers, "no plugin is given more time than the caller has");
        self.law(acted <= 1 || self.config.twice_is_no_news(), "one id is acted on once");
        self.law(round == last_round, "nothing of an earlier round is started after a new one began");
        self.law(!refused_before, "what was answered not_executed is never started");
    }

    pub(super) fn answered(&mut self, call: usize, at: u64, answer: &Answer) {
        let known = &mut self.calls[call];
        let status = match &answer.status {
            ReplyStatus::Known(status) => status.as_str(),
            ReplyStatus::Other(_) => "other",
        };
        let (first, published) = (known.answer.is_none(), known.attempts);
        known.answer = Some((status, answer.outcome));
        let (acted, due) = (known.acted, known.deadline() + LAST_WORD_MICROS);
        let of_id = self.acted(call);
        self.law(first, "a call is answered once");
        self.law(
            at <= due || self.config.freezes > 0,
            "a call is answered by its deadline and the last word",
        );
        self.law(answer.outcome != Outcome::NotExecuted || acted == 0, "not_executed means that it was not");
        self.law(answer.outcome != Outcome::Executed || of_id > 0, "executed means that it was");
        self.law(answer.attempts == published, "the answer says how often it was published");
        self.law(status != "offline" || published == 0, "offline is only what was never published");
    }

    /// A cloud side has done all that it had to do at this instant.
    pub(super) fn ticked(&mut self, side: usize) {
        let now = self.now;
        let forgotten = self.calls.iter().any(|call| {
            call.side == side
                && call.answer.is_none()
                && call.submitted.is_some_and(|at| now >= at + BUDGET + LAST_WORD_MICROS)
        });
        self.law(!forgotten, "every call is answered by its deadline and the last word");
    }

    /// How often the device acted on the id of this call, whoever sent it.
    fn acted(&self, call: usize) -> u8 {
        let id = self.calls[call].id;
        self.calls.iter().filter(|known| known.id == id).map(|known| known.acted).sum()
    }

    fn law(&mut self, holds: bool, law: &str) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(law.to_owned());
        }
    }
}
