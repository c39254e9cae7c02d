//! The allowed dependencies between our crates: each direction that is missing here is missing on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate may depend on, in what is shipped and built. Tests may use more.
const ALLOWED: &[(&str, &[&str])] = &[
    ("nowd-clock", &[]),
    ("nowd-protocol", &[]),
    ("nowd-core", &["nowd-protocol"]),
    ("nowd-link", &[]),
    ("nowd-greengrass", &[]),
    ("nowd-plugin", &["nowd-clock"]),
    ("nowd-plugin-dbus", &["nowd-plugin"]),
    ("nowd-plugin-serial", &["nowd-plugin"]),
    ("nowd-plugin-simulator", &["nowd-plugin"]),
    ("nowd-example-gpio-relay", &["nowd-plugin"]),
    (
        "nowd",
        &[
            "nowd-core",
            "nowd-greengrass",
            "nowd-link",
            "nowd-plugin",
            "nowd-plugin-dbus",
            "nowd-plugin-serial",
            "nowd-plugin-simulator",
            "nowd-protocol",
        ],
    ),
    ("nowd-cloud", &["nowd-clock", "nowd-link", "nowd-protocol"]),
    (
        "nowd-demo",
        &["nowd", "nowd-cloud", "nowd-link", "nowd-plugin", "nowd-plugin-simulator", "nowd-protocol"],
    ),
    ("nowd-bench", &["nowd-link", "nowd-testkit"]),
    ("nowd-faults", &["nowd", "nowd-cloud", "nowd-link", "nowd-plugin", "nowd-protocol", "nowd-testkit"]),
    ("nowd-manual", &["nowd"]),
    ("nowd-testkit", &[]),
    ("nowd-example-gate", &["nowd", "nowd-plugin"]),
];

/// What must not be near the parts that decide, and the part that plugins are made of.
const PURE: &[(&str, &[&str])] = &[
    ("nowd-protocol", &["tokio", "rustix", "rumqttc"]),
    ("nowd-core", &["tokio", "rustix", "rumqttc"]),
    ("nowd-plugin", &["rumqttc", "config"]),
];

#[test]
fn dependencies_go_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"] != "dev");
        let names = dependencies.map(|d| d["name"].as_str().unwrap().to_owned()).collect();
        found.insert(package["name"].as_str().unwrap().to_owned(), names);
    }
    let allowed: BTreeMap<String, BTreeSet<String>> = ALLOWED
        .iter()
        .map(|(name, names)| ((*name).to_owned(), names.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), allowed.keys().collect::<Vec<_>>(), "a crate has no rule");
    for (name, dependencies) in &found {
        let ours: BTreeSet<String> =
            dependencies.iter().filter(|name| allowed.contains_key(*name)).cloned().collect();
        let forbidden: Vec<_> = ours.difference(&allowed[name]).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
    for (name, banned) in PURE {
        let near: Vec<_> = banned.iter().filter(|banned| found[*name].contains(**banned)).collect();
        assert!(near.is_empty(), "{name} must not depend on {near:?}");
    }
}
