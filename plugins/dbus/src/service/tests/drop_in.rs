//! Drop-ins, and what is left of a description.

use std::collections::BTreeMap;
use std::sync::Arc;

use nowd_plugin::host::Registry;
use nowd_plugin::map::MapSource;
use nowd_plugin::service::Description;
use nowd_plugin::{Lane, Method, Policy};

use super::*;
use crate::BusAddress;
use crate::service::{DropIn, Service, ServiceTarget, Signals};

const PLUGIN: &str = "[plugin]\nname = \"com.example.Gate\"\npath = \"/com/example/Gate\"\n";

fn load(text: &str) -> Result<DropIn, String> {
    let source = MapSource { file: "gate.toml".into(), text: text.into() };
    DropIn::load(&source, &BusAddress::System).map_err(|e| e.to_string())
}

fn described() -> Description {
    let said = json!({
        "lane": {"depth": 4},
        "methods": {
            "gate.open": {
                "description": "Opens the gate",
                "params": {
                    "percent": {"type": "integer", "minimum": 0, "maximum": 100, "default": 100},
                    "speed": {"type": "string", "enum": ["slow", "fast"]},
                },
                "timeout": "800ms",
                "max_timeout": "5s",
                "idempotent": true,
                "on_timeout": "gate.halt",
            },
            "gate.halt": {"stop": true, "idempotent": true},
            "lamp.set": {"lane": {"name": "lamp", "concurrency": 2}, "params": {"on": {"type": "boolean"}}},
            "position": {"internal": true},
        },
    });
    Description::parse(&said.to_string(), NAME).unwrap()
}

fn narrowed(text: &str) -> (BTreeMap<String, Method>, Vec<String>) {
    let (methods, notes) = load(&format!("{PLUGIN}{text}")).unwrap().methods(Some(&described()));
    registered(&methods);
    (methods.into_iter().map(|method| (method.name.clone(), method)).collect(), notes)
}

/// What a drop-in leaves can stand in a registry.
fn registered(methods: &[Method]) {
    let target = ServiceTarget { bus: BusAddress::System, name: NAME.into(), path: PATH.into() };
    let service = Service::new(target, Signals::new(BusAddress::System));
    let plugin: Arc<dyn Plugin> = Arc::new(ServicePlugin { service, methods: methods.to_vec() });
    Registry::new(&[plugin]).unwrap();
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, expected) in [
        (
            "",
            "gate.toml:1:1: the drop-in has no [plugin] table; add it, with `name` and `path` of the plugin",
        ),
        ("[plugin]\nname = \"a.b\"\n", "gate.toml:1:1: the key `path` is missing"),
        (
            "[plugin]\nname = \"b\"\npath = \"/a\"",
            "gate.toml:2:8: `name = \"b\"` is not a bus name, such as \"com.example.Gate\"",
        ),
        (
            "[plugin]\nname = \"a.b\"\npath = \"a\"",
            "gate.toml:3:8: `path = \"a\"` is not an object path, such as \"/com/example/Gate\"",
        ),
        (
            "[plugin]\nname = \"a.b\"\npath = \"/a\"\nbus = \"sytem\"",
            "gate.toml:4:7: `bus`: \"sytem\" is not a bus; did you mean \"system\"?",
        ),
        (
            "[plugin]\nname = \"a.b\"\npath = \"/a\"\nbus = \"tcp:host=localhost,port=1\"",
            "gate.toml:4:7: plugins are reached only over a Unix socket; write \"system\", \"session\" or \"unix:path=...\"",
        ),
        (
            "[plugin]\nname = \"a.b\"\npath = \"/a\"\npth = 1",
            "gate.toml:4:1: unknown key `pth`; did you mean `path`?",
        ),
        ("[plugni]\nname = \"a.b\"", "gate.toml:1:2: unknown table [plugni]; did you mean `plugin`?"),
    ] {
        assert_eq!(load(text).unwrap_err(), expected);
    }
    for (keys, expected) in [
        (
            "stop = true",
            "5:8: `stop` is for the plugin to say, which knows what overtaking calls means; leave it out",
        ),
        (
            "internal = false",
            "5:12: `internal` can only be true here: a drop-in can only narrow what the plugin describes; leave it out",
        ),
        (
            "idempotent = true",
            "5:14: `idempotent` can only be false here: a drop-in can only narrow what the plugin describes; leave it out",
        ),
        ("timeout = \"2s\"\nmax_timeout = \"1s\"", "5:11: `timeout` (2s) is longer than `max_timeout` (1s)"),
        ("timeout = \"0s\"", "5:11: `timeout` must be longer than 0"),
        ("poll = \"1ms\"", "5:8: `poll` must be at least 50ms"),
        ("timout = \"1s\"", "5:1: unknown key `timout`; did you mean `timeout`?"),
        ("call = \"Open\"", "5:1: unknown key `call`; did you mean `poll`?"),
        ("params.x = { maximun = 5 }", "5:14: `maximun` is no keyword of JSON Schema"),
        ("params.x = { \"$ref\" = \"#\" }", "5:12: `params.x` has a `$ref`, which cannot be put together"),
    ] {
        let found = load(&format!("{PLUGIN}[methods.\"gate.open\"]\n{keys}\n")).unwrap_err();
        assert!(found.starts_with(&format!("gate.toml:{expected}")), "{keys}: {found}");
    }
}

