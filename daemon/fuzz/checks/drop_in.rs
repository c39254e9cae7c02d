//! A drop-in, and what it leaves of what its plugin describes.

use nowd_plugin::bus::BusAddress;
use nowd_plugin::map::MapSource;
use nowd_plugin::service::Description;
use nowd_plugin_dbus::service::DropIn;
use nowd_protocol::Level;
use serde_json::{Value, json};

use super::sentence;

/// `data` is the file, a NUL, the description; without one there are two methods.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0).map(std::str::from_utf8);
    let Some(Ok(text)) = parts.next() else { return };
    let source = MapSource { file: "p.toml".into(), text: text.into() };
    let drop_in = match DropIn::load(&source, &BusAddress::System) {
        Ok(drop_in) => drop_in,
        Err(e) => return check_place(text, &e),
    };
    let usual = json!({"methods": {
        "gate.open": {
            "params": {"percent": {"type": "integer", "minimum": 0, "maximum": 100}, "x": {"default": 1}},
            "timeout": "1s", "max_timeout": "5s", "on_timeout": "gate.halt"
        },
        "gate.halt": {"stop": true, "idempotent": true}
    }});
    let said = match parts.next() {
        Some(Ok(said)) => said.to_owned(),
        Some(Err(_)) | None => usual.to_string(),
    };
    let described = Description::parse(&said, "a.b").ok();
    for described in [None, described.as_ref()] {
        let (methods, notes) = drop_in.methods(described);
        for note in &notes {
            check_place(text, note);
        }
        for method in &methods {
            assert!(Level::new(method.name.as_str()).is_ok(), "{:?} is no topic level", method.name);
            let policy = &method.policy;
            assert!(!policy.timeout.is_zero() && policy.timeout <= policy.max_timeout, "{policy:?}");
            let theirs = described.into_iter().flat_map(|described| &described.methods);
            let Some(theirs) = theirs.into_iter().find(|theirs| theirs.name == method.name) else { continue };
            let before = &theirs.policy;
            assert!(policy.timeout <= before.timeout && policy.max_timeout <= before.max_timeout);
            assert!(before.idempotent || !policy.idempotent, "a drop-in makes nothing idempotent");
            assert!(policy.internal || !before.internal, "a drop-in opens nothing");
            assert_eq!(policy.stop, before.stop);
            // Without a schema it is withheld.
            let Some(params) = method.params.as_ref() else { continue };
            let before = theirs.params.as_ref().unwrap();
            for request in [json!({}), json!({"percent": 40}), json!({"percent": 40, "x": null}), Value::Null]
            {
                match params.check(request) {
                    Ok(checked) => assert_eq!(before.check(checked.clone()), Ok(checked), "it allows more"),
                    Err(e) => sentence::check(&e.message),
                }
            }
        }
    }
}

/// The message names the file, and a line that it has.
fn check_place(text: &str, message: &impl std::fmt::Display) {
    sentence::check(message);
    let message = message.to_string();
    let line = message.strip_prefix("p.toml:").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let lines = text.split('\n').count();
    assert!(line.parse::<usize>().is_ok_and(|line| (1..=lines).contains(&line)), "{message}");
}
