//! Methods, as a plugin in a process of its own describes them: JSON of the same form and with the same keys as a method
//! map.
//!
//! ```json
//! {
//!   "lane": {"concurrency": 1, "depth": 16},
//!   "methods": {
//!     "gate.open": {
//!       "description": "Opens the gate",
//!       "params": {"percent": {"type": "integer", "minimum": 0, "maximum": 100}},
//!       "timeout": "800ms",
//!       "on_timeout": "gate.halt"
//!     },
//!     "gate.halt": {"stop": true, "idempotent": true},
//!     "lamp.set": {"lane": {"name": "lamp"}, "params": {"on": {"type": "boolean"}}}
//!   }
//! }
//! ```
//!
//! A description is not trusted: it can name no lane and no safe action but the plugin's own, says nothing of who may call
//! (`allow`) or how often the gateway reads by itself (`poll`), and everything in it is bounded.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{MAX_DESCRIPTION_LEN, MAX_METHODS};
use crate::Plugin;
use crate::host::identity;
use crate::map::check_name;
use crate::map::common::{COMMON_KEYS, CommonKeys};
use crate::method::{Lane, Method, Policy};
use crate::params::{Params, shorten};
use crate::words::hint;

/// The keys of a method that only the machine's owner may say, in a drop-in.
const OWNERS_KEYS: &[&str] = &["allow", "poll"];

/// The most calls of one lane that run or wait.
const WIDEST_LANE: u16 = 256;

/// The most patterns that a description may make the gateway compile.
const MAX_PATTERNS: usize = 64;

/// The most schemas in `anyOf` and its like of one parameter.
const MAX_ALTERNATIVES: usize = 64;

/// What a plugin says of itself.
#[derive(Debug, Clone)]
pub struct Description {
    /// The methods, by name. Their lanes carry the plugin's name.
    pub methods: Vec<Method>,
    /// Tells one set of maps from another, where a plugin has them: see [`fingerprint`].
    pub fingerprint: Option<String>,
}

/// A description breaks the contract: where in it, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{plugin} describes itself wrongly: {message}")]
pub struct DescriptionError {
    /// The plugin's name on the bus.
    pub plugin: String,
    /// One sentence that names the method and the key.
    pub message: String,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    lane: LaneSaid,
    #[serde(default)]
    fingerprint: Option<String>,
    methods: BTreeMap<String, Map<String, Value>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneSaid {
    name: Option<String>,
    concurrency: Option<NonZeroU16>,
    depth: Option<u16>,
}

impl Description {
    /// Reads what the plugin of this name on the bus says of itself.
    ///
    /// # Errors
    /// The first thing that breaks the contract; then nothing of the description counts.
    pub fn parse(text: &str, plugin: &str) -> Result<Self, DescriptionError> {
        // It may quote what the plugin has said.
        let error =
            |message: String| DescriptionError { plugin: plugin.to_owned(), message: shorten(&message) };
        parse(text, plugin).map_err(error)
    }

    /// What a plugin with these methods says of itself.
    #[must_use]
    pub fn text(methods: &[Method], fingerprint: &str) -> String {
        let methods: Map<String, Value> =
            methods.iter().map(|method| (method.name.clone(), say(method))).collect();
        json!({ "fingerprint": fingerprint, "methods": methods }).to_string()
    }
}

/// Tells one set of methods from another: by all that they do, as far as the plugin can say it.
#[must_use]
pub fn fingerprint(plugin: &dyn Plugin) -> String {
    let mut all: Vec<String> = plugin.methods().iter().map(|method| identity(method, plugin)).collect();
    all.sort();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, all.join("\n").as_bytes()).simple().to_string()
}

