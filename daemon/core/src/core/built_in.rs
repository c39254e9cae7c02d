//! The gateway's own methods, all questions: they move nothing and are answered at once. So they stand in no lane, need no
//! `allow`, are not remembered, and work under lockout.

use std::time::Duration;

use nowd_protocol::{MAX_TIMEOUT_MS, METHODS_METHOD, OUTCOME_METHOD, Outcome, Status, Timing};

use super::receive::Asked;
use super::{Core, reply, tell};
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Receipt, RecordKind};
use crate::time::Instant;

impl<P: Clone + Default> Core<P> {
    /// Answers a question; says whether it was one.
    pub(super) fn built_in(
        &self,
        now: Instant,
        asked: &Asked<'_>,
        receipt: Receipt,
        actions: &mut Vec<Action<P>>,
    ) -> bool {
        let response = match asked.request.topic.method.as_str() {
            OUTCOME_METHOD => self.outcome(asked.request),
            METHODS_METHOD => self.methods(asked),
            _ => return false,
        };
        let response = match response {
            Ok(response) => response,
            Err(message) => {
                asked.refuse(&Refusal::new(Status::InvalidRequest, message), actions);
                return true;
            }
        };
        // A question that comes too late has no listener.
        if let Err(refusal) = self.judge(now, asked, receipt, Duration::from_millis(MAX_TIMEOUT_MS)) {
            asked.refuse(&refusal, actions);
            return true;
        }
        let asker = asked.asker();
        let ended =
            Ended { status: Status::Ok, outcome: Outcome::Executed, response: Some(response), error: None };
        tell(&asker, reply(&asker, ended, Timing::default()), RecordKind::Answered, actions);
        true
    }
}
