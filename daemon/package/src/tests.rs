//! What is said of the configuration, in the manual, in the sample file and by the program itself, is the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::{SPECIFICATION, completions, keys, man_pages};

/// What the package puts to /etc/nowd/nowd.toml.
const SAMPLE: &str = include_str!("../../../systemd/etc/nowd/nowd.toml");

/// The keys that the program knows in a table, as it lists them when it meets another.
fn known(table: &str) -> Option<BTreeSet<String>> {
    let error = toml::from_str::<nowd::Config>(&format!("{table}\nno-such-key = 1")).unwrap_err();
    let (_, expected) = error.message().split_once("unknown field `no-such-key`, expected ")?;
    Some(expected.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

/// All keys that the program knows, with their tables.
fn all_known() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for top in known("").unwrap() {
        if top == "ports" {
            let keys = known("[ports.x]\ndevice = \"/dev/x\"").unwrap();
            all.extend(keys.into_iter().map(|key| format!("ports.NAME.{key}")));
        } else if let Some(keys) = known(&format!("[{top}]")) {
            // Whose names are for others to choose.
            let named = |key: String| if key == "parameters" { "parameters.NAME".into() } else { key };
            all.extend(keys.into_iter().map(|key| format!("{top}.{}", named(key))));
        } else {
            all.insert(top);
        }
    }
    all
}

/// What the sample shows: each key with its value. A commented line shows one too.
fn shown() -> BTreeMap<String, String> {
    let mut table = String::new();
    let mut shown = BTreeMap::new();
    for line in SAMPLE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = if name.starts_with("ports.") { "ports.NAME.".into() } else { format!("{name}.") };
        } else if let Some((key, value)) = assignment(line) {
            let key = if table == "provisioning.parameters." { "NAME" } else { key };
            shown.insert(format!("{table}{key}"), value.to_owned());
        }
    }
    shown
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(" = ")?;
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_key.then_some((key, value))
}

#[test]
fn the_manual_and_the_sample_show_each_key_that_the_program_knows() {
    let rows = keys::rows(SPECIFICATION);
    let told: BTreeSet<String> =
        rows.iter().flat_map(|row| row.keys.iter().map(ToString::to_string)).collect();
    let known = all_known();
    assert!(known.contains("link.endpoint") && known.contains("target"), "{known:?}");
    assert_eq!(told, known, "the tables `| key | default | |` of docs/SPECIFICATION.md, and the program");
    let shown: BTreeSet<String> = shown().into_keys().collect();
    assert_eq!(shown, known, "systemd/etc/nowd/nowd.toml and the program");
}

#[test]
fn the_sample_shows_the_defaults() {
    let shown = shown();
    for row in keys::rows(SPECIFICATION) {
        let Some(default) = row.default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else {
            // `9600` may stand without.
            if row.default.bytes().all(|byte| byte.is_ascii_digit()) && !row.default.is_empty() {
                assert_eq!(shown[row.keys[0]], row.default, "{:?}", row.keys);
            }
            continue;
        };
        for key in row.keys {
            assert_eq!(shown[key], default, "{key}");
        }
    }
}

#[test]
fn the_sample_is_sound_as_it_is_and_with_everything_that_it_shows() {
    toml::from_str::<nowd::Config>(SAMPLE).unwrap();
    let all: Vec<&str> = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(shown) if shown.starts_with('[') || assignment(shown).is_some() => shown,
            Some(_) | None => line,
        })
        .collect();
    let config: nowd::Config = toml::from_str(&all.join("\n")).unwrap();
    assert_eq!(config.ports.len(), 1);
    assert!(config.link.endpoint.is_some() && config.link.key.is_some());
}

#[test]
fn a_reader_of_the_manual_alone_knows_what_each_key_is_and_where_a_number_leads() {
    for row in keys::rows(SPECIFICATION) {
        assert!(!row.about.is_empty(), "{:?} is not explained", row.keys);
    }
    let page = keys::page(SPECIFICATION).unwrap();
    let numbered = |line: &&str| {
        let mut words = line.split_whitespace().peekable();
        std::iter::from_fn(|| Some((words.next()?, *words.peek()?))).any(|(before, word)| {
            let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_section = word.split_once('.').is_some_and(|(one, two)| {
                !one.is_empty()
                    && [one, two].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
            });
            is_section && !before.ends_with("section")
                || before == "see" && word.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    let bare: Vec<&str> = page.lines().filter(numbered).collect();
    assert!(bare.is_empty() && page.contains("section 5.3") && !page.contains("decision"), "{bare:?}");
}

#[test]
fn each_command_has_a_page_and_each_shell_its_completions() {
    let pages = man_pages().unwrap();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["nowd.1", "nowd-run.1", "nowd-call.1", "nowd-plugin-serve.1", "nowd.toml.5"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for (name, page) in &pages {
        let page = std::str::from_utf8(page).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH \"SEE ALSO\""), "{name}: {page}");
        assert!(!page.contains(".SH EXTRA") && !page.contains("```"), "{name}: {page}");
    }
    for (name, content) in completions() {
        let content = String::from_utf8(content).unwrap();
        assert!(content.contains("dry-run") && content.contains("unlock"), "{name}");
    }
}
