//! Bad configuration: one sentence with its place, and the documented exit code.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::bed::{Bed, PATIENCE, nowd};

#[tokio::test]
async fn mistakes() {
    let bed = Bed::new().await;
    let file = bed.config();
    let good = fs::read_to_string(&file).unwrap();
    let map = bed.folder.path().join("methods.d/panel.toml");
    let good_map = fs::read_to_string(&map).unwrap();
    let key = good.lines().find_map(|line| line.strip_prefix("key = ")).unwrap().to_owned();
    let table = [
        ("", "", "", "", "ok: target gw-1"),
        ("target = \"gw-1\"\n", "", "", "", "`target` is not set; set `target = "),
        ("[link]", "[lnik]", "", "", "nowd.toml:4:2: unknown key `lnik`; did you mean `link`?"),
        (
            "silence = \"2s\"",
            "silence = 2",
            "",
            "",
            "nowd.toml:9:11: invalid type: integer `2`, expected a duration with its unit",
        ),
        (key.as_str(), "\"/nowhere/key.pem\"", "", "", "/nowhere/key.pem"),
        (
            "[log]",
            "[ports.second]\ndevice = \"@DEVICE@\"\n[log]",
            "",
            "",
            "is already owned by [ports.panel]",
        ),
        ("", "", "port = \"panel\"", "port = \"pannel\"", "methods.d/panel.toml:"),
        (
            "",
            "",
            "send = \"HANG\"",
            "send = \"$wire\"",
            "`$wire` is not declared in `params`, which is empty",
        ),
        ("", "", "reply = '^OK$'", "replay = '^OK$'", "unknown key `replay`; did you mean `reply`?"),
        ("", "", "alarm.hang", "echo", "is already declared in"),
        ("format = \"json\"", "level = \"loud\"", "", "", "`log.level`: must be `error`"),
        (
            "endpoint = ",
            "tls = false\nendpoint = ",
            "",
            "",
            "`link.certificate`: is given, but `tls = false`",
        ),
        ("localhost:", "mqtts://localhost:", "", "", "`link.endpoint`: must be a host, or host:port"),
    ];
    let device = good.lines().find_map(|line| line.strip_prefix("device = ")).unwrap().trim_matches('"');
    for (from, to, map_from, map_to, expected) in table {
        assert!(good.contains(from) && good_map.contains(map_from), "{from} {map_from}");
        fs::write(&file, good.replacen(from, &to.replace("@DEVICE@", device), 1)).unwrap();
        fs::write(&map, good_map.replacen(map_from, map_to, 1)).unwrap();
        let commands: &[&str] =
            if from.is_empty() && map_from.is_empty() { &["check"] } else { &["check", "run"] };
        for command in commands {
            let mut process = nowd(&[command, "--config", file.to_str().unwrap()]);
            let status = process.exit(PATIENCE).await;
            let lines = process.lines();
            let code = if expected.starts_with("ok") { 0 } else { 78 };
            assert_eq!(status.code(), Some(code), "{command} {to}{map_to}: {lines:?}");
            assert!(lines[0].contains(expected), "{command} {to}{map_to}: {lines:?}");
            // One sentence, and the line that it is about where there is one.
            let rest = lines.get(1..).unwrap_or_default();
            assert!(
                code == 0 || rest.iter().all(|line| line.starts_with("  ")),
                "more than one sentence: {lines:?}"
            );
        }
    }
}

#[tokio::test]
async fn plain_tcp_is_for_this_machine() {
    for (endpoint, code, expected) in [
        ("localhost:1883", 0, "ok: target gw, broker localhost:1883"),
        ("127.0.0.1:1883", 0, "ok: "),
        ("[::1]:1883", 0, "ok: "),
        ("broker.example:1883", 78, "`link.tls`: is false, and broker.example is not this machine"),
    ] {
        let endpoint = format!("link.endpoint={endpoint}");
        let config = tempfile::NamedTempFile::new().unwrap();
        let file = config.path().to_str().unwrap();
        let args =
            ["check", "--config", file, "--set", "target=gw", "--set", "link.tls=false", "--set", &endpoint];
        let mut process = nowd(&args);
        assert_eq!(process.exit(PATIENCE).await.code(), Some(code), "{endpoint}: {:?}", process.lines());
        assert!(process.lines()[0].contains(expected), "{:?}", process.lines());
    }
}

