//! The parameters of `nowd.outcome`.

use super::sentence;
use nowd_protocol::{OutcomeQuery, RawValue};

/// `data` is the request of a call.
pub(crate) fn check(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<&RawValue>(data) else { return };
    match OutcomeQuery::parse(request) {
        Ok(query) => {
            assert!(request.get().starts_with('{'));
            let again = OutcomeQuery::parse(&query.payload());
            assert_eq!(again.ok(), Some(query));
        }
        Err(e) => sentence::check(&e),
    }
}
