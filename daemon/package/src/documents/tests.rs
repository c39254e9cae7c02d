//! No link in a document leads nowhere, in the repository and in the package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{all, installed, is_relative, relative, resolved, rewritten, split};

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// All files of the repository, by their paths in it; not what is hidden or built.
fn files(folder: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(repository().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            found.insert(path.clone());
            files(&path, found);
        } else {
            found.insert(path);
        }
    }
}

/// Addresses of all links; what stands between backticks or in a fenced block is none.
fn links(markdown: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut links = Vec::new();
    for line in markdown.lines() {
        fenced ^= line.starts_with("```");
        if !fenced {
            links.extend(line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)));
        }
    }
    links
}

/// The places that a link may name: the headings, as they are spelt after a `#`.
fn places(markdown: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut places = BTreeSet::new();
    for line in markdown.lines() {
        fenced ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if !fenced && heading.len() < line.len() && heading.starts_with(' ') {
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            places.insert(format!("#{}", kept.collect::<String>().replace(' ', "-")));
        }
    }
    places
}

/// Says which links of these documents lead to no path and no place.
fn dead(documents: &BTreeMap<String, String>, paths: &BTreeSet<String>) -> Vec<String> {
    let mut dead = Vec::new();
    for (name, text) in documents {
        for address in links(text) {
            let (path, place) = split(address);
            let target = if path.is_empty() { name.clone() } else { resolved(name, path) };
            let is_there = address.starts_with('#') || paths.contains(&target);
            let has_place =
                place.is_empty() || documents.get(&target).is_none_or(|text| places(text).contains(place));
            if (is_relative(address) || address.starts_with('#')) && !(is_there && has_place) {
                dead.push(format!("{name}: {address}"));
            }
        }
    }
    dead
}

#[test]
fn no_link_in_the_repository_leads_nowhere() {
    let mut paths = BTreeSet::new();
    files("", &mut paths);
    let documents: BTreeMap<String, String> = paths
        .iter()
        .filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.clone(), fs::read_to_string(repository().join(path)).unwrap()))
        .collect();
    assert!(documents.contains_key("README.md") && documents.contains_key("docs/SPECIFICATION.md"));
    assert_eq!(dead(&documents, &paths), Vec::<String>::new());
}

#[test]
fn no_link_in_the_package_leads_nowhere() {
    let mut paths = BTreeSet::new();
    files("", &mut paths);
    let there: BTreeSet<String> = paths.iter().filter_map(|path| installed(path)).collect();
    let documents: BTreeMap<String, String> = all(repository()).unwrap().into_iter().collect();
    for name in
        ["README.md", "SPECIFICATION.md", "systemd.md", "guides/operation.md", "examples/plugins/c/README.md"]
    {
        assert!(documents.contains_key(&format!("usr/share/doc/nowd/{name}")), "{name}");
    }
    assert_eq!(dead(&documents, &there), Vec::<String>::new());
}

#[test]
fn a_link_is_as_it_must_be_where_the_document_is_installed() {
    let check = |from: &str, markdown: &str, wanted: &str| {
        let exists = |path: &str| !path.contains("nothing");
        assert_eq!(rewritten(markdown, from, &exists).unwrap(), wanted);
    };
    let guide = "docs/guides/operation.md";
    check(guide, "[a](../SPECIFICATION.md#4-status)", "[a](../SPECIFICATION.md#4-status)");
    check(guide, "[a](#b), [c](https://example.com/d)", "[a](#b), [c](https://example.com/d)");
    check(guide, "see [maps](../../plugins/maps/README.md).", "see [maps](../../../nowd/maps/README.md).");
    check(guide, "[units](../../systemd/README.md)", "[units](../systemd.md)");
    check("systemd/README.md", "[that](../docs/guides/operation.md)", "[that](guides/operation.md)");
    check("plugins/maps/README.md", "[a](usb-relay.toml)", "[a](usb-relay.toml)");
    let list = "\n## Only in nowd's sources\n\n- `cloud/README.md`";
    check(
        guide,
        "[the\ncloud](../../cloud/README.md#limits) side\n",
        &format!("the\ncloud side\n{list}: the cloud\n"),
    );
    check("README.md", "[cloud/README.md](cloud/README.md)\n", &format!("cloud/README.md\n{list}\n"));
    let error = rewritten("[a](nothing.md)", guide, &|path| !path.contains("nothing")).unwrap_err();
    assert_eq!(error.to_string(), "docs/guides/operation.md: the link to nothing.md leads nowhere");
}

#[test]
fn the_way_from_one_file_to_another() {
    assert_eq!(relative("a/b/c.md", "a/b/d.md"), "d.md");
    assert_eq!(relative("a/b/c.md", "a/e"), "../e");
    assert_eq!(relative("c.md", "a/e"), "a/e");
    assert_eq!(relative("a/b", "a"), ".");
}