fn say(method: &Method) -> Value {
    let Policy {
        timeout,
        max_timeout,
        min_budget,
        stuck_after,
        idempotent,
        stop,
        internal,
        on_timeout,
        on_stop,
        // The owner's.
        allow: _,
        poll: _,
    } = &method.policy;
    let text = |duration| humantime::format_duration(duration).to_string();
    let lane = &method.lane;
    let mut said = json!({
        "description": method.description,
        "lane": {"name": lane.name, "concurrency": lane.concurrency, "depth": lane.depth},
        "params": method.params.as_ref().map(Params::properties).unwrap_or_default(),
        "timeout": text(*timeout),
        "max_timeout": text(*max_timeout),
        "min_budget": text(*min_budget),
        "stuck_after": text(*stuck_after),
        "idempotent": idempotent,
        "stop": stop,
        "internal": internal,
    });
    for (key, target) in [("on_timeout", on_timeout), ("on_stop", on_stop)] {
        if let (Some(target), Some(said)) = (target, said.as_object_mut()) {
            said.insert(key.into(), target.as_str().into());
        }
    }
    said
}

fn parse(text: &str, plugin: &str) -> Result<Description, String> {
    if text.len() > MAX_DESCRIPTION_LEN {
        return Err(format!("it has {} bytes, and at most {MAX_DESCRIPTION_LEN} are read", text.len()));
    }
    let said: Said =
        serde_json::from_str(text).map_err(|e| format!("it is not JSON of the right form: {e}"))?;
    if said.methods.is_empty() {
        return Err("it has no methods".into());
    }
    if said.methods.len() > MAX_METHODS {
        return Err(format!("it has {} methods, and at most {MAX_METHODS} are taken", said.methods.len()));
    }
    let mut patterns = 0;
    let mut methods: Vec<Method> = Vec::new();
    for (name, keys) in &said.methods {
        check_name(name).map_err(|e| e.to_string())?;
        let method = method(plugin, name, keys.clone(), &said.lane, &mut patterns)
            .map_err(|message| format!("methods.{name:?}: {message}"))?;
        if let Some(other) =
            methods.iter().find(|other| other.lane.name == method.lane.name && other.lane != method.lane)
        {
            return Err(format!(
                "methods.{name:?}: its lane has another concurrency or depth than that of {:?}",
                other.name
            ));
        }
        methods.push(method);
    }
    for method in &methods {
        for (key, target) in [("on_timeout", &method.policy.on_timeout), ("on_stop", &method.policy.on_stop)]
        {
            let Some(target) = target else { continue };
            if !said.methods.contains_key(target) {
                let names = said.methods.keys().map(String::as_str).collect::<Vec<_>>();
                let hint = hint(target, names.into_iter().take(8).collect::<Vec<_>>());
                return Err(format!(
                    "methods.{:?}: `{key}` is {target:?}, which is no method of this plugin{hint}",
                    method.name
                ));
            }
        }
    }
    Ok(Description { methods, fingerprint: said.fingerprint.map(|text| text.chars().take(64).collect()) })
}

fn method(
    plugin: &str,
    name: &str,
    mut keys: Map<String, Value>,
    of_all: &LaneSaid,
    patterns: &mut usize,
) -> Result<Method, String> {
    let own = keys.remove("lane").map(serde_json::from_value::<LaneSaid>).transpose();
    let own = own.map_err(|e| format!("`lane`: {e}"))?;
    if let Some(key) = keys.keys().find(|key| OWNERS_KEYS.contains(&key.as_str())) {
        return Err(format!("`{key}` is not for a plugin to say; the machine's owner does, in plugins.d"));
    }
    let known = || COMMON_KEYS.iter().copied().filter(|key| !OWNERS_KEYS.contains(key)).chain(["lane"]);
    if let Some(key) = keys.keys().find(|key| !known().any(|known| known == key.as_str())) {
        return Err(format!("unknown key `{key}`{}", hint(key, known().collect::<Vec<_>>())));
    }
    for (param, schema) in keys.get("params").and_then(Value::as_object).into_iter().flatten() {
        bounded(schema, patterns, &mut 0).map_err(|message| format!("`params.{param}`: {message}"))?;
    }
    let common: CommonKeys = serde_json::from_value(Value::Object(keys)).map_err(|e| e.to_string())?;
    let policy = common.policy().map_err(|e| e.to_string())?;
    let params = (!common.params.is_empty())
        .then(|| Params::new(&common.params).map_err(|e| e.to_string()))
        .transpose()?;
    Ok(Method {
        name: name.to_owned(),
        description: common.description,
        origin: plugin.to_owned(),
        place: None,
        lane: lane(plugin, own.as_ref().unwrap_or(of_all))?,
        policy,
        // A plugin that declares none takes none: a bare object passes.
        params: params.or_else(|| Params::new(&Map::new()).ok()),
    })
}

