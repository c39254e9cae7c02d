//! `nowd.outcome`: what became of an earlier call, for the one who made it and for nobody else.

use nowd_protocol::{CallState, OutcomeQuery, OutcomeReport, RawValue, Request};

use super::Core;
use crate::call::State;
use crate::memory::Mark;

impl<P: Clone + Default> Core<P> {
    /// The response, or what is wrong with the request.
    pub(super) fn outcome(&self, request: &Request) -> Result<Box<RawValue>, String> {
        let query = OutcomeQuery::parse(&request.request)
            .map_err(|e| format!("`request` must be {{\"id\": the call's id}}: {e}"))?;
        Ok(self.report(query, request).response())
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
