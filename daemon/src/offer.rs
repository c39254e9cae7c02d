//! What is on offer: the methods of all plugins, as the core judges them and as callers are told of them.

use std::time::Duration;

use nowd_plugin::Method;
use nowd_protocol::MethodEntry;
use serde_json::Value;

/// What a caller is told of a method: by `nowd.methods`, and at the command line.
pub(crate) fn entry(method: &Method) -> MethodEntry<'_> {
    let policy = &method.policy;
    MethodEntry {
        name: &method.name,
        description: method.description.as_str().into(),
        params: Some(method.params.as_ref().map_or(&Value::Null, |params| params.schema())),
        timeout_ms: millis(policy.timeout),
        max_timeout_ms: millis(policy.max_timeout),
        idempotent: policy.idempotent,
        stop: policy.stop,
        poll_ms: policy.poll.map(millis),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
