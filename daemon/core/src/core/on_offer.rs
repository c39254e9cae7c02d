//! `nowd.methods`: what is on offer, for the one who asks: the methods which it may call, and no others.

use std::ops::Bound;

use nowd_protocol::{MethodsPage, MethodsQuery, RawValue};

use super::Core;
use super::receive::Asked;

impl<P: Clone + Default> Core<P> {
    /// The response, or what is wrong with the request.
    pub(super) fn methods(&self, asked: &Asked<'_>) -> Result<Box<RawValue>, String> {
        let query = MethodsQuery::parse(&asked.request.request)
            .map_err(|e| format!("`request` must be {{\"after\": a method's name}} or nothing: {e}"))?;
        Ok(self.page(&query, asked).response())
    }

    /// As many methods as fit, one at least.
    fn page(&self, query: &MethodsQuery, asked: &Asked<'_>) -> MethodsPage<'_> {
        let from = query.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let listed = self.offer().methods.range::<str, _>((from, Bound::Unbounded));
        let mut page = MethodsPage { methods: Vec::new(), more: false };
        let mut len = 0_usize;
        for (_, method) in listed.filter(|(_, method)| !method.internal && self.may_call(method, asked)) {
            // And the comma.
            len = len.saturating_add(method.entry.get().len()).saturating_add(1);
            if len > self.settings.limits.page_bytes && !page.methods.is_empty() {
                page.more = true;
                break;
            }
            page.methods.push(&method.entry);
        }
        page
    }
}
