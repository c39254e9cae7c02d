use std::time::Duration;

use super::*;

const GOOD: &str = r#"
[serial]
port = "relay"
framing = { line = "\r\n" }
[methods."gate.pulse"]
steps = [
  { send = "SET $ch ON", reply = '^OK (?<state>\w+)$' },
  { wait = "200ms" },
  { send = "SET $ch OFF", reply = '^OK' },
]
refused = '^ERR (?<message>.+)$'
params.ch = { type = "integer", minimum = 1, maximum = 8 }
[methods."gate.ring"]
send = "RING"
"#;

fn ports(declared: &[(&str, &str)]) -> BTreeMap<String, PortConfig> {
    declared.iter().map(|(name, device)| ((*name).to_owned(), PortConfig::new(*device))).collect()
}

fn check(text: &str) -> Result<Loaded, String> {
    let map = MapSource { file: "methods.d/relay.toml".into(), text: text.into() };
    load(&ports(&[("relay", "/dev/a"), ("rs485", "/dev/b")]), &[map]).map_err(|e| e.to_string())
}

#[test]
fn reads_a_map() {
    let Loaded { ports, methods, .. } = check(GOOD).unwrap();
    assert_eq!(ports.keys().collect::<Vec<_>>(), ["relay"], "an unused port is not opened");
    let pulse = &methods["gate.pulse"].described;
    assert_eq!((pulse.lane.name.as_str(), pulse.lane.concurrency.get()), ("port:relay", 1));
    assert_eq!(pulse.origin, "methods.d/relay.toml:5");
    assert_eq!(pulse.policy.timeout, Duration::from_secs(1));
    assert_eq!(methods["gate.ring"].described.lane, pulse.lane);
}

#[test]
fn mistakes_name_file_and_line() {
    for (from, to, expected) in [
        (
            "port = \"relay\"",
            "port = \"rely\"",
            "2: the port \"rely\" is not declared; nowd.toml has relay, rs485",
        ),
        ("line = \"\\r\\n\"", "length = 2", "4: unknown field `length`, expected `line`"),
        ("framing = { line = \"\\r\\n\" }", "", "2: missing field `framing`"),
        ("line = \"\\r\\n\"", "line = \"\"", "2: `framing.line` must be 1 to 8 bytes"),
        (
            "\"SET $ch ON\"",
            "\"SET $chn ON\"",
            "5: `steps[0].send`: `$chn` is not declared in `params`, which has ch",
        ),
        ("\"SET $ch ON\"", "\"SET\\r\\nX\"", "5: `steps[0].send`: the text holds the terminator"),
        (
            "^OK (?<state>\\w+)$",
            "^OK (?<state>",
            "5: `steps[0].reply`: \"^OK (?<state>\" is not a regular expression: unclosed group",
        ),
        (
            "^OK (?<state>\\w+)$",
            "(\\w{1000}){1000}",
            "5: `steps[0].reply`: \"(\\\\w{1000}){1000}\" is not a regular expression:",
        ),
        ("^ERR (?<message>.+)$", "(", "5: `refused`: \"(\" is not a regular expression: unclosed group"),
        ("{ wait = \"200ms\" }", "{ wait = \"200\" }", "8: \"200\" is not a duration"),
        ("{ wait = \"200ms\" }", "{ wait = \"1m\" }", "5: the steps wait for 60s in all"),
        ("{ wait = \"200ms\" }", "{ wait = \"200ms\", send = \"A\" }", "5: `steps[1]` must be"),
        ("{ wait = \"200ms\" }", "{ }", "5: `steps[1]` must be"),
        ("{ wait = \"200ms\" }", "{ wiat = \"200ms\" }", "8: unknown field `wiat`"),
        ("  { send = \"SET $ch OFF\", reply = '^OK' },\n", "", "5: the last step is a `wait`"),
        ("steps = [", "send = \"A\"\nsteps = [", "5: a method has `send` or `steps`, not both"),
        ("steps = [", "reply = \"A\"\nsteps = [", "5: `reply` stands beside `steps`"),
        ("send = \"RING\"", "", "13: the method sends nothing"),
        ("send = \"RING\"", "steps = []", "13: `steps` has 0 steps; 1 to 8 are allowed"),
        ("send = \"RING\"", "send = \"RING\"\nfailed = 'x'", "13: `failed` is never looked at"),
        ("send = \"RING\"", "send = \"RING\"\nrepyl = 'x'", "15: unknown key `repyl`; did you mean `reply`?"),
        (
            "[methods.\"gate.ring\"]",
            "[lane]\nconcurrency = 2\n[methods.\"gate.ring\"]",
            "2: `lane.concurrency` of a serial map is 1",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let message = check(&GOOD.replace(from, to)).unwrap_err();
        assert!(
            message.starts_with(&format!("methods.d/relay.toml:{expected}")),
            "{from} -> {to}: {message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
    let none = load(&ports(&[]), &[MapSource { file: "a.toml".into(), text: GOOD.into() }]).unwrap_err();
    assert_eq!(
        none.to_string(),
        "a.toml:2: the port \"relay\" is not declared; add [ports.relay] to nowd.toml"
    );
}

#[test]
fn a_device_has_one_owner() {
    let twice = load(&ports(&[("a", "/dev/x"), ("b", "/dev/x")]), &[]).unwrap_err().to_string();
    assert_eq!(
        twice,
        "[ports.b]: the device /dev/x is already owned by [ports.a]; let the maps share that port"
    );
    let folder = tempfile::tempdir().unwrap();
    let (device, link) = (folder.path().join("tty"), folder.path().join("by-id"));
    std::fs::write(&device, "").unwrap();
    std::os::unix::fs::symlink(&device, &link).unwrap();
    let linked = ports(&[("a", device.to_str().unwrap()), ("b", link.to_str().unwrap())]);
    assert!(load(&linked, &[]).unwrap_err().to_string().contains("is already owned by [ports.a]"));
    let relative = load(&ports(&[("a", "ttyS0")]), &[]).unwrap_err().to_string();
    assert!(relative.starts_with("[ports.a]: `device` must be an absolute path"), "{relative}");
}

#[test]
fn maps_share_a_port_and_its_lane() {
    let source = |file: &str, text: &str| MapSource { file: file.into(), text: text.into() };
    let ports = ports(&[("relay", "/dev/a")]);
    let other = GOOD.replace("gate.", "door.");
    let Loaded { ports: used, methods, .. } =
        load(&ports, &[source("a.toml", GOOD), source("b.toml", &other)]).unwrap();
    assert_eq!((used.len(), methods.len()), (1, 4));
    let twice = load(&ports, &[source("a.toml", GOOD), source("b.toml", GOOD)]).unwrap_err().to_string();
    assert!(
        twice.starts_with("b.toml:5: the method \"gate.pulse\" is already declared in a.toml:5"),
        "{twice}"
    );
    let lane = other.replace("[methods.\"door.ring\"]", "[lane]\nname = \"x\"\n[methods.\"door.ring\"]");
    let differ = load(&ports, &[source("a.toml", GOOD), source("b.toml", &lane)]).unwrap_err().to_string();
    assert!(
        differ.starts_with("b.toml:2: the lane \"x\" is another than \"port:relay\" in a.toml:2"),
        "{differ}"
    );
}
