//! `nowd.methods`: what is on offer, for the one who asks: the methods which it may call, and no others.
//!
//! It moves nothing and is answered at once, so it stands in no lane, is not remembered, and works under lockout.

use std::ops::Bound;
use std::time::Duration;

use nowd_protocol::{
    MAX_PAGE_LEN, MAX_TIMEOUT_MS, MethodsPage, MethodsQuery, Outcome, Request, Status, Timing,
};

use super::receive::Asked;
use super::{Core, reply, tell};
use crate::deadline::Refusal;
use crate::event::{Action, Ended, Receipt, RecordKind};
use crate::time::Instant;

impl<P: Clone + Default> Core<P> {
    pub(super) fn tell_methods(
        &self,
        now: Instant,
        asked: &Asked<'_>,
        receipt: Receipt,
        actions: &mut Vec<Action<P>>,
    ) {
        let query = match MethodsQuery::parse(&asked.request.request) {
            Ok(query) => query,
            Err(e) => {
                let message = format!("`request` must be {{\"after\": a method's name}} or nothing: {e}");
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
            response: Some(self.page(&query, asked.request).response()),
            error: None,
        };
        tell(&asker, reply(&asker, ended, Timing::default()), RecordKind::Answered, actions);
    }

    /// As many methods as fit, one at least.
    fn page(&self, query: &MethodsQuery, request: &Request) -> MethodsPage<'_> {
        let from = query.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let listed = self.offer().methods.range::<str, _>((from, Bound::Unbounded));
        let mut page = MethodsPage { methods: Vec::new(), more: false };
        let mut len = 0_usize;
        for (_, method) in listed.filter(|(_, method)| !method.internal && self.may_call(method, request)) {
            // And the comma.
            len = len.saturating_add(method.entry.get().len()).saturating_add(1);
            if len > MAX_PAGE_LEN && !page.methods.is_empty() {
                page.more = true;
                break;
            }
            page.methods.push(&method.entry);
        }
        page
    }
}
