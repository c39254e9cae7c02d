//! The operator's guide says what there is: each message that asks for something, each exit code, commands and keys that exist,
//! metrics that are told. The journal's catalogue is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nowd_protocol::Uuid;

use crate::bed::{PATIENCE, nowd};
use crate::tools::{journalctl, promtool};

const GUIDE: &str = include_str!("../../../docs/guides/operation.md");

/// Where somebody may log.
const SOURCES: [&str; 6] = [
    "daemon/src",
    "daemon/link/src",
    "plugins/sdk/src",
    "plugins/dbus/src",
    "plugins/serial/src",
    "plugins/simulator/src",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources, without those of tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// Name and level of each error and warning in the sources.
fn messages() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut files = Vec::new();
    for folder in SOURCES {
        sources(&root().join(folder), &mut files);
    }
    let mut messages = BTreeMap::<_, BTreeSet<_>>::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (level, call) in [("error", "error!("), ("warn", "warn!(")] {
            for (at, _) in code.match_indices(call) {
                // Up to the sentence, which stands last and is the first text that is no value.
                let name = code[at + call.len()..]
                    .trim_start()
                    .strip_prefix("see = \"")
                    .and_then(|rest| rest.split('"').next());
                let line = code[..at].lines().count();
                let place = file.display();
                let why = "begins with `see = \"name\"`, and the name has a row in docs/guides/operation.md";
                assert!(name.is_some(), "{place}:{line}: each {level} {why}");
                let name = name.unwrap();
                messages.entry(name.to_owned()).or_default().insert(level);
            }
        }
    }
    messages
}

/// The rows of the guide's table under this head, without the head.
fn table(head: &str) -> Vec<Vec<String>> {
    let (_, rows) = GUIDE.split_once(head).unwrap();
    let rows = rows.lines().skip(2).take_while(|row| row.starts_with('|'));
    rows.map(|row| {
        row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    })
    .collect()
}

#[test]
fn each_message_that_asks_for_something_stands_in_the_guide() {
    let mut told = BTreeMap::new();
    for row in table("| see | level | it says | what it means, and what to do |") {
        let [see, level, says, meaning] = row.as_slice() else { panic!("{row:?}") };
        assert!(!says.is_empty() && meaning.len() > 30, "{see}");
        assert!(told.insert(see.clone(), BTreeSet::from([level.clone()])).is_none(), "{see} twice");
    }
    let found: BTreeMap<String, BTreeSet<String>> = messages()
        .into_iter()
        .map(|(name, levels)| (name, levels.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(found, told, "left: what the sources say; right: what the guide has");
    let names: Vec<&String> = told.keys().collect();
    assert!(names.is_sorted());
}

/// What `journalctl -x` shows. Made of the guide, so that both say the same.
#[test]
fn the_journals_catalogue_is_the_guides() {
    let mut catalogue = String::from(
        "# What `journalctl -x` shows. Made of docs/guides/operation.md by a test: do not edit.\n",
    );
    for row in table("| see | level | it says | what it means, and what to do |") {
        let [see, _, says, meaning] = row.as_slice() else { panic!("{row:?}") };
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("io.nowd.message.{see}").as_bytes()).simple();
        let words = wrapped(&plain(meaning));
        let entry = format!(
            "\n-- {id}\nSubject: nowd: {}\nDefined-By: nowd\nDocumentation: file:///usr/share/doc/nowd/guides/operation.md\n\n{words}\n",
            plain(says)
        );
        catalogue.push_str(&entry);
    }
    let path = root().join("systemd/usr/lib/systemd/catalog/nowd.catalog");
    if std::env::var_os("NOWD_GOLDEN").is_some_and(|what| what == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(&path, &catalogue).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(catalogue, there, "{}: NOWD_GOLDEN=write makes it anew", path.display());
}

/// Without the marks of Markdown.
fn plain(text: &str) -> String {
    let text = text.replace('`', "").replace("**", "");
    // Only the words of a link.
    let Some((before, rest)) = text.split_once('[') else { return text };
    let (words, rest) = rest.split_once("](").unwrap();
    format!("{before}{words}{}", plain(rest.split_once(')').unwrap().1))
}

fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().unwrap();
        if line.len() + word.len() >= 78 {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// journald takes the catalogue.
#[test]
fn journalctl_reads_the_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("usr/lib/systemd/catalog");
    fs::create_dir_all(&there).unwrap();
    fs::create_dir_all(folder.path().join("var/lib/systemd/catalog")).unwrap();
    fs::copy(root().join("systemd/usr/lib/systemd/catalog/nowd.catalog"), there.join("nowd.catalog"))
        .unwrap();
    let root = format!("--root={}", folder.path().display());
    let made = journalctl(&["--update-catalog", &root]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let listed = journalctl(&["--list-catalog", &root]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.lines().count(), messages().len(), "{listed}");
}

#[test]
fn each_exit_code_stands_in_the_guide() {
    let source = include_str!("../../src/exit.rs");
    let codes = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.strip_suffix(',')?.split_once(" => "));
    let codes: Vec<&str> = codes.map(|(_, code)| code).collect();
    let told = table("| code | | what to do |");
    let told: Vec<&str> = told.iter().map(|row| row[0].as_str()).collect();
    assert!(codes.len() > 9);
    assert_eq!(told, codes);
}

#[tokio::test]
async fn commands_and_keys_that_are_shown_exist() {
    let mut commands = BTreeSet::new();
    for piece in GUIDE.split('`').filter(|piece| piece.starts_with("nowd ") && !piece.contains('\n')) {
        commands.insert(piece.trim());
    }
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let args: Vec<&str> = command.split_whitespace().skip(1).chain(["--help"]).collect();
        let mut process = nowd(&args);
        let exit = process.exit(PATIENCE).await;
        assert!(exit.success(), "{command}: {:?}", process.lines());
    }
    for block in GUIDE.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        toml::from_str::<nowd::Config>(block).unwrap_or_else(|e| panic!("{e}\n{block}"));
    }
}

