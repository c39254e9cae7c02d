//! The schema that editors get: it takes every map that this project shows, and has the keys that the plugins read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nowd_plugin::map::MapSource;
use nowd_plugin_dbus::DbusPlugin;
use nowd_plugin_serial::{PortConfig, SerialPlugin};
use nowd_plugin_simulator::SimulatorPlugin;
use serde_json::{Value, json};

use crate::bed::{PATIENCE, nowd};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn schema() -> Value {
    let mut process = nowd(&["schema", "map"]);
    assert!(process.exit(PATIENCE).await.success());
    serde_json::from_str(&process.lines().join("\n")).unwrap()
}

/// Every map in a file of its own, and every one in a document, with its place.
fn maps() -> Vec<(String, String)> {
    let mut maps = Vec::new();
    for entry in fs::read_dir(root().join("plugins/maps")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            maps.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    for document in ["README.md", "docs/guides/method-maps.md", "docs/SPECIFICATION.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // What stands before the backend's table belongs to another file.
            if let Some(start) = ["[dbus]", "[serial]", "[modbus]"].iter().find_map(|table| block.find(table))
            {
                maps.push((document.to_owned(), block.get(start..).unwrap().to_owned()));
            }
        }
    }
    maps
}

#[tokio::test]
async fn it_takes_every_map_that_is_shown() {
    let validator = jsonschema::validator_for(&schema().await).unwrap();
    let maps = maps();
    assert!(maps.len() >= 12, "{}", maps.len());
    for (place, text) in maps {
        let map: toml::Table = toml::from_str(&text).unwrap_or_else(|e| unreachable!("{place}: {e}\n{text}"));
        let map = serde_json::to_value(map).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&map).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{place}: {errors:?}\n{text}");
    }
    let wrong = json!({"serial": {"port": "a", "framing": {"line": "\n"}}, "methods": {"m": {"sned": "x"}}});
    assert!(!validator.is_valid(&wrong));
}

#[tokio::test]
async fn it_has_the_keys_that_the_plugins_read_and_no_others() {
    let schema = schema().await;
    let wrong = |table: &str| MapSource {
        file: "m.toml".into(),
        text: format!("{table}\n[methods.m]\nzzzzzz = 1\n"),
    };
    let ports = [("a".to_owned(), PortConfig::new("/dev/a"))].into();
    let serial = "[serial]\nport = \"a\"\nframing = \"slip\"";
    let modbus = "[modbus]\nport = \"a\"\nunit = 1";
    let dbus = "[dbus]\nbus = \"system\"\ndestination = \"a.b\"\npath = \"/\"\ninterface = \"a.b\"";
    for (method, message) in [
        ("serial_method", SerialPlugin::load(&ports, &[wrong(serial)], None).unwrap_err().to_string()),
        ("modbus_method", SerialPlugin::load(&ports, &[wrong(modbus)], None).unwrap_err().to_string()),
        ("dbus_method", DbusPlugin::load(&[wrong(dbus)]).unwrap_err().to_string()),
        ("simulator_method", SimulatorPlugin::load(&[wrong("[simulator]")]).unwrap_err().to_string()),
    ] {
        let (_, read) = message.split_once("a method has ").unwrap_or_else(|| unreachable!("{message}"));
        let read: BTreeSet<&str> = read.split(", ").collect();
        let told = schema.pointer(&format!("/$defs/{method}/properties")).unwrap().as_object().unwrap();
        assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<_>>(), read, "{method}");
    }
}