#[test]
fn without_methods_all_is_as_described() {
    let drop_in = load(PLUGIN).unwrap();
    assert_eq!((drop_in.name(), drop_in.target().bus.clone()), (NAME, BusAddress::System));
    assert_eq!(drop_in.origin().exact(), "gate.toml:1:2");
    let (methods, notes) = narrowed("");
    assert_eq!(notes, [""; 0]);
    assert_eq!(methods.keys().collect::<Vec<_>>(), ["gate.halt", "gate.open", "lamp.set", "position"]);
    for method in described().methods {
        let left = &methods[&method.name];
        assert_eq!((&left.policy, &left.lane, &left.origin), (&method.policy, &method.lane, &method.origin));
    }
    assert!(drop_in.methods(None).0.is_empty());
}

#[test]
fn a_drop_in_only_narrows() {
    let (methods, notes) = narrowed(
        r#"
        [methods."gate.open"]
        description = "Opens the north gate"

        max_timeout = "500ms"
        min_budget = "20ms"
        stuck_after = "9s"
        allow = ["ops-*"]
        idempotent = false
        internal = true
        on_stop = "gate.halt"
        on_timeout = "position"
        params.percent = { maximum = 50, default = 20 }

        [methods."lamp.set"]
        timeout = "1h"
        poll = "1s"
        [methods.position]
        poll = "1s"
        [methods."gate.halt"]
        poll = "1s"
        "#,
    );
    let open = &methods["gate.open"];
    assert_eq!(
        open.policy,
        Policy {
            timeout: Duration::from_millis(500),
            max_timeout: Duration::from_millis(500),
            min_budget: Duration::from_millis(20),
            stuck_after: Duration::from_secs(9),
            allow: Some(vec!["ops-*".into()]),
            idempotent: false,
            stop: false,
            internal: true,
            on_timeout: Some("position".into()),
            on_stop: Some("gate.halt".into()),
            poll: None,
        }
    );
    assert_eq!((open.description.as_str(), open.origin.as_str()), ("Opens the north gate", "gate.toml:5"));
    assert_eq!(open.place.as_ref().unwrap().exact(), "gate.toml:5:18");
    let params = open.params.as_ref().unwrap();
    for (given, good) in [
        (json!({"speed": "slow"}), true),
        (json!({"percent": 50, "speed": "slow"}), true),
        (json!({"percent": 51, "speed": "slow"}), false),
        (json!({"percent": -1, "speed": "slow"}), false),
        (json!({"percent": 5, "speed": "slow", "spede": "x"}), false),
    ] {
        assert_eq!(params.check(given.clone()).is_ok(), good, "{given}");
    }
    assert_eq!(params.check(json!({"speed": "slow"})), Ok(json!({"percent": 20, "speed": "slow"})));
    assert_eq!(methods["lamp.set"].policy.timeout, Policy::default().timeout);
    assert_eq!(methods["position"].policy.poll, Some(Duration::from_secs(1)));
    assert!(methods["position"].policy.internal && methods["gate.halt"].policy.stop);
    assert_eq!(methods["gate.halt"].policy.poll, None);
    assert_eq!(methods["lamp.set"].policy.poll, None);
    assert_eq!(
        notes,
        [
            "gate.toml:24:16: the plugin says that this is a `stop` method, which cannot be polled; `poll` is left out",
            "gate.toml:20:16: the method is polled, and the gateway has no value for its parameter \"on\"; give it a default; until then `poll` is left out",
        ]
    );
}

