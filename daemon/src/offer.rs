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

/// A set of methods with all that is told of it. Making it takes time in proportion to its methods, and so is done where no
/// call waits for it.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) registry: Registry,
    /// For the core.
    pub(crate) offer: Arc<Offer>,
    /// Over what callers are told of the methods: whoever has asked knows by it when to ask again.
    pub(crate) hash: String,
}

/// How two sets differ: numbers of methods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) changed: usize,
}

impl Set {
    /// The methods of `registry` under the rules of `config`; no other set has this number.
    pub(crate) fn new(number: u64, config: &Config, registry: Registry) -> Self {
        let (offer, hash) = (Arc::new(offer(number, config, &registry)), hash(&registry));
        Self { registry, offer, hash }
    }

    /// The same under another number.
    pub(crate) fn numbered(self, number: u64) -> Self {
        let offer = Offer { generation: number, ..Arc::unwrap_or_clone(self.offer) };
        Self { offer: Arc::new(offer), ..self }
    }

    /// How it differs from an `old` one.
    pub(crate) fn difference(&self, old: &Self) -> Difference {
        let (old, new) = (&old.offer.methods, &self.offer.methods);
        let altered = |(name, method): &(&String, &nowd_core::Method)| {
            old.get(*name).is_some_and(|old| old.identity != method.identity)
        };
        Difference {
            added: new.keys().filter(|name| !old.contains_key(*name)).count(),
            removed: old.keys().filter(|name| !new.contains_key(*name)).count(),
            changed: new.iter().filter(altered).count(),
        }
    }
}

fn hash(registry: &Registry) -> String {
    let entries = registry.methods().filter(|method| !method.policy.internal);
    let offer: Vec<String> = entries.map(|method| entry(method).bounded().get().to_owned()).collect();
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, offer.join("\n").as_bytes()).simple().to_string();
    hash.get(..16).unwrap_or_default().to_owned()
}

/// The methods of `registry`, as the core judges them under the rules of `config`.
fn offer(generation: u64, config: &Config, registry: &Registry) -> Offer {
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
fn told(method: &Method, plugin: &Arc<dyn Plugin>) -> String {
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

#[cfg(test)]
mod tests {
    use nowd_plugin::{BoxFuture, Call, Completion, Policy};

    use super::*;

    #[derive(Debug)]
    struct Fake(Vec<(&'static str, &'static str)>);

    impl Plugin for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn methods(&self) -> Vec<Method> {
            let method = |(name, description): &(&str, &str)| Method {
                name: (*name).into(),
                description: (*description).into(),
                origin: "here".into(),
                place: None,
                lane: nowd_plugin::Lane::exclusive("lane"),
                policy: Policy { on_timeout: (*name == "safe").then(|| "other".into()), ..Policy::default() },
                params: None,
            };
            self.0.iter().map(method).collect()
        }

        fn invoke<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Completion> {
            Box::pin(async { Completion::Ok(Value::Null) })
        }
    }

    fn set(config: &Config, methods: &[(&'static str, &'static str)]) -> Set {
        let plugin: Arc<dyn Plugin> = Arc::new(Fake(methods.to_vec()));
        Set::new(0, config, Registry::new(&[plugin]).unwrap())
    }

    #[test]
    fn sets_are_compared_by_all_that_is_told_of_a_method() {
        let config = Config::default();
        let old = set(&config, &[("same", ""), ("gone", ""), ("other", "one"), ("safe", "")]);
        let new = set(&config, &[("same", ""), ("new", ""), ("newer", ""), ("other", "two"), ("safe", "")]);
        let difference = Difference { added: 2, removed: 1, changed: 2 };
        assert_eq!(new.difference(&old), difference, "whose safe action is another is another");
        assert_eq!(old.difference(&old), Difference::default());
        assert_ne!(old.hash, new.hash);
        assert_eq!(old.hash.len(), 16);
        let mut open = config.clone();
        open.access.default = vec!["*".into()];
        let open = set(&open, &[("same", "")]);
        assert_eq!(open.difference(&set(&config, &[("same", "")])).changed, 1, "for others");
    }
}
