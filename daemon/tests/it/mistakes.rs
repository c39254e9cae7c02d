//! Ten mistakes that somebody makes on the way to a first map, in the maps of the guide. What is said of each is a golden file,
//! which the guide shows: it must lead to the fix.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use nowd_cloud::Invoker;
use nowd_testkit::{Process, wait_for, within};

use crate::bed::{Bed, PATIENCE, nowd, request};

const GUIDE: &str = include_str!("../../../docs/guides/method-maps.md");

/// One mistake in one of the bed's maps, and how it comes out.
struct Mistake {
    name: &'static str,
    /// The file, without its ending.
    file: &'static str,
    from: &'static str,
    to: &'static str,
    shown: Shown,
}

enum Shown {
    /// By `nowd check` of the map.
    Check,
    /// By a call of this method with these parameters, and by a warning or an error in the log that holds this.
    Call(&'static str, &'static str, Option<&'static str>),
}

use Shown::{Call, Check};

#[rustfmt::skip]
const MISTAKES: &[Mistake] = &[
    Mistake { name: "wrong-member", file: "methods.d/window", from: "call = \"MoveTo\"", to: "call = \"Move\"",
        shown: Call("window.open", r#"{"percent":60}"#, Some("has no method")) },
    Mistake { name: "wrong-type", file: "methods.d/window", from: "args = [\"$percent\", \"$call.id\"]",
        to: "args = [\"$percent\", \"$call.id\"]\nsignature = \"ss\"", shown: Check },
    Mistake { name: "wrong-port", file: "methods.d/board", from: "port = \"board\"", to: "port = \"bord\"", shown: Check },
    Mistake { name: "wrong-terminator", file: "methods.d/board", from: "line = \"\\n\"", to: "line = '\\n'", shown: Check },
    Mistake { name: "wrong-pattern", file: "methods.d/board", from: "(?<state>ON|OFF)", to: "(?<state>ON|OFF", shown: Check },
    Mistake { name: "wrong-range", file: "methods.d/board", from: "maximum = 8", to: "max = 8", shown: Check },
    Mistake { name: "name-taken", file: "methods.d/board", from: "relay.set", to: "window.open", shown: Check },
    Mistake { name: "unknown-key", file: "methods.d/board", from: "reply =", to: "repply =", shown: Check },
    Mistake { name: "missing-allow", file: "nowd", from: "default = [\"cloud-*\"]", to: "",
        shown: Call("window.open", r#"{"percent":60}"#, None) },
    Mistake { name: "unreachable-bus", file: "methods.d/window", from: "bus = \"", to: "bus = \"unix:path=/run/no-such-bus\" #",
        shown: Call("window.open", r#"{"percent":60}"#, Some("no-such-bus")) },
];

/// The TOML block of the guide that begins with this table.
fn of_guide(table: &str) -> &'static str {
    let mut blocks =
        GUIDE.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    blocks.find(|block| block.starts_with(table)).unwrap()
}

/// The bed with the maps of the guide in place of those of its panel and its window.
async fn bench() -> Bed {
    let bed = Bed::new().await;
    let folder = bed.folder.path();
    fs::remove_file(folder.join("methods.d/panel.toml")).unwrap();
    fs::write(folder.join("methods.d/board.toml"), of_guide("[serial]")).unwrap();
    let window = of_guide("[dbus]");
    let bus = window.lines().find_map(|line| line.strip_prefix("bus = ")).unwrap();
    let window = window.replace(bus, &format!("{:?}", bed.bus.address()));
    fs::write(folder.join("methods.d/window.toml"), window).unwrap();
    let mut config = fs::read_to_string(bed.config()).unwrap();
    config.push_str("[ports.board]\ndevice = \"/dev/null\"\n");
    fs::write(bed.config(), config).unwrap();
    bed
}

#[tokio::test]
async fn each_is_told_in_a_sentence_that_leads_to_the_fix() {
    let mut bed = bench().await;
    let cloud = bed.cloud().await;
    for mistake in MISTAKES {
        let file = bed.folder.path().join(format!("{}.toml", mistake.file));
        let good = fs::read_to_string(&file).unwrap();
        assert!(good.contains(mistake.from), "{}", mistake.name);
        fs::write(&file, good.replacen(mistake.from, mistake.to, 1)).unwrap();
        let told = match mistake.shown {
            Check => check(&bed, &file).await,
            Call(method, params, logged) => {
                let mut told = check(&bed, &file).await;
                let gateway = bed.gateway().await;
                told.push_str(&call(&cloud, &gateway, method, params, logged).await);
                told
            }
        };
        fs::write(&file, good).unwrap();
        compare(mistake, &plain(&bed, &told).replace(cloud.client().as_str(), "cloud-1"));
    }
}

/// What `nowd check` says of the map (the window's, if it is none); of a good one only what it says of who may call.
async fn check(bed: &Bed, file: &Path) -> String {
    let window = bed.folder.path().join("methods.d/window.toml");
    let map = if file == bed.config() { &window } else { file };
    let mut process = nowd(&["check", map.to_str().unwrap()]);
    let good = process.exit(PATIENCE).await.success();
    let said = |line: &String| !good || line.contains("nobody");
    let mut lines: Vec<String> = process.lines().into_iter().filter(said).collect();
    lines.dedup();
    let name = map.strip_prefix(bed.folder.path()).unwrap().display();
    if lines.is_empty() { String::new() } else { format!("$ nowd check {name}\n{}\n", lines.join("\n")) }
}

async fn call(
    cloud: &Invoker,
    gateway: &Process,
    method: &str,
    params: &str,
    logged: Option<&str>,
) -> String {
    let is_there = async || cloud.invoke(request("echo", "1")).await.status.as_str() != "offline";
    within(PATIENCE, "the gateway", async { while !is_there().await {} }).await;
    let answer = cloud.invoke(request(method, params)).await;
    let error = answer.error.unwrap();
    let mut told = format!("$ curl http://127.0.0.1:8080/things/bench/methods/{method} -d '{params}'\n");
    writeln!(told, "{} ({}): {}", answer.status.as_str(), error.code, error.message).unwrap();
    if let Some(logged) = logged {
        wait_for(PATIENCE, &format!("a warning about {logged}"), || warning(gateway, logged).is_some()).await;
        writeln!(told, "the gateway's log: {}", warning(gateway, logged).unwrap()).unwrap();
    }
    told
}

fn warning(gateway: &Process, about: &str) -> Option<String> {
    gateway.lines().iter().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let part = |name: &str| entry.get(name).and_then(serde_json::Value::as_str);
        part("message")
            .filter(|text| text.contains(about) && ["WARN", "ERROR"].map(Some).contains(&part("level")))
            .map(str::to_owned)
    })
}

/// Without what differs from one run to the next.
fn plain(bed: &Bed, told: &str) -> String {
    told.replace(&format!("{}/", bed.folder.path().display()), "")
        .replace(&bed.bus.address(), "unix:path=/run/bus")
}

fn compare(mistake: &Mistake, told: &str) {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/golden/mistakes/{}.txt", mistake.name));
    let head = format!(
        "In {}.toml, {} instead of {}\n\n",
        mistake.file,
        one_line(mistake.to),
        one_line(mistake.from)
    );
    let found = format!("{head}{told}");
    if std::env::var_os("NOWD_GOLDEN").is_some_and(|value| value == "write") {
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        return fs::write(&golden, &found).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(found, expected, "{}: NOWD_GOLDEN=write writes what is said now", golden.display());
    assert!(GUIDE.contains(told.trim_end()), "the guide shows something else than {}", golden.display());
}

fn one_line(text: &str) -> String {
    match text.trim_end_matches(" #").lines().last() {
        None => "nothing".into(),
        Some(start) if start.ends_with("= \"") => "the right one".into(),
        Some(line) => format!("`{line}`"),
    }
}
