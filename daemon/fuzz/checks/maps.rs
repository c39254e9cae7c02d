//! A method map, as each of the shipped plugins reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::host::Registry;
use nowd_plugin::map::{MapSource, backend_of};
use nowd_plugin::{Call, Deadline, Method, Plugin};
use nowd_plugin_dbus::DbusPlugin;
use nowd_plugin_serial::{PortConfig, SerialPlugin};
use nowd_plugin_simulator::SimulatorPlugin;
use nowd_protocol::Level;
use serde_json::{Value, json};
use uuid::Uuid;

use super::sentence;

/// `data` is the text of the file.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let map = MapSource { file: "m.toml".into(), text: text.into() };
    let maps = [map.clone()];
    let backend = match backend_of(&map, &["dbus", "serial", "modbus", "simulator"]) {
        // The serial plugin's too.
        Ok("modbus") => "serial",
        Ok(backend) => backend,
        Err(e) => return check_place(text, &e),
    };
    let ports = BTreeMap::from([("relay".to_owned(), PortConfig::new("/dev/ttyUSB0"))]);
    match SerialPlugin::load(&ports, &maps, None) {
        Ok(plugin) => check_plugin(backend, "serial", plugin),
        Err(e) => check_place(text, &e),
    }
    match DbusPlugin::load(&maps) {
        Ok(plugin) => check_plugin(backend, "dbus", plugin),
        Err(e) => check_place(text, &e),
    }
    match SimulatorPlugin::load(&maps) {
        Ok(plugin) => check_plugin(backend, "simulator", plugin),
        Err(e) => check_place(text, &e),
    }
}

/// The message names the file, and a line that it has.
fn check_place(text: &str, error: &impl std::fmt::Display) {
    sentence::check(error);
    let message = error.to_string();
    let line = message.strip_prefix("m.toml:").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let lines = text.split('\n').count();
    assert!(line.parse::<usize>().is_ok_and(|line| (1..=lines).contains(&line)), "{message}");
}

fn check_plugin(backend: &str, name: &str, plugin: Arc<dyn Plugin>) {
    // The name of the backend's table is looked at before a plugin is asked.
    assert_eq!(plugin.name(), name);
    if backend != name {
        return;
    }
    for method in plugin.methods() {
        check_method(&method);
        check_words(plugin.as_ref(), &method);
    }
    // Safe actions that are not there, and the like.
    if let Err(e) = Registry::new(&[plugin]) {
        sentence::check(&e);
    }
}

/// What is said of a method, and of a call of it that nobody sends.
fn check_words(plugin: &dyn Plugin, method: &Method) {
    let parameters = json!({"percent": 40, "ch": "1", "name": "x", "unit": "\u{85}"});
    let call =
        Call::new(Uuid::nil(), method.name.as_str(), parameters, Deadline::after(Duration::from_secs(1)));
    let previewed = plugin.preview(&call).unwrap_or_default();
    for line in plugin.explain(&method.name).iter().chain(&previewed) {
        assert!(!line.contains(char::is_control), "more than one line: {line:?}");
    }
}

fn check_method(method: &Method) {
    assert!(Level::new(method.name.as_str()).is_ok(), "{:?} is no topic level", method.name);
    let policy = &method.policy;
    assert!(!policy.timeout.is_zero() && policy.timeout <= policy.max_timeout, "{policy:?}");
    let Some(params) = &method.params else { return };
    for request in [Value::Null, json!({}), json!([]), json!({"percent": 40, "ch": "1"})] {
        match params.check(request) {
            Ok(checked) => {
                assert_eq!(params.check(checked.clone()), Ok(checked), "not the same when checked again");
            }
            Err(e) => sentence::check(&e.message),
        }
    }
}
