use std::time::Duration;

use serde_json::json;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    port: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    send: String,
}

impl MethodKeys for Keys {
    const KEYS: &'static [&'static str] = &["send"];
}

const GOOD: &str = r#"
[serial]
port = "relay"
[lane]
depth = 2
[methods."gate.open"]
send = "OPEN $ch"
params.ch = { type = "integer", minimum = 1 }
timeout = "800ms"
allow = ["app-*"]
"#;

fn source(text: &str) -> MapSource {
    MapSource { file: "gate.toml".into(), text: text.into() }
}

fn parse(text: &str) -> Result<MapFile<Backend, Keys>, String> {
    MapFile::parse(&source(text)).map_err(|e| e.to_string())
}

#[test]
fn reads_common_and_backend_keys() {
    let map = parse(GOOD).unwrap();
    assert_eq!(backend_of(&source(GOOD), &["serial"]).unwrap(), "serial");
    assert_eq!(map.backend.port, "relay");
    assert_eq!(map.lane("port:relay"), Lane { depth: 2, ..Lane::exclusive("port:relay") });
    let method = map.methods[0].describe(map.lane("port:relay"));
    assert_eq!((method.name.as_str(), method.origin.as_str()), ("gate.open", "gate.toml:6"));
    assert_eq!(method.policy.timeout, Duration::from_millis(800));
    assert_eq!(method.policy.allow.as_deref(), Some(&["app-*".to_owned()][..]));
    assert_eq!(method.params.unwrap().names().collect::<Vec<_>>(), ["ch"]);
    assert_eq!(map.methods[0].keys.send, "OPEN $ch");
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (from, to, expected) in [
        ("timeout =", "timout =", "gate.toml:9:1: unknown key `timout`; did you mean `timeout`?"),
        (
            "send =",
            "frobnicate =",
            "gate.toml:7:1: unknown key `frobnicate`; a method has description, params",
        ),
        ("send = \"OPEN $ch\"", "", "gate.toml:6:10: the key `send` is missing"),
        (
            "\"800ms\"",
            "800",
            "gate.toml:9:11: invalid type: integer `800`, expected a duration with its unit, such as",
        ),
        ("\"800ms\"", "\"800\"", "gate.toml:9:11: \"800\" is not a duration"),
        ("\"800ms\"", "\"31s\"", "gate.toml:9:11: `timeout` (31s) is longer than `max_timeout` (30s)"),
        ("[serial]", "[serial", "gate.toml:2:8: "),
        ("port = \"relay\"", "prot = \"relay\"", "gate.toml:3:1: unknown key `prot`; did you mean `port`?"),
        ("[serial]\nport = \"relay\"", "", "gate.toml:1:1: the map has no backend table"),
        ("[lane]", "[dbus]\n[lane]", "gate.toml:"),
        (
            "\"integer\"",
            "\"integr\"",
            "gate.toml:8:22: \"integr\" is no type of JSON Schema; did you mean `integer`?",
        ),
        (
            "minimum = 1",
            "minimun = 1",
            "gate.toml:8:33: `minimun` is no keyword of JSON Schema; did you mean `minimum`?",
        ),
        (
            "minimum = 1",
            "minimum = 1, default = 0",
            "gate.toml:8:56: the default of `params.ch` is not what it allows",
        ),
        (
            "minimum = 1",
            "minimum = 9, maximum = 8",
            "gate.toml:8:43: `params.ch.minimum` (9) is greater than `maximum` (8)",
        ),
        ("minimum", "min", "gate.toml:8:33: `min` is no keyword of JSON Schema; did you mean `minimum`?"),
        (
            "\"gate.open\"",
            "gate.open",
            "gate.toml:6:15: unknown key `open`; if the method is called gate.open, put that into quotes",
        ),
        ("[methods.", "[method.", "gate.toml:6:2: unknown table [method]; did you mean `methods`?"),
        ("[\"app-*\"]", "7", "gate.toml:10:9: expected a text or a list of texts, such as"),
        ("send = \"OPEN $ch\"", "send = \"\\d\"", "gate.toml:7:10: missing escaped value"),
        ("gate.open", "gate/open", "gate.toml:6:10: \"gate/open\" cannot be a method's name"),
        (
            "gate.open",
            "nowd.lock",
            "gate.toml:6:10: \"nowd.lock\" cannot be a method's name: `nowd.` is kept",
        ),
        ("depth = 2", "depth = -2", "gate.toml:5:9: "),
        ("timeout =", "poll = \"1ms\"\ntimeout =", "gate.toml:9:8: `poll` must be at least 50ms"),
        (
            "timeout =",
            "poll = \"1s\"\nstop = true\ntimeout =",
            "gate.toml:9:8: a `stop` method overtakes others",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let message = parse(&GOOD.replace(from, to)).unwrap_err();
        assert!(message.starts_with(expected), "{from} -> {to}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
    let none = parse("[serial]\nport = \"relay\"\n").unwrap_err();
    assert_eq!(
        none,
        "gate.toml:1:1: the map declares no method; add a table such as [methods.\"gate.open\"]"
    );
}

#[test]
fn a_wrong_backend_is_told_with_the_nearest_right_one() {
    let e = backend_of(&source(&GOOD.replace("[serial]", "[seriel]")), &["dbus", "serial"]).unwrap_err();
    assert_eq!(e.to_string(), "gate.toml:2:2: [seriel] is no backend; did you mean `serial`?");
}

#[test]
fn keys_are_found_by_their_path_and_shown() {
    let map: MapFile<Backend, Keys> = MapFile::parse(&source(GOOD)).unwrap();
    let method = &map.methods[0].origin;
    for (path, line, column) in [
        ("send", 7, 8),
        ("params.ch.minimum", 8, 43),
        ("params.ch.maximum", 8, 13),
        ("allow[0]", 10, 10),
        ("allow[1]", 10, 9),
        ("nothing.here", 6, 10),
    ] {
        let place = method.at(path);
        assert_eq!((place.line(), place.column()), (line, column), "{path}");
    }
    assert_eq!(map.origin().at("port").line(), 3);
    assert_eq!(
        method.at("send").error("it is shut").excerpt().unwrap(),
        "  7 | send = \"OPEN $ch\"\n    |        ^^^^^^^^^^"
    );
    assert_eq!(MapOrigin::start(&source("\n")).error("empty").excerpt(), None);
}

#[test]
fn what_goes_to_several_places_is_what_all_of_them_take() {
    let place = |maximum: u32| Derived {
        param: "x".into(),
        schema: json!({"type": "integer", "maximum": maximum}).as_object().unwrap().clone(),
        place: "a field".into(),
        path: "send".into(),
    };
    for order in [[255, 65_535], [65_535, 255]] {
        let params = Params::derive(None, &order.map(place)).unwrap().unwrap();
        assert_eq!(params.properties()["x"], json!({"type": "integer", "maximum": 255}));
    }
    let typed = |ty: serde_json::Value| Derived {
        schema: json!({ "type": ty }).as_object().unwrap().clone(),
        ..place(0)
    };
    // A byte and a float: any byte is both. Bytes and a text: a text may be both.
    for (one, other, both) in [
        (json!("integer"), json!("number"), json!("integer")),
        (json!(["string", "array"]), json!("string"), json!("string")),
    ] {
        for order in [[&one, &other], [&other, &one]] {
            let params = Params::derive(None, &order.map(|ty| typed(ty.clone()))).unwrap().unwrap();
            assert_eq!(params.properties()["x"], json!({ "type": both }), "{order:?}");
        }
    }
    assert!(Params::derive(None, &[typed(json!("string")), typed(json!("integer"))]).is_err());
}

#[test]
fn parameters_are_derived_from_where_they_go() {
    let byte = |param: &str| Derived {
        param: param.into(),
        schema: json!({"type": "integer", "minimum": 0, "maximum": 255}).as_object().unwrap().clone(),
        place: "argument 1 (y)".into(),
        path: "send".into(),
    };
    let derive = |declared: &str, param: &str| {
        let text = GOOD.replace("params.ch = { type = \"integer\", minimum = 1 }", declared);
        let mut map: MapFile<Backend, Keys> = MapFile::parse(&source(&text)).unwrap();
        map.methods[0].derive(&[byte(param)]).map_err(|e| e.to_string())?;
        Ok::<_, String>(serde_json::Value::Object(map.methods[0].params.as_ref().unwrap().properties()))
    };
    for (declared, expected) in [
        ("", Ok(json!({"ch": {"type": "integer", "minimum": 0, "maximum": 255}}))),
        (
            "params.ch = { minimum = 1, description = \"which\" }",
            Ok(json!({"ch": {"type": "integer", "minimum": 1, "maximum": 255, "description": "which"}})),
        ),
        ("params.ch = { enum = [1, 2] }", Ok(json!({"ch": {"enum": [1, 2], "minimum": 0, "maximum": 255}}))),
        (
            "params.ch = { maximum = 1000 }",
            Err("8:25: `params.ch.maximum` is 1000, but argument 1 (y) takes maximum 255"),
        ),
        (
            "params.ch = { type = \"string\" }",
            Err("8:22: `params.ch.type` is \"string\", but argument 1 (y) takes \"integer\""),
        ),
        (
            "params.chanel = {}",
            Err("7:8: `$ch` is not declared in `params`; declare it, or leave `params` out"),
        ),
        ("params.hc = {}", Err("7:8: `$ch` is not declared in `params`; did you mean `$hc`?")),
    ] {
        match (derive(declared, "ch"), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{declared}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{declared}: {found}"),
            (found, _) => panic!("{declared}: {found:?}"),
        }
    }
}
