//! `nowd.outcome`: what became of an earlier call, for the one who made it and for nobody else.
//!
//! It moves nothing and is answered at once, so it stands in no lane, is not remembered, and works under lockout.

use std::time::Duration;

use nowd_protocol::{
    CallState, MAX_TIMEOUT_MS, Outcome, OutcomeQuery, OutcomeReport, Request, Status, Timing,
};

use super::receive::Asked;
use super::{Core, reply, tell};
use crate::call::State;
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Receipt, RecordKind};
use crate::memory::Mark;
use crate::time::Instant;

impl<P: Clone + Default> Core<P> {
    pub(super) fn ask_again(
        &self,
        now: Instant,
        asked: &Asked<'_>,
        receipt: Receipt,
        actions: &mut Vec<Action<P>>,
    ) {
        let query = match OutcomeQuery::parse(&asked.request.request) {
            Ok(query) => query,
            Err(e) => {
                let message = format!("`request` must be {{\"id\": the call's id}}: {e}");
                return asked.refuse(&Refusal::new(Status::InvalidRequest, message), actions);
            }
        };
        // A question that comes too late has no listener.
        if let Err(refusal) = self.judge(now, asked, receipt, Duration::from_millis(MAX_TIMEOUT_MS)) {
            return asked.refuse(&refusal, actions);
        }
        let asker = asked.asker();
        let ended = Ended {
            status: Status::Ok,
            outcome: Outcome::Executed,
            response: Some(self.report(query, asked.request).response()),
            error: None,
        };
        tell(&asker, reply(&asker, ended, Timing::default()), RecordKind::Answered, actions);
    }

    fn report(&self, query: OutcomeQuery, request: &Request) -> OutcomeReport {
        let asker = Mark::asker_of(request);
        match self.memory.report(query.id, asker) {
            Some((mut report, key)) => {
                if let Some(call) = key.and_then(|key| self.calls.get(&key)) {
                    report.state = match call.state {
                        State::Waiting | State::Committing => CallState::Waiting,
                        State::Running { .. } | State::Overrun { .. } => CallState::Running,
                    };
                }
                report
            }
            None => match self.journal.report(query.id, asker) {
                Some(ended) => {
                    OutcomeReport { answer: Some(ended.into()), ..OutcomeReport::bare(CallState::Ended) }
                }
                None => OutcomeReport::bare(CallState::NotKnown),
            },
        }
    }
}
