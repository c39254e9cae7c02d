use serde_json::json;

use super::*;
use crate::config::{ConfigFiles, ConfigSource};

fn deployed(component: Value) -> Deployed {
    let Value::Object(component) = component else { panic!("an object") };
    Deployed::default().with_component(component)
}

/// Loaded on top of nothing but this file.
fn load_with(file: &str, deployed: Deployed) -> Result<ConfigFiles, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nowd.toml");
    std::fs::write(&path, file).unwrap();
    let source = ConfigSource {
        file: path,
        required: true,
        environment: vec![("NOWD__LINK__CLIENT_ID".into(), "of-environment".into())],
        set: Vec::new(),
        deployment: crate::config::Deployment::Known(deployed.into()),
    };
    source.load().map_err(|e| e.to_string())
}

fn load(component: Value) -> Result<ConfigFiles, String> {
    load_with("", deployed(component))
}

#[test]
fn it_is_a_layer_between_files_and_environment() {
    let file = "target = \"of-file\"\n[link]\nendpoint = \"of-file\"\nkeep_alive = \"40s\"\nclient_id = \"of-file\"\n";
    let component = json!({
        "accessControl": {"aws.greengrass.ipc.mqttproxy": {}},
        "nowd": {"target": "of-component", "link": {"endpoint": "of-component", "client_id": "of-component", "key": null}},
        "methods.d": {"b.toml": "b", "a.toml": "a", "gone.toml": "", "too.toml": null},
        "plugins.d": {"gate.toml": "gate"},
    });
    let files = load_with(file, deployed(component)).unwrap();
    let link = &files.config.link;
    assert_eq!(files.config.target.unwrap().as_str(), "of-component");
    assert_eq!(link.endpoint.as_deref(), Some("of-component"));
    assert_eq!(link.client_id.as_deref(), Some("of-environment"));
    assert_eq!(link.keep_alive.as_secs(), 40);
    let named = |sources: &[MapSource]| -> Vec<(String, String)> {
        sources.iter().map(|source| (source.file.clone(), source.text.clone())).collect()
    };
    let expected = [("methods.d/a.toml", "a"), ("methods.d/b.toml", "b")];
    let expected = expected.map(|(file, text)| (format!("component configuration, {file}"), text.to_owned()));
    assert_eq!(named(&files.maps), expected);
    assert_eq!(files.drop_ins.len(), 1);
}