#[tokio::test]
async fn the_command_line() {
    for (args, code, expected) in [
        (&["run", "--config", "/nowhere/nowd.toml"][..], 78, "/nowhere/nowd.toml: cannot be read"),
        (&["check", "--set", "nonsense"], 64, "expected KEY=VALUE"),
        (&["frobnicate"], 64, "unrecognized subcommand"),
        (&["--version"], 0, "nowd 0."),
    ] {
        let mut process = nowd(args);
        let status = process.exit(PATIENCE).await;
        let text = process.lines().join("\n");
        assert_eq!(status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[tokio::test]
async fn the_list_of_methods() {
    let bed = Bed::new().await;
    let mut process = nowd(&["methods", "--config", bed.config().to_str().unwrap()]);
    assert_eq!(process.exit(PATIENCE).await.code(), Some(0));
    let lines = process.lines();
    assert!(lines[0].starts_with("METHOD") && lines[0].contains("PARAMS"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("alarm.arm") && line.contains("port:panel")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn drop_ins_are_counted_and_explained() {
    let bed = Bed::new().await;
    let file = bed.folder.path().join("plugins.d/gate.toml");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let good = "[plugin]\nname = \"com.example.Gate\"\npath = \"/com/example/Gate\"\n\n\
                [methods.\"gate.open\"]\nallow = [\"ops-*\"]\n";
    let said = async |args: &[&str]| {
        let mut process = nowd(args);
        let code = process.exit(PATIENCE).await.code();
        (code, process.lines().join("\n"))
    };
    for (text, code, expected) in [
        (good.to_owned(), 0, "\n  narrows     gate.open: allow = [\"ops-*\"]"),
        (good.replace("path", "pth"), 78, "gate.toml:3:1: unknown key `pth`"),
        (good.replace("plugin]", "plugn]"), 78, "gate.toml:1:2: unknown table [plugn]"),
    ] {
        fs::write(&file, text).unwrap();
        let (found, told) = said(&["check", file.to_str().unwrap()]).await;
        assert!(found == Some(code) && told.contains(expected), "{told}");
        assert_eq!(told.contains("\n  path        /com/example/Gate\n  bus         "), code == 0, "{told}");
    }
    fs::write(&file, good).unwrap();
    let (code, told) = said(&["check", "--config", bed.config().to_str().unwrap()]).await;
    assert!(code == Some(0) && told.contains(" maps, 1 drop-ins, 1 ports"), "{told}");
}

/// What systemd brings from standard error into the journal is an error there, line by line; anywhere else nothing stands before it.
#[test]
fn a_mistake_is_an_error_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nowd.toml");
    fs::write(&config, "tarket = \"gw-1\"\n").unwrap();
    let config = config.to_str().unwrap();
    let key: (&[&str], _, _) = (&["run", "--config", config], 78, "nowd: ");
    let option: (&[&str], _, _) = (&["run", "--confg", config], 64, "error: ");
    let cases = [(key, true, "<3>"), (key, false, ""), (option, true, "<3>"), (option, false, "")];
    for ((arguments, exit, begin), is_journal, mark) in cases {
        let output = fs::File::create(folder.path().join("stderr")).unwrap();
        let about = output.metadata().unwrap();
        let node = if is_journal { about.ino() } else { about.ino() + 1 };
        let status = Command::new(env!("CARGO_BIN_EXE_nowd"))
            .args(arguments)
            .env("JOURNAL_STREAM", format!("{}:{node}", about.dev()))
            .stderr(output)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(exit));
        let text = fs::read_to_string(folder.path().join("stderr")).unwrap();
        let wrong = if exit == 78 { "unknown key `tarket`" } else { "'--confg'" };
        assert!(text.starts_with(&format!("{mark}{begin}")) && text.contains(wrong), "{text}");
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.starts_with(mark)), "{text}");
    }
}