/// Under the plugin's own name: it cannot stand in anybody else's way.
fn lane(plugin: &str, said: &LaneSaid) -> Result<Lane, String> {
    let concurrency = said.concurrency.unwrap_or(NonZeroU16::MIN);
    let depth = said.depth.unwrap_or(Lane::DEFAULT_DEPTH);
    if concurrency.get() > WIDEST_LANE || depth > WIDEST_LANE {
        return Err(format!("`lane`: `concurrency` and `depth` are at most {WIDEST_LANE}"));
    }
    let name = match &said.name {
        Some(name) if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) => {
            return Err("`lane.name` must be a text of 1 to 128 bytes".into());
        }
        Some(name) => format!("plugin:{plugin}/{name}"),
        None => format!("plugin:{plugin}"),
    };
    Ok(Lane { name, concurrency, depth })
}

/// Whether looking at parameters by this schema can take no longer than their own length allows.
fn bounded(schema: &Value, patterns: &mut usize, alternatives: &mut usize) -> Result<(), String> {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match keyword.as_str() {
                    // Where they nest, each level looks several times at what is below it.
                    "$ref" | "$defs" | "unevaluatedItems" | "unevaluatedProperties" => {
                        return Err(format!("`{keyword}` cannot be used by a plugin"));
                    }
                    // Each looks at the same value: with many of them, and a long list of values, that takes seconds.
                    "allOf" | "anyOf" | "oneOf" | "dependentSchemas" => {
                        let count = value.as_array().map_or(0, Vec::len);
                        let count = value.as_object().map_or(count, Map::len);
                        *alternatives = alternatives.saturating_add(count);
                    }
                    "pattern" | "patternProperties" => *patterns = patterns.saturating_add(1),
                    _ => {}
                }
                if *patterns > MAX_PATTERNS {
                    return Err(format!("the plugin has more than {MAX_PATTERNS} patterns"));
                }
                if *alternatives > MAX_ALTERNATIVES {
                    return Err(format!(
                        "it has more than {MAX_ALTERNATIVES} schemas in `{keyword}` and the like"
                    ));
                }
                bounded(value, patterns, alternatives)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| bounded(item, patterns, alternatives)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NAME: &str = "com.example.Gate";

    fn gate() -> Value {
        json!({
            "lane": {"depth": 4},
            "methods": {
                "gate.open": {
                    "description": "Opens the gate",
                    "params": {"percent": {"type": "integer", "minimum": 0, "maximum": 100}},
                    "timeout": "800ms",
                    "on_timeout": "gate.halt"
                },
                "gate.halt": {"stop": true, "idempotent": true},
                "lamp.set": {"lane": {"name": "lamp", "concurrency": 2}, "params": {"on": {"type": "boolean"}}}
            }
        })
    }

    #[test]
    fn a_description_is_read_and_said_again() {
        let described = Description::parse(&gate().to_string(), NAME).unwrap();
        let [halt, open, lamp] = &described.methods[..] else { panic!("three methods") };
        assert_eq!(halt.lane, Lane { depth: 4, ..Lane::exclusive("plugin:com.example.Gate") });
        assert!(halt.policy.stop && halt.policy.idempotent && !open.policy.stop);
        assert_eq!(open.policy.timeout, Duration::from_millis(800));
        assert_eq!(open.policy.on_timeout.as_deref(), Some("gate.halt"));
        assert_eq!(lamp.lane.name, "plugin:com.example.Gate/lamp");
        assert_eq!(lamp.lane.concurrency.get(), 2);
        assert!(halt.params.as_ref().unwrap().check(json!({"x": 1})).is_err(), "it declares none");
        let again = Description::parse(&Description::text(&described.methods, "f"), "x.y").unwrap();
        assert_eq!(again.fingerprint.as_deref(), Some("f"));
        for (one, other) in described.methods.iter().zip(&again.methods) {
            assert_eq!((&one.name, &one.policy), (&other.name, &other.policy));
            assert_eq!(
                one.params.as_ref().map(Params::properties),
                other.params.as_ref().map(Params::properties)
            );
            assert_eq!((one.lane.concurrency, one.lane.depth), (other.lane.concurrency, other.lane.depth));
        }
    }

    #[test]
    fn what_breaks_the_contract_is_told_by_method_and_key() {
        let with = |key: &str, value: Value| {
            let mut gate = gate();
            gate["methods"]["gate.open"][key] = value;
            gate
        };
        let many = |n: usize| json!({"methods": (0..n).map(|i| (format!("m{i}"), json!({}))).collect::<Map<_, _>>()});
        let pattern = json!({"type": "string", "pattern": "a"});
        for (said, expected) in [
            (json!([]), "not JSON of the right form"),
            (json!({"methods": {}}), "no methods"),
            (many(MAX_METHODS + 1), "257 methods"),
            (json!({"methods": {"nowd.methods": {}}}), "is kept for the gateway"),
            (json!({"methods": {"a/b": {}}}), "cannot be a method's name"),
            (json!({"methods": {"a\u{202e}b": {}}}), "cannot be a method's name"),
            (
                with("timout", json!("1s")),
                "methods.\"gate.open\": unknown key `timout`; did you mean `timeout`?",
            ),
            (with("timeout", json!(800)), "methods.\"gate.open\": "),
            (with("timeout", json!("0s")), "must be longer than 0"),
            (with("allow", json!(["*"])), "`allow` is not for a plugin to say"),
            (with("poll", json!("1s")), "`poll` is not for a plugin to say"),
            (with("on_timeout", json!("door.unlock")), "no method of this plugin"),
            (with("lane", json!({"concurrency": 1000})), "at most 256"),
            (with("lane", json!({"concurrency": 2})), "another concurrency or depth"),
            (with("params", json!({"x": {"$ref": "#"}})), "`params.x`: `$ref` cannot be used"),
            (with("lane", json!({"a\nb": 1})), "unknown field `a b`"),
            (with("params", json!({"x": {"maximun": 1}})), "`maximun` is no keyword"),
            (
                with(
                    "params",
                    json!({"x": {"items": {"enum": [1], "pattern": "a", "prefixItems": vec![pattern; 64]}}}),
                ),
                "more than 64 patterns",
            ),
            (
                with("params", json!({"x": {"items": {"anyOf": vec![json!({"const": 1}); 65]}}})),
                "more than 64 schemas in `anyOf`",
            ),
            (
                with("params", json!({"x": {"unevaluatedProperties": false}})),
                "`unevaluatedProperties` cannot be used",
            ),
        ] {
            let found = Description::parse(&said.to_string(), NAME).unwrap_err().to_string();
            assert!(found.starts_with("com.example.Gate describes itself wrongly: "), "{found}");
            assert!(found.contains(expected), "{found} does not say: {expected}");
        }
        let long = format!("{}{}", gate(), " ".repeat(MAX_DESCRIPTION_LEN));
        assert!(Description::parse(&long, NAME).unwrap_err().message.contains("bytes"));
        assert!(Description::parse(&"[".repeat(100_000), NAME).is_err());
    }
}
