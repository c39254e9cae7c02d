//! The schema of a method's parameters, and a request that it judges.

use nowd_plugin::params::Params;
use serde_json::{Map, Value};

use super::sentence;

/// `data` is a JSON object of declarations, a line feed, a request.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (Some(declared), Some(request)) = (parts.next(), parts.next()) else { return };
    let Ok(declared) = serde_json::from_slice::<Map<String, Value>>(declared) else { return };
    let params = match Params::new(&declared) {
        Ok(params) => params,
        Err(e) => return sentence::check(&e),
    };
    assert!(params.names().eq(declared.keys().map(String::as_str)));
    assert!(params.required().all(|name| declared.contains_key(name)));
    let Ok(request) = serde_json::from_slice::<Value>(request) else { return };
    match params.check(request) {
        Ok(checked) => {
            let given = checked.as_object().into_iter().flat_map(Map::keys);
            assert!(
                given.clone().all(|name| declared.contains_key(name)),
                "a parameter that is not declared"
            );
            assert!(params.required().all(|name| checked.get(name).is_some()), "a parameter is missing");
            let selected = params.select(&checked);
            assert_eq!(selected, checked, "a parameter is lost");
            assert_eq!(params.check(checked.clone()), Ok(checked), "not the same when checked again");
        }
        Err(e) => {
            sentence::check(&e.message);
            assert!(e.message.chars().count() <= 203, "{}", e.message.len());
        }
    }
}
