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
    load(&ports(&[("relay", "/dev/a"), ("rs485", "/dev/b")]), &[map], &BTreeMap::new(), &[])
        .map_err(|e| e.to_string())
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

/// What is changed in the map, and the beginning of what is said about it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("port = \"relay\"", "port = \"rely\"", "3:8: the port \"rely\" is not declared; did you mean `relay`?"),
    ("port = \"relay\"", "port = \"x\"", "3:8: the port \"x\" is not declared; nowd.toml has relay, rs485"),
    ("line = \"\\r\\n\"", "lin = \"\\n\"", "4:19: `framing.lin`: unknown key; did you mean `line`?"),
    ("line = \"\\r\\n\"", "line = '\\r\\n'", "4:20: `framing.line`: '\\r' in single quotes is 4 characters"),
    (
        "framing = { line = \"\\r\\n\" }",
        "",
        "2:2: the key `framing` is missing, which says where a frame ends: one of { line = \"\\r\\n\" }, { fixed",
    ),
    ("line = \"\\r\\n\"", "line = \"\"", "4:20: `framing.line`: must be 1 to 8 bytes"),
    (
        "line = \"\\r\\n\"",
        "line = \"CRLF\"",
        "4:20: `framing.line`: \"CRLF\" is 4 characters of their own; write \"\\r\\n\"",
    ),
    (
        "send = \"RING\"",
        "send = \"RING\"\npoll = \"1s\"",
        "15:8: `poll`: reads something every so often, and a `send` without",
    ),
    (
        "line = \"\\r\\n\" }",
        "line = \"\\r\\n\" }\nchecksum = \"XR\"",
        "5:12: `checksum`: the checksum \"XR\" is not known; did you mean `XOR`?",
    ),
    (
        "line = \"\\r\\n\" }",
        "line = \"\\r\\n\" }\nchecksums = \"XR\"",
        "5:1: unknown key `checksums`; did you mean `checksum`?",
    ),
    (
        "\"SET $ch ON\"",
        "\"SET $chn ON\"",
        "7:12: `steps[0].send`: `$chn` is not declared in `params`; did you mean `$ch`?",
    ),
    ("\"SET $ch ON\"", "\"SET\\r\\nX\"", "7:12: `steps[0].send`: the frame holds the terminator"),
    (
        "\"SET $ch ON\"",
        "{ hex = \"A0 $ch:u8 $on:u8\" }",
        "7:20: `$on` is not declared in `params`; declare it, or",
    ),
    (
        "\"SET $ch ON\"",
        "{ hex = \"A0 $ch:text4\" }",
        "12:22: `params.ch.type` is \"integer\", but the field `$ch:text4` takes",
    ),
    ("^OK (?<state>\\w+)$", "^OK\\r\\n", "7:34: `steps[0].reply`: the pattern ends in the terminator"),
    (
        "^OK (?<state>\\w+)$",
        "^OK (?<state>",
        "7:34: `steps[0].reply`: \"^OK (?<state>\" is not a regular expression: unclosed group",
    ),
    (
        "^OK (?<state>\\w+)$",
        "(\\w{1000}){1000}",
        "7:34: `steps[0].reply`: \"(\\\\w{1000}){1000}\" is too large a regular expression; repeat less",
    ),
    ("^ERR (?<message>.+)$", "(", "11:11: `refused`: \"(\" is not a regular expression: unclosed group"),
    ("^ERR (?<message>.+)$", "^OK", "11:11: `refused`: is the same pattern as `reply`"),
    ("{ wait = \"200ms\" }", "{ wait = \"200\" }", "8:12: `steps[1].wait`: \"200\" is not a duration"),
    ("{ wait = \"200ms\" }", "{ wait = \"1m\" }", "6:9: `steps`: the steps wait for 60s in all"),
    ("{ wait = \"200ms\" }", "{ wait = \"200ms\", send = \"A\" }", "8:3: `steps[1]`: must be { send"),
    ("{ wait = \"200ms\" }", "{ }", "8:3: `steps[1]`: must be { send"),
    (
        "{ wait = \"200ms\" }",
        "{ wiat = \"200ms\" }",
        "8:12: `steps[1].wiat`: unknown key; did you mean `wait`?",
    ),
    ("  { send = \"SET $ch OFF\", reply = '^OK' },\n", "", "8:3: `steps[1]`: the last step is a `wait`"),
    ("steps = [", "send = \"A\"\nsteps = [", "7:9: `steps`: a method has `send` or `steps`, not both"),
    ("steps = [", "reply = \"A\"\nsteps = [", "6:9: `reply`: stands beside `steps`"),
    ("send = \"RING\"", "", "13:10: the method sends nothing; add `send`, `steps` or `hears`"),
    ("send = \"RING\"", "steps = []", "14:9: `steps`: has 0 steps; 1 to 8 are allowed"),
    ("send = \"RING\"", "send = 'RING\\r\\n'", "14:8: `send`: '\\r' in single quotes is 8 characters"),
    ("send = \"RING\"", "send = \"RING\"\nfailed = 'x'", "15:10: `failed`: is never looked at"),
    ("send = \"RING\"", "send = \"RING\"\nrepyl = 'x'", "15:1: unknown key `repyl`; did you mean `reply`?"),
    (
        "send = \"RING\"",
        "send = \"RING\"\nvalues.x = \"integer\"",
        "15:12: `values.x`: no reply names a part so",
    ),
    ("send = \"RING\"", "hears = '^X'\nreply = 'x'", "15:9: `reply`: stands beside `hears`"),
    ("send = \"RING\"", "hears = '^X'\npoll = \"1s\"", "15:8: `poll`: reads something every so often"),
    ("send = \"RING\"", "hears = '^X'\nstop = true", "15:8: `stop`: clears the lane"),
    ("send = \"RING\"", "hears = '^X'\nparams.x = true", "15:1: `params`: `hears` takes no parameters"),
    (
        "send = \"RING\"",
        "hears = '^X'\nvalues.x = \"integer\"",
        "15:12: `values.x`: no reply names a part so",
    ),
    (
        "[methods.\"gate.ring\"]",
        "[lane]\nconcurrency = 2\n[methods.\"gate.ring\"]",
        "2:2: `lane.concurrency` of a serial map is 1",
    ),
];