#[test]
fn metrics_that_are_shown_are_told() {
    let golden = include_str!("golden/metrics.txt");
    let told: BTreeMap<&str, &str> = golden.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let rules = root().join("systemd/usr/share/doc/nowd/examples/prometheus/nowd.rules.yml");
    let rules_text = fs::read_to_string(&rules).unwrap();
    let specification = include_str!("../../../docs/SPECIFICATION.md");
    for (place, text) in [("guide", GUIDE), ("rules", rules_text.as_str()), ("specification", specification)]
    {
        // A file's name is one word with its ending; no metric's has a capital or a dot.
        let is_of_words = |c: char| c.is_ascii_alphanumeric() || "_:.".contains(c);
        let mut words = text
            .split(|c| !is_of_words(c))
            .map(|word| word.trim_end_matches(['.', ':']))
            .filter(|word| word.starts_with("nowd_"))
            .filter(|word| !word.contains(|c: char| c.is_ascii_uppercase() || c == '.'));
        let unknown = words.find(|word| {
            let base = word.strip_suffix("_bucket").unwrap_or(word);
            // Crates and their modules have such names too.
            !["nowd_link", "nowd_plugin"].contains(&word.split(':').next().unwrap_or_default())
                && !told.contains_key(base)
        });
        assert_eq!(unknown, None, "{place}");
    }
    for name in told.keys() {
        assert!(specification.contains(&format!("`{name}`")), "{name} is not in the specification");
    }
    let output = promtool().args(["check", "rules"]).arg(&rules).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a record of a call has in the journal, as the guide lists it.
#[test]
fn the_fields_of_calls_stand_in_the_guide() {
    let source = include_str!("../../src/record.rs");
    let (_, record) = source.split_once("target: \"nowd::call\",").unwrap();
    let record = record.split("\"{what}\"").next().unwrap();
    let fields: BTreeSet<String> = record
        .lines()
        .filter_map(|line| Some(format!("NOWD_{}", line.trim().split_once(" = ")?.0.to_ascii_uppercase())))
        .collect();
    let rows = table("| field | of which lines | |");
    let of_calls = rows.iter().filter(|row| row[1].starts_with("calls")).flat_map(|row| row[0].split("`, `"));
    let told: BTreeSet<String> = of_calls.map(str::to_owned).collect();
    assert_eq!(fields, told);
}