#[test]
fn numbers_and_booleans_may_be_texts_and_lists_may_be_one_text() {
    let as_they_are = json!({"nowd": {
        "journal": {"enabled": true},
        "isolate": ["serial"],
        "link": {"tls": false, "allow_plain": true, "endpoint": "broker:1883"},
        "access": {"default": ["app-*"]},
        "bus": {"serve": false},
        "ports": {"relay": {"device": "/dev/ttyS0", "baud": 9600, "rs485": true}},
        "audit": {"enabled": true, "max_size": "1MiB"},
    }});
    let as_texts = json!({"nowd": {
        "journal": {"enabled": "true"},
        "isolate": "serial",
        "link": {"tls": "false", "allow_plain": "true", "endpoint": "broker:1883"},
        "access": {"default": "app-*"},
        "bus": {"serve": "false"},
        "ports": {"relay": {"device": "/dev/ttyS0", "baud": "9600", "rs485": "true", "format": null}},
        "audit": {"enabled": "true", "max_size": "1MiB"},
    }});
    let one = load(as_they_are).unwrap().config;
    let other = load(as_texts).unwrap().config;
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert!(one.journal.enabled && !one.link.tls && !one.bus.serve);
    // The other way round: a name of digits that somebody's reader took for a number.
    assert_eq!(load(json!({"nowd": {"target": 7}})).unwrap().config.target.unwrap().as_str(), "7");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let table = [
        (
            json!({"method.d": {}}),
            "component configuration: unknown key `method.d`; did you mean `methods.d`?",
        ),
        (
            json!({"link": {"endpoint": "x"}}),
            "component configuration: unknown key `link`; it belongs into `nowd`: {\"nowd\": {\"link\": ..}}",
        ),
        (json!({"nowd": []}), "component configuration: `nowd` must be an object, and is a list"),
        (
            json!({"nowd": {"lnik": {}}}),
            "component configuration, `nowd`: unknown key `lnik`; did you mean `link`?",
        ),
        (json!({"nowd": {"link": {"endpiont": "x"}}}), "unknown key `endpiont`; did you mean `endpoint`?"),
        (
            json!({"nowd": {"link": {"tls": "perhaps"}}}),
            "`nowd`: invalid type: string \"perhaps\", expected true or false",
        ),
        (json!({"nowd": {"link": {"silence": 2}}}), "\"2\" is not a duration; write a number with its unit"),
        (json!({"nowd": {"methods.d": {}}}), "`nowd`: `methods.d` belongs beside `nowd`, not into it"),
        (
            json!({"nowd": {"link.endpoint": "x"}}),
            "`nowd`: \"link.endpoint\" is no key; write keys inside one another",
        ),
        (json!({"nowd": {"state_dir": "/x"}}), "`nowd.state_dir`: the recipe gives it"),
        (
            json!({"methods.d": {"window": "x"}}),
            "`methods.d`: \"window\" must be the name of a file that ends in .toml",
        ),
        (json!({"methods.d": {"../x.toml": "x"}}), "\"../x.toml\" must be"),
        (json!({"methods.d": {"a/x.toml": "x"}}), "\"a/x.toml\" must be a plain name of a file"),
        (
            json!({"plugins.d": {"x.toml": {"plugin": {}}}}),
            "`plugins.d/x.toml` must be a text that holds TOML, or an object of its pieces, which are texts",
        ),
        (json!({"maps": 7}), "`maps` must be a list of names of components, and is a number"),
        (json!({"maps": ["a b"]}), "`maps`: \"a b\" is no name of a component"),
        (json!({"maps": "com.example.Maps"}), "`maps` names com.example.Maps, which is not deployed here"),
        (json!({"methods.d": {"x.toml": "x".repeat(LARGEST)}}), "bytes with its maps, and 1048576 are taken"),
    ];
    for (component, expected) in table {
        let told = load(component).unwrap_err();
        assert!(told.starts_with("component configuration") && told.contains(expected), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn components_of_maps_are_put_together_and_two_files_of_one_name_are_told() {
    let other = |value: Value| value.as_object().unwrap().clone();
    let mut all = deployed(
        json!({"maps": ["com.example.A", "com.example.B", "com.example.A"], "methods.d": {"own.toml": "own"}}),
    );
    all.components.insert(
        "com.example.A".into(),
        other(json!({"methods.d": {"a.toml": "a"}, "accessControl": {}, "maps": "x", "its own": 1})),
    );
    all.components.insert("com.example.B".into(), other(json!({"plugins.d": {"a.toml": "drop-in"}})));
    let document = all.read().unwrap();
    let files: Vec<&str> = document.maps.iter().map(|map| map.file.as_str()).collect();
    assert_eq!(
        files,
        ["configuration of com.example.A, methods.d/a.toml", "component configuration, methods.d/own.toml"]
    );
    assert_eq!(document.drop_ins.len(), 1);
    for (configuration, expected) in [
        (
            json!({"methods.d": {"a.toml": "b"}}),
            "configuration of com.example.B: `methods.d/a.toml` is also in the configuration of com.example.A; give one of them another name",
        ),
        (
            json!({"methods.d": {"own.toml": "b"}}),
            "configuration of com.example.B: `methods.d/own.toml` is also in the component configuration; give one of them another name",
        ),
        (
            json!({}),
            "configuration of com.example.B: has neither `methods.d` nor `plugins.d`; take it out of `maps`",
        ),
        (
            json!({"method.d": {}}),
            "configuration of com.example.B: unknown key `method.d`; did you mean `methods.d`?",
        ),
    ] {
        all.components.insert("com.example.B".into(), other(configuration));
        assert_eq!(all.read().unwrap_err().to_string(), expected);
    }
}

#[test]
fn what_the_nucleus_says_holds_where_nothing_else_does() {
    let nucleus = Nucleus {
        thing_name: Some("core-7".into()),
        endpoint: Some("of-nucleus".into()),
        root_ca: Some("/greengrass/ca.pem".into()),
    };
    let with = |component: Value| Deployed { nucleus: nucleus.clone(), ..deployed(component) };
    let files = load_with("", with(json!({}))).unwrap();
    assert_eq!(files.of_nucleus, OfNucleus { target: true, endpoint: true });
    assert_eq!(files.config.target.unwrap().as_str(), "core-7-nowd");
    assert_eq!(files.config.link.endpoint.as_deref(), Some("of-nucleus"));
    assert_eq!(files.config.link.ca.as_deref(), Some(std::path::Path::new("/greengrass/ca.pem")));
    let own = json!({"nowd": {"target": "own", "link": {"endpoint": "own", "tls": "false"}}});
    let files = load_with("", with(own)).unwrap();
    assert_eq!(files.of_nucleus, OfNucleus::default());
    assert_eq!((files.config.link.endpoint.as_deref(), files.config.link.ca), (Some("own"), None));
    let empty = Nucleus { thing_name: None, endpoint: Some(String::new()), root_ca: Some(String::new()) };
    let files = load_with("", Deployed { nucleus: empty, ..deployed(json!({})) }).unwrap();
    assert!(files.config.target.is_none() && files.config.link.endpoint.is_none());
    assert!(files.config.link.ca.is_none(), "variables that Greengrass leaves empty say nothing");
}