#[test]
fn mistakes_name_file_and_line() {
    let mut wrong = Vec::new();
    for (from, to, expected) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        let message = check(&GOOD.replace(from, to)).unwrap_err();
        if !message.starts_with(&format!("methods.d/relay.toml:{expected}")) {
            wrong.push(format!("{from} -> {to}: {message}"));
        }
        assert!(!message.contains('\n'), "{message}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let none =
        load(&ports(&[]), &[MapSource { file: "a.toml".into(), text: GOOD.into() }], &BTreeMap::new(), &[])
            .unwrap_err();
    assert_eq!(
        none.to_string(),
        "a.toml:3:8: the port \"relay\" is not declared; add [ports.relay] to nowd.toml"
    );
    for (declared, expected) in [
        (
            ports(&[]),
            "the port \"relay\" is not declared; add {\"nowd\": {\"ports\": {\"relay\": ..}}} to the component configuration",
        ),
        (ports(&[("other", "/dev/x")]), "the port \"relay\" is not declared; the configuration has other"),
    ] {
        let file = "configuration of com.example.Maps, methods.d/a.toml";
        let map = MapSource { file: file.into(), text: GOOD.into() };
        let message = load(&declared, &[map], &BTreeMap::new(), &[]).unwrap_err().to_string();
        assert_eq!(message, format!("{file}:3:8: {expected}"));
    }
}

#[test]
fn a_parameter_that_is_not_sent_is_told() {
    let unused = |map: &str| {
        let explained = check(map).unwrap().methods["gate.pulse"].action.explain();
        explained.into_iter().filter(|line| line.starts_with("unused")).collect::<Vec<_>>()
    };
    assert_eq!(unused(GOOD), [""; 0]);
    let forgotten = GOOD.replace("SET $ch", "SET ch");
    assert_eq!(
        unused(&forgotten),
        ["unused      the parameter `ch`: nothing that is sent has it; write $ch where it belongs"]
    );
    // It may be for that one.
    let safe = forgotten.replace("refused =", "on_timeout = \"gate.ring\"\nrefused =");
    assert_eq!(unused(&safe), [""; 0]);
}

#[test]
fn a_device_has_one_owner() {
    let twice = load(&ports(&[("a", "/dev/x"), ("b", "/dev/x")]), &[], &BTreeMap::new(), &[])
        .unwrap_err()
        .to_string();
    assert_eq!(
        twice,
        "[ports.b]: the device /dev/x is already owned by [ports.a]; let the maps share that port"
    );
    let folder = tempfile::tempdir().unwrap();
    let (device, link) = (folder.path().join("tty"), folder.path().join("by-id"));
    std::fs::write(&device, "").unwrap();
    std::os::unix::fs::symlink(&device, &link).unwrap();
    let linked = ports(&[("a", device.to_str().unwrap()), ("b", link.to_str().unwrap())]);
    assert!(
        load(&linked, &[], &BTreeMap::new(), &[])
            .unwrap_err()
            .to_string()
            .contains("is already owned by [ports.a]")
    );
    let relative = load(&ports(&[("a", "ttyS0")]), &[], &BTreeMap::new(), &[]).unwrap_err().to_string();
    assert!(relative.starts_with("[ports.a]: `device` must be an absolute path"), "{relative}");
}

#[test]
fn maps_share_a_port_and_its_lane() {
    let source = |file: &str, text: &str| MapSource { file: file.into(), text: text.into() };
    let ports = ports(&[("relay", "/dev/a")]);
    let other = GOOD.replace("gate.", "door.");
    let Loaded { ports: used, methods, .. } =
        load(&ports, &[source("a.toml", GOOD), source("b.toml", &other)], &BTreeMap::new(), &[]).unwrap();
    assert_eq!((used.len(), methods.len()), (1, 4));
    let twice = load(&ports, &[source("a.toml", GOOD), source("b.toml", GOOD)], &BTreeMap::new(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        twice.starts_with("b.toml:5:10: the method \"gate.pulse\" is already declared in a.toml:5"),
        "{twice}"
    );
    let lane = other.replace("[methods.\"door.ring\"]", "[lane]\nname = \"x\"\n[methods.\"door.ring\"]");
    let differ = load(&ports, &[source("a.toml", GOOD), source("b.toml", &lane)], &BTreeMap::new(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        differ.starts_with("b.toml:2:2: the lane \"x\" is another than \"port:relay\" in a.toml:2"),
        "{differ}"
    );
}

#[test]
fn ready_made_maps_are_read() {
    let declared =
        ports(&[("board", "/dev/a"), ("panel", "/dev/b"), ("gnss", "/dev/c"), ("relay", "/dev/d")]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../maps");
    for name in ["arduino-lines", "demo-alarm", "nmea", "usb-relay"] {
        let text = std::fs::read_to_string(format!("{folder}/{name}.toml")).unwrap();
        let map = MapSource { file: name.into(), text };
        let loaded = load(&declared, &[map], &BTreeMap::new(), &[]);
        assert!(loaded.is_ok(), "{name}: {loaded:?}");
    }
}

/// A safe action whose time would be over before it is written is a mistake, and not a surprise at the worst time.
#[test]
fn a_safe_action_has_time_to_be_written() {
    let with = |keys: &str| {
        let ring = format!("send = \"RING\"\n{keys}");
        check(
            &GOOD
                .replace("refused =", "on_stop = \"gate.ring\"\nrefused =")
                .replace("send = \"RING\"", &ring),
        )
    };
    let loaded = with("timeout = \"300ms\"").unwrap();
    let (pulse, ring) = (&loaded.methods["gate.pulse"].safety, &loaded.methods["gate.ring"].safety);
    assert_eq!(
        (pulse.by.as_slice(), pulse.within),
        (&["gate.ring".to_owned()][..], Duration::from_millis(300))
    );
    assert!(ring.makes_safe && !pulse.makes_safe && ring.by.is_empty());
    for (keys, expected) in [
        (
            "timeout = \"250ms\"",
            "16:11: `timeout` is 250ms, in which the method could not be written as the safe action of \"gate.pulse\"",
        ),
        ("max_timeout = \"100ms\"", "14:10: `timeout` is 100ms, in which"),
    ] {
        let message = with(keys).map(|_| ()).unwrap_err();
        assert!(message.contains(expected) && message.ends_with("give it more than 250ms"), "{message}");
    }
    assert!(
        with("timeout = \"250ms\"")
            .map(|_| ())
            .unwrap_err()
            .contains("the line may have to become silent first")
    );
}
