use super::*;

fn load(
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
    set: &[(&str, &str)],
) -> Result<ConfigFiles, String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = directory.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let source = ConfigSource {
        file: directory.path().join("nowd.toml"),
        required: true,
        environment: pairs(environment),
        set: pairs(set),
        deployment: Deployment::None,
    };
    source.load().map_err(|e| e.to_string().replace(&format!("{}/", directory.path().display()), ""))
}

const GOOD: &str = r#"
target = "gw-1"
[link]
endpoint = "broker.example:8883"
keep_alive = "45s"
[access]
default = ["app-*"]
[ports.relay]
device = "/dev/ttyS0"
"#;

#[test]
fn later_layers_win() {
    let files = [
        ("nowd.toml", GOOD),
        ("nowd.toml.d/10-a.toml", "[link]\nendpoint = \"a\"\nkeep_alive = \"50s\""),
        ("nowd.toml.d/20-b.toml", "[link]\nendpoint = \"b\""),
        ("nowd.toml.d/30-c.toml", "[ports.relay]\nformat = \"8E1\""),
        ("nowd.toml.d/ignored.txt", "nonsense"),
        ("methods.d/m.toml", "map"),
    ];
    let environment = [("NOWD__LINK__CLIENT_ID", "007"), ("NOWD__ACCESS__DEFAULT", "ops"), ("OTHER", "x")];
    let loaded =
        load(&files, &environment, &[("link.allow_plain", "true"), ("ports.relay.baud", "19200")]).unwrap();
    let link = &loaded.config.link;
    assert_eq!((link.endpoint.as_deref(), link.client_id.as_deref()), (Some("b"), Some("007")));
    assert_eq!((link.keep_alive, link.silence), (Duration::from_secs(50), Duration::from_secs(10)));
    assert!(link.allow_plain && link.tls);
    assert_eq!(loaded.config.access.default, ["ops"]);
    assert_eq!(loaded.config.target.unwrap().as_str(), "gw-1");
    assert_eq!(loaded.config.ports["relay"].baud, 19_200);
    assert_eq!(loaded.maps.len(), 1);
    assert_eq!(loaded.maps[0].text, "map");
}

#[test]
fn what_is_no_file_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nowd.toml");
    std::fs::write(&file, GOOD).unwrap();
    std::fs::create_dir(directory.path().join("methods.d")).unwrap();
    let pipe = directory.path().join("methods.d/pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let source = ConfigSource {
        file,
        required: true,
        environment: Vec::new(),
        set: Vec::new(),
        deployment: Deployment::None,
    };
    let message = source.load().unwrap_err().to_string();
    assert_eq!(message, format!("{}: cannot be read: it is no regular file; take it away", pipe.display()));
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (from, to, expected) in [
        ("keep_alive", "keepalive", "nowd.toml:5:1: unknown key `keepalive`; did you mean `keep_alive`?"),
        ("[access]", "[acess]", "nowd.toml:6:2: unknown key `acess`; did you mean `access`?"),
        ("\"45s\"", "45", "nowd.toml:5:14: invalid type: integer `45`, expected a duration with its unit"),
        ("\"45s\"", "\"45\"", "nowd.toml:5:14: \"45\" is not a duration; write a number with its unit"),
        ("[\"app-*\"]", "7", "nowd.toml:7:11: expected a text or a list of texts"),
        ("\"gw-1\"", "\"gw/1\"", "nowd.toml:2:10: a topic level holds '/'"),
        ("device =", "devise =", "nowd.toml:9:1: unknown key `devise`; did you mean `device`?"),
        ("device = \"/dev/ttyS0\"", "", "configuration: missing "),
        ("[link]", "[link", "nowd.toml:3:"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let message = load(&[("nowd.toml", &GOOD.replace(from, to))], &[], &[]).unwrap_err();
        assert!(message.starts_with(expected), "{from} -> {to}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
    for (environment, set, expected) in [
        (
            &[("NOWD__LNK__ENDPOINT", "x")][..],
            &[][..],
            "environment NOWD__LNK__ENDPOINT: unknown key `lnk`; did you mean `link`?",
        ),
        (
            &[("NOWD__LINK__KEEP_ALIVE", "1")],
            &[],
            "environment NOWD__LINK__KEEP_ALIVE: \"1\" is not a duration",
        ),
        (
            &[],
            &[("link.tls", "maybe")],
            "--set link.tls=maybe: invalid type: string \"maybe\", expected true or false",
        ),
        (&[], &[("access.default", "[\"x\"]")], "--set access.default=[\"x\"]: \"[\\\"x\\\"]\" is no name"),
        (&[], &[("nonsense", "1")], "--set nonsense=1: unknown key `nonsense`"),
    ] {
        let message = load(&[("nowd.toml", GOOD)], environment, set).unwrap_err();
        assert!(message.starts_with(expected), "{message}");
    }
    assert!(load(&[], &[], &[]).unwrap_err().starts_with("nowd.toml: cannot be read: No such file"));
}

#[test]
fn metrics_go_where_they_are_found() {
    let of = |text: &str| toml::from_str::<MetricsConfig>(text).unwrap();
    for (text, wrong) in [
        ("", None),
        ("file = \"\"", None),
        ("file = \"/run/nowd/nowd.prom\"\ninterval = \"1h\"", None),
        ("file = \"nowd.prom\"", Some("metrics.file")),
        ("file = \"/run/nowd/metrics\"", Some("metrics.file")),
        ("interval = \"999ms\"", Some("metrics.interval")),
        ("interval = \"61m\"", Some("metrics.interval")),
    ] {
        let found = of(text).check().err().map(|e| e.to_string());
        assert_eq!(found.is_some(), wrong.is_some(), "{text}: {found:?}");
        assert!(found.unwrap_or_default().contains(wrong.unwrap_or_default()), "{text}");
    }
    assert_eq!(of("file = \"\"").wanted(), None);
}

#[test]
fn what_stands_in_the_environment_is_not_in_debug_output() {
    let source = ConfigSource {
        file: "nowd.toml".into(),
        required: true,
        environment: vec![("SVCUID".into(), "a-token".into())],
        set: Vec::new(),
        deployment: Deployment::None,
    };
    let said = format!("{source:?}");
    assert!(said.contains("SVCUID") && !said.contains("a-token"), "{said}");
}
