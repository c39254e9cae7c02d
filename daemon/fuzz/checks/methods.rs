//! The parameters of `nowd.methods`.

use super::sentence;
use nowd_protocol::{MethodsQuery, RawValue};

/// `data` is the request of a call.
pub(crate) fn check(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<&RawValue>(data) else { return };
    match MethodsQuery::parse(request) {
        Ok(query) => {
            assert!(request.get().starts_with('{') || request.get() == "null");
            let again = MethodsQuery::parse(&query.payload());
            assert_eq!(again.ok(), Some(query));
        }
        Err(e) => sentence::check(&e),
    }
}
