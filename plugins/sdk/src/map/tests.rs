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
    assert_eq!(backend_of(&source(GOOD)).unwrap(), "serial");
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
fn mistakes_are_told_with_file_and_line() {
    for (from, to, expected) in [
        ("timeout =", "timout =", "gate.toml:9: unknown key `timout`; did you mean `timeout`?"),
        ("send =", "frobnicate =", "gate.toml:7: unknown key `frobnicate`; a method has description, params"),
        ("send = \"OPEN $ch\"", "", "gate.toml:6: missing field `send`"),
        ("\"800ms\"", "800", "gate.toml:9: invalid type: integer `800`, expected a string"),
        ("\"800ms\"", "\"800\"", "gate.toml:9: \"800\" is not a duration"),
        ("\"800ms\"", "\"31s\"", "gate.toml:6: `timeout` (31s) is longer than `max_timeout` (30s)"),
        ("[serial]", "[serial", "gate.toml:2: "),
        ("port = \"relay\"", "prot = \"relay\"", "gate.toml:3: unknown field `prot`, expected `port`"),
        ("[serial]\nport = \"relay\"", "", "gate.toml:1: the map has no backend table"),
        ("[lane]", "[dbus]\n[lane]", "gate.toml:"),
        ("\"integer\"", "\"integr\"", "gate.toml:6: the schema of the parameters is not valid"),
        ("gate.open", "gate/open", "gate.toml:6: \"gate/open\" cannot be a method's name"),
        ("gate.open", "nowd.lock", "gate.toml:6: \"nowd.lock\" cannot be a method's name: `nowd.` is kept"),
        ("depth = 2", "depth = -2", "gate.toml:5: "),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let message = parse(&GOOD.replace(from, to)).unwrap_err();
        assert!(message.starts_with(expected), "{from} -> {to}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
    let none = parse("[serial]\nport = \"relay\"\n").unwrap_err();
    assert_eq!(none, "gate.toml:1: the map declares no method; add a table such as [methods.\"gate.open\"]");
}
