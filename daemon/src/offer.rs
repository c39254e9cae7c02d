//! What is on offer: the methods of all plugins, as the core judges them and as callers are told of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nowd_core::{Compat, Lane, Offer, Pattern};
use nowd_plugin::host::{Registry, identity};
use nowd_plugin::{Method, Plugin};
use nowd_protocol::{MAX_PAGE_LEN, MethodEntry};
use serde_json::Value;
use uuid::Uuid;

use crate::config::{Config, Via};

/// What fits through nucleus lite, whose messages are short, in bytes.
const GREENGRASS_PAGE: usize = 4 * 1024;

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

/// How many bytes of entries stand on a page of `nowd.methods`: as many as a link takes with all that stands beside them in an answer.
pub(crate) fn page_bytes(config: &Config) -> usize {
    match config.link.via {
        Via::Direct => MAX_PAGE_LEN,
        Via::Greengrass => GREENGRASS_PAGE,
    }
}

/// The methods of `registry`, as the core judges them under the rules of `config`.
fn offer(generation: u64, config: &Config, registry: &Registry) -> Offer {
    let identities = identities(config, registry);
    let methods = registry.methods().map(|method| {
        let policy = &method.policy;
        let core = nowd_core::Method {
            entry: entry(method).bounded_to(page_bytes(config)).into(),
            identity: identities.get(&method.name).copied(),
            lane: method.lane.name.as_str().into(),
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

/// The same for what is the same: what a method is, what its safe actions are, and who may call it.
fn identities(config: &Config, registry: &Registry) -> BTreeMap<String, Uuid> {
    let own = |(method, plugin): (&Method, &Arc<dyn Plugin>)| {
        // By itself: a safe action may be that of many.
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, identity(method, &**plugin).as_bytes());
        (method.name.clone(), hash)
    };
    let own: BTreeMap<String, Uuid> = registry.all().map(own).collect();
    let whole = |method: &Method| {
        let policy = &method.policy;
        let safe = [&policy.on_timeout, &policy.on_stop].map(|action| own.get(action.as_ref()?));
        let access = policy.allow.is_none().then_some(&config.access.default);
        let all = format!("{:?} {safe:?} {access:?}", own.get(&method.name));
        (method.name.clone(), Uuid::new_v5(&Uuid::NAMESPACE_OID, all.as_bytes()))
    };
    registry.methods().map(whole).collect()
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
    use nowd_plugin::map::MapSource;
    use nowd_plugin::{BoxFuture, Call, Completion, Policy};

    use super::*;
    use crate::config::ConfigFiles;

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

    const CONFIG: &str = "[ports.a]\ndevice = \"/dev/a\"\nbaud = 9600\n[ports.b]\ndevice = \"/dev/b\"\n";
    const SERIAL: &str = "[serial]\nport = \"a\"\nframing = { line = \"\\n\" }\n[lane]\nname = \"gate\"\n\
        [methods.pulse]\nsend = \"P $x\"\nreply = \"^OK$\"\ntimeout = \"1s\"\nparams.x = { type = \"integer\" }\n\
        [methods.other]\nsend = \"O\"\nreply = \"^OK$\"\n";
    const DBUS: &str = "[dbus]\nbus = \"system\"\ndestination = \"a.b\"\npath = \"/a\"\ninterface = \"a.b\"\n\
        [methods.move]\ncall = \"Move\"\nargs = [1]\nsignature = \"i\"\nrefused = [\"a.b.No\"]\n";

    fn of_files(config: &str, maps: [&str; 2]) -> Set {
        let config: Config = toml::from_str(config).unwrap();
        let map = |(number, text): (usize, &str)| MapSource { file: number.to_string(), text: text.into() };
        let maps = maps.into_iter().enumerate().map(map).collect();
        let files = ConfigFiles {
            config,
            maps,
            drop_ins: Vec::new(),
            identity: crate::identity::Found::Nothing,
            of_nucleus: crate::greengrass::OfNucleus::default(),
            greengrass: None,
        };
        let (_, registry) = crate::setup::plugins(&files, Vec::new()).unwrap();
        Set::new(0, &files.config, registry)
    }

    #[test]
    fn a_method_is_another_when_anything_that_it_does_is_another() {
        let base = of_files(CONFIG, [SERIAL, DBUS]);
        let same =
            |set: &Set, name: &str| set.offer.methods[name].identity == base.offer.methods[name].identity;
        for (from, to, method) in [
            ("/dev/a", "/dev/c", "pulse"),
            ("baud = 9600", "baud = 19200", "pulse"),
            ("port = \"a\"", "port = \"b\"", "pulse"),
            ("line = \"\\n\"", "line = \"\\r\"", "pulse"),
            ("name = \"gate\"", "name = \"gate\"\ndepth = 2", "pulse"),
            ("P $x", "Q $x", "pulse"),
            ("send = \"P $x\"\nreply = \"^OK$\"", "send = \"P $x\"\nreply = \"^YES$\"", "pulse"),
            ("timeout = \"1s\"", "timeout = \"2s\"", "pulse"),
            ("timeout = \"1s\"", "timeout = \"1s\"\nallow = \"ops\"", "pulse"),
            ("timeout = \"1s\"", "timeout = \"1s\"\non_timeout = \"other\"", "pulse"),
            ("\"integer\"", "\"number\"", "pulse"),
            ("[ports.a]", "isolate = \"serial\"\n[ports.a]", "pulse"),
            ("\"system\"", "\"session\"", "move"),
            ("\"a.b\"\npath", "\"a.c\"\npath", "move"),
            ("path = \"/a\"", "path = \"/b\"", "move"),
            ("call = \"Move\"", "call = \"Stop\"", "move"),
            ("args = [1]", "args = [2]", "move"),
            ("a.b.No", "a.b.Not", "move"),
            ("[ports.a]", "isolate = \"dbus\"\n[ports.a]", "move"),
            ("[ports.a]", "access.default = [\"x\"]\n[ports.a]", "move"),
        ] {
            let [config, serial, dbus] = [CONFIG, SERIAL, DBUS].map(|text| text.replace(from, to));
            let changed = of_files(&config, [&serial, &dbus]);
            assert!(!same(&changed, method), "{from} -> {to}");
        }
        for (from, to) in [
            ("[serial]", "# a gate\n\n[serial]"),
            ("/dev/b", "/dev/c"),
            ("send = \"O\"", "send = \"OO\""),
            ("[methods.move]", "[methods.gone]\ncall = \"X\"\n[methods.move]"),
        ] {
            let [config, serial, dbus] = [CONFIG, SERIAL, DBUS].map(|text| text.replace(from, to));
            let changed = of_files(&config, [&serial, &dbus]);
            assert!(same(&changed, "pulse") && same(&changed, "move"), "{from} -> {to}");
        }
        let bus = of_files(&CONFIG.replace("[ports.a]", "isolate = \"serial\"\n[ports.a]"), [SERIAL, DBUS]);
        let other = "isolate = \"serial\"\nbus.address = \"session\"\n[ports.a]";
        let other = of_files(&CONFIG.replace("[ports.a]", other), [SERIAL, DBUS]);
        assert_eq!(other.difference(&bus).changed, 2, "another bus is another process");
    }
}