#[test]
fn what_cannot_be_followed_leaves_nothing_open() {
    let (methods, notes) = narrowed(
        "[methods.\"gate.open\"]\nallow = \"ops\"\nparams.spede = { maximum = 1 }\n[methods.\"lamp.st\"]\n",
    );
    for name in ["gate.open", "lamp.st", "lamp.set"] {
        assert!(methods[name].params.is_none(), "{name} is there, and is not called");
    }
    assert!(methods["position"].params.is_some());
    assert_eq!(methods["gate.open"].policy.allow, Some(vec!["ops".into()]));
    assert_eq!(
        notes,
        [
            "gate.toml:6:16: the plugin's gate.open has no parameter \"spede\"; did you mean `speed`?; until this is mended gate.open is unavailable",
            "gate.toml:7:10: com.example.Gate describes no method \"lamp.st\"; did you mean \"lamp.set\"? until this is mended both are unavailable",
        ]
    );
}

#[test]
fn a_default_that_is_not_allowed_any_more_is_left_out() {
    let (methods, notes) = narrowed("[methods.\"gate.open\"]\nparams.percent = { maximum = 50 }\n");
    let params = methods["gate.open"].params.as_ref().unwrap();
    assert_eq!(params.required().collect::<Vec<_>>(), ["percent", "speed"]);
    assert_eq!(
        notes,
        [
            "gate.toml:5:18: the default of \"percent\" is not what plugin and drop-in both allow, so callers have to say it"
        ]
    );
    let (methods, notes) =
        narrowed("[methods.\"lamp.set\"]\nparams.on = { default = true }\npoll = \"1s\"\n");
    assert_eq!((methods["lamp.set"].policy.poll, notes), (Some(Duration::from_secs(1)), Vec::new()));
}

#[test]
fn what_is_not_described_is_there_all_the_same() {
    let text = r#"
        [methods."gate.opne"]
        timeout = "2s"
        on_timeout = "nobody's"
        allow = ["ops-*"]
        poll = "1s"
        params.percent = { maximum = 50 }
        [methods.other]
        "#;
    let (methods, notes) = narrowed(text);
    let placeholder = &methods["gate.opne"];
    let policy =
        Policy { timeout: Duration::from_secs(2), allow: Some(vec!["ops-*".into()]), ..Policy::default() };
    assert_eq!(placeholder.policy, policy);
    // That of the described ones: two shapes of one lane cannot be.
    assert_eq!(placeholder.lane, Lane { depth: 4, ..Lane::exclusive(format!("plugin:{NAME}")) });
    assert!(placeholder.params.is_none());
    assert_eq!(
        notes,
        [
            "gate.toml:5:18: com.example.Gate describes no method \"gate.opne\"; did you mean \"gate.open\"? until this is mended both are unavailable",
            "gate.toml:11:18: com.example.Gate describes no method \"other\"; its calls are unavailable",
        ]
    );
    let (methods, notes) = load(&format!("{PLUGIN}{text}")).unwrap().methods(None);
    registered(&methods);
    assert_eq!((methods.len(), notes.len()), (2, 0));
}

#[test]
fn only_the_owner_lets_a_plugin_take_the_calls_of_all_names() {
    let said = Description::parse(r#"{"methods": {"*": {}, "a": {}}}"#, NAME).unwrap();
    let (methods, notes) = load(PLUGIN).unwrap().methods(Some(&said));
    assert_eq!((methods.len(), notes.len()), (1, 1));
    assert!(notes[0].contains("describes a method \"*\""), "{notes:?}");
    let (methods, notes) = load(&format!("{PLUGIN}[methods.\"*\"]\n")).unwrap().methods(Some(&said));
    assert_eq!((methods.len(), notes.len()), (2, 0));
}

#[test]
fn a_lane_is_that_of_all_its_methods() {
    let (methods, _) = narrowed("[lane]\nname = \"port:rs485\"\n[methods.new]\n");
    assert!(methods.values().all(|method| method.lane == Lane::exclusive("port:rs485")));
    let (methods, _) = narrowed("[lane]\ndepth = 7\n[methods.new]\n");
    assert!(methods.values().all(|method| method.lane.depth == 7));
    assert_eq!(methods["lamp.set"].lane.name, format!("plugin:{NAME}/lamp"));
    assert_eq!(methods["lamp.set"].lane.concurrency.get(), 2);
    assert_eq!(methods["new"].lane, methods["gate.open"].lane);
}
