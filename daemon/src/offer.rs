//! What is on offer: the methods of all plugins, as the core judges them and as callers are told of them.

use std::sync::Arc;
use std::time::Duration;

use nowd_core::{Compat, Lane, Offer, Pattern};
use nowd_plugin::host::Registry;
use nowd_plugin::{Method, Plugin};
use nowd_protocol::MethodEntry;
use serde_json::Value;
use uuid::Uuid;

use crate::config::Config;

/// The methods of `registry`, as the core judges them under the rules of `config`.
pub(crate) fn offer(generation: u64, config: &Config, registry: &Registry) -> Offer {
    let methods = registry.all().map(|(method, plugin)| {
        let policy = &method.policy;
        let core = nowd_core::Method {
            entry: entry(method).bounded().into(),
            identity: Some(identity(config, registry, method, plugin)),
            lane: method.lane.name.clone(),
            timeout: policy.timeout,
            max_timeout: policy.max_timeout,
            min_budget: policy.min_budget,
            stuck_after: policy.stuck_after,
            allow: policy.allow.as_deref().map(patterns),
            stop: policy.stop,
            internal: policy.internal,
            idempotent: policy.idempotent,
            on_timeout: policy.on_timeout.clone(),
            on_stop: policy.on_stop.clone(),
            poll: policy.poll,
        };
        (method.name.clone(), core)
    });
    let lanes = registry.methods().map(|method| {
        let lane = &method.lane;
        (lane.name.clone(), Lane { concurrency: lane.concurrency, depth: lane.depth })
    });
    Offer {
        generation,
        methods: methods.collect(),
        lanes: lanes.collect(),
        access_default: patterns(&config.access.default),
        compat: Compat { prefixes: config.compat.clients.clone(), budget: config.compat.budget },
    }
}

fn patterns(texts: &[String]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text.as_str())).collect()
}

/// Everything that can be told of a method and of what runs it, but for where it stands.
pub(crate) fn told(method: &Method, plugin: &Arc<dyn Plugin>) -> String {
    let (lane, policy, lines) = (&method.lane, &method.policy, plugin.explain(&method.name));
    let entry = serde_json::to_string(&entry(method)).unwrap_or_default();
    format!("{entry} {lane:?} {policy:?} {lines:?}")
}

/// The same for what is the same: what is told of it and of its safe actions, who may call it, and the ports that it could use.
fn identity(config: &Config, registry: &Registry, method: &Method, plugin: &Arc<dyn Plugin>) -> Uuid {
    let mut all = told(method, plugin);
    let access = method.policy.allow.is_none().then_some(&config.access.default);
    for action in [&method.policy.on_timeout, &method.policy.on_stop].into_iter().flatten() {
        if let Some((action, plugin)) = registry.get(action) {
            all.push_str(&told(action, plugin));
        }
    }
    let ports = (plugin.name() == "serial").then_some(&config.ports);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{access:?} {ports:?} {all}").as_bytes())
}

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
