//! What a plugin in a process of its own says of itself, and requests that its schemas judge.

use nowd_plugin::params::Params;
use nowd_plugin::service::Description;
use nowd_protocol::Level;
use serde_json::Value;

use super::sentence;

/// `data` is the description, a NUL, a request.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let request = parts.next().and_then(|request| serde_json::from_slice::<Value>(request).ok());
    let described = match Description::parse(text, "a.b") {
        Ok(described) => described,
        Err(e) => {
            sentence::check(&e);
            assert!(e.to_string().chars().count() < 500, "{e}");
            return;
        }
    };
    let methods = &described.methods;
    assert!(!methods.is_empty() && methods.len() <= 256);
    for method in methods {
        assert!(Level::new(method.name.as_str()).is_ok(), "{:?} is no topic level", method.name);
        assert!(!method.name.starts_with("nowd."));
        let lane = &method.lane;
        assert!(lane.name == "plugin:a.b" || lane.name.starts_with("plugin:a.b/"), "{:?}", lane.name);
        assert!(lane.concurrency.get() <= 256 && lane.depth <= 256);
        let policy = &method.policy;
        assert!(!policy.timeout.is_zero() && policy.timeout <= policy.max_timeout, "{policy:?}");
        assert!(policy.allow.is_none() && policy.poll.is_none(), "{policy:?}");
        for target in policy.on_timeout.iter().chain(&policy.on_stop) {
            assert!(methods.iter().any(|other| other.name == *target), "a safe action of somebody else");
        }
        judge(method.params.as_ref().unwrap(), request.as_ref());
    }
    let again = Description::parse(&Description::text(methods, "f"), "a.b").unwrap();
    for (one, other) in methods.iter().zip(&again.methods) {
        assert_eq!((&one.name, &one.policy), (&other.name, &other.policy));
        assert_eq!(properties(one.params.as_ref()), properties(other.params.as_ref()));
    }
}

fn judge(params: &Params, request: Option<&Value>) {
    for request in request.into_iter().chain([&Value::Null]) {
        match params.check(request.clone()) {
            Ok(checked) => {
                assert_eq!(params.check(checked.clone()), Ok(checked), "not the same when checked again");
            }
            Err(e) => {
                sentence::check(&e.message);
                assert!(e.message.chars().count() <= 203, "{}", e.message.len());
            }
        }
    }
}

fn properties(params: Option<&Params>) -> Option<serde_json::Map<String, Value>> {
    params.map(Params::properties)
}
