//! Drop-ins: files that name a plugin in a process of its own, and narrow what it describes.
//!
//! The form is that of a method map, with the table `[plugin]` in the backend's place and methods only where something
//! is said of them. What a method's keys can say here is less: the times can only get shorter, the parameters fewer.
//!
//! What it never does: let a drop-in widen what its plugin offers, or fail because of what a plugin says.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::common::CommonKeys;
use super::{Keys, LaneTable, MapError, MapOrigin, MapSource, Source};
use crate::method::{Lane, Method, Policy};
use crate::params::Params;
use crate::words::{hint, nearest};

const TABLES: [&str; 3] = ["plugin", "lane", "methods"];

/// A drop-in: `P` is the table `[plugin]`.
#[derive(Debug, Clone)]
pub struct DropInFile<P> {
    /// `[plugin]`.
    pub plugin: P,
    /// `[lane]`.
    pub lane: LaneTable,
    /// What is said of methods, in the order of their names.
    pub methods: Vec<Narrowing>,
    place: MapOrigin,
}

/// What a drop-in says of one method.
#[derive(Debug, Clone)]
pub struct Narrowing {
    /// The method's name.
    pub name: String,
    /// Where it stands.
    pub origin: MapOrigin,
    keys: CommonKeys,
}

impl<P: DeserializeOwned> DropInFile<P> {
    /// Reads a drop-in.
    ///
    /// # Errors
    /// The first mistake, with its place: also a key that would widen what the plugin describes.
    pub fn parse(text: &MapSource) -> Result<Self, MapError> {
        let text = Arc::new(text.clone());
        let source = Source::of(&text);
        let mut table = source.parse()?;
        let mut place = None;
        for key in table.keys() {
            let name: &str = key.get_ref();
            let origin = source.place(vec![name.to_owned()], key.span());
            if !TABLES.contains(&name) {
                return Err(origin.error(format!("unknown table [{name}]{}", hint(name, TABLES))));
            }
            if name == "plugin" {
                place = Some(origin);
            }
        }
        let missing = || {
            source
                .origin(0..0)
                .error("the drop-in has no [plugin] table; add it, with `name` and `path` of the plugin")
        };
        let place = place.ok_or_else(missing)?;
        let plugin = source.take(&mut table, "plugin")?.ok_or_else(missing)?;
        let lane = source.take(&mut table, "lane")?.unwrap_or_default();
        let mut methods = Vec::new();
        for (name, keys) in source.methods(&mut table)? {
            let Keys { name, origin, common: keys, .. } = source.keys(&name, keys, &[])?;
            keys.check_narrowing().map_err(|e| origin.at(e.key).error(e))?;
            Params::new(&keys.params).map_err(|e| e.at(&origin))?;
            for (param, schema) in &keys.params {
                if refers(schema) {
                    let path = format!("params.{param}");
                    let message = format!(
                        "`{path}` has a `$ref`, which cannot be put together with what the plugin describes; write it out"
                    );
                    return Err(origin.at(&path).error(message));
                }
            }
            methods.push(Narrowing { name, origin, keys });
        }
        Ok(Self { plugin, lane, methods, place })
    }

    /// The place of `[plugin]`, for errors about it.
    #[must_use]
    pub fn origin(&self) -> MapOrigin {
        self.place.clone()
    }
}

impl Narrowing {
    /// What is left of a method that a plugin describes; and sentences, each with its place, about what does not go with
    /// the description. Where that would leave something open that the drop-in means to close, nothing is left: see
    /// [`withheld`].
    ///
    /// Compiles schemas that a plugin has made: not to be called where calls wait for it.
    #[must_use]
    pub fn narrow(&self, described: &Method) -> (Method, Vec<String>) {
        let mut notes = Vec::new();
        let Some(params) = self.params(described.params.as_ref(), &mut notes) else {
            let (origin, place) = (self.origin.to_string(), Some(self.origin.clone()));
            let policy = self.keys.narrow(&described.policy);
            return (withheld(&Method { origin, place, policy, ..described.clone() }), notes);
        };
        let mut policy = self.keys.narrow(&described.policy);
        let required = params.required().next().map(str::to_owned);
        let note = |key: &str, message: String| self.origin.at(key).error(message).to_string();
        if policy.poll.is_some() && policy.stop {
            policy.poll = None;
            let message =
                "the plugin says that this is a `stop` method, which cannot be polled; `poll` is left out";
            notes.push(note("poll", message.into()));
        } else if let (Some(_), Some(param)) = (policy.poll, required) {
            policy.poll = None;
            let message = format!(
                "the method is polled, and the gateway has no value for its parameter {param:?}; give it a default; until then `poll` is left out"
            );
            notes.push(note("poll", message));
        }
        let method = Method {
            name: described.name.clone(),
            description: Some(self.keys.description.clone())
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| described.description.clone()),
            origin: self.origin.to_string(),
            place: Some(self.origin.clone()),
            lane: described.lane.clone(),
            policy,
            params: Some(params),
        };
        (method, notes)
    }

    /// The method, where no plugin has described it: something to be told of as long as it is not there. It takes anything,
    /// and names no safe action, since none of its calls can be started.
    #[must_use]
    pub fn placeholder(&self, lane: Lane) -> Method {
        let policy = self.keys.over_defaults();
        Method {
            name: self.name.clone(),
            description: self.keys.description.clone(),
            origin: self.origin.to_string(),
            place: Some(self.origin.clone()),
            lane,
            policy: Policy { on_timeout: None, on_stop: None, poll: None, ..policy },
            params: None,
        }
    }

    /// What both schemas allow; `None` if the drop-in says something that cannot be followed.
    fn params(&self, described: Option<&Params>, notes: &mut Vec<String>) -> Option<Params> {
        if self.keys.params.is_empty() {
            return described.cloned();
        }
        let Some(params) = described else { return Params::new(&self.keys.params).ok() };
        let mut all = params.properties();
        let mut last = Params::new(&all).ok();
        let mut followed = true;
        for (name, ours) in &self.keys.params {
            let path = format!("params.{name}");
            let mut note = |message: String| notes.push(self.origin.at(&path).error(message).to_string());
            let Some(theirs) = all.get(name) else {
                let known: Vec<&str> = all.keys().map(String::as_str).take(8).collect();
                let hint = hint(name, known);
                note(format!(
                    "the plugin's {0} has no parameter {name:?}{hint}; until this is mended {0} is unavailable",
                    self.name
                ));
                followed = false;
                continue;
            };
            let mut made = None;
            for schema in candidates(theirs, ours) {
                let mut with = all.clone();
                with.insert(name.clone(), schema);
                if let Ok(params) = Params::new(&with) {
                    made = Some((with, params));
                    break;
                }
                note(format!(
                    "the default of {name:?} is not what plugin and drop-in both allow, so callers have to say it"
                ));
            }
            if let Some((with, params)) = made {
                (all, last) = (with, Some(params));
            } else {
                // Cannot be, since both are right by themselves.
                note(format!(
                    "{name:?} cannot be narrowed; until this is mended {} is unavailable",
                    self.name
                ));
                followed = false;
            }
        }
        last.filter(|_| followed)
    }
}

/// Both schemas in one: with its default, and without.
fn candidates(theirs: &Value, ours: &Value) -> Vec<Value> {
    let default = ours.get("default").or_else(|| theirs.get("default")).cloned();
    let mut both = match theirs {
        Value::Object(keywords) => keywords.clone(),
        Value::Bool(true) => Map::new(),
        // Nothing is allowed, and so it stays.
        Value::Bool(false) | Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return vec![theirs.clone()];
        }
    };
    both.remove("default");
    let mut ours = ours.clone();
    if let Some(keywords) = ours.as_object_mut() {
        keywords.remove("default");
        if let Some(description) = keywords.remove("description") {
            both.insert("description".into(), description);
        }
    }
    if ours.as_object().is_none_or(|keywords| !keywords.is_empty()) {
        let all = both.entry("allOf").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(all) = all.as_array_mut() {
            all.push(ours);
        }
    }
    let bare = Value::Object(both.clone());
    let Some(default) = default else { return vec![bare] };
    both.insert("default".into(), default);
    vec![Value::Object(both), bare]
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(keywords) => keywords
            .iter()
            .any(|(keyword, value)| matches!(keyword.as_str(), "$ref" | "$defs") || refers(value)),
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A method that is told of and cannot be called, because a drop-in says something of it that cannot be followed.
#[must_use]
pub fn withheld(described: &Method) -> Method {
    let policy = Policy { on_timeout: None, on_stop: None, poll: None, ..described.policy.clone() };
    Method { params: None, policy, ..described.clone() }
}

impl Narrowing {
    /// Says that the plugin describes others, and which one was probably meant. Where the drop-in `names` nothing of that one, it
    /// comes back: it must be [`withheld`].
    #[must_use]
    pub fn undescribed<'m>(
        &self,
        plugin: &str,
        described: impl IntoIterator<Item = &'m str>,
        names: impl Fn(&str) -> bool,
    ) -> (String, Option<&'m str>) {
        let meant = nearest(&self.name, described);
        let open = meant.filter(|meant| !names(meant));
        let hint = match (meant, open) {
            (Some(meant), None) => format!("did you mean {meant:?}?"),
            (_, Some(meant)) => {
                format!("did you mean {meant:?}? until this is mended both are unavailable")
            }
            (None, None) => "its calls are unavailable".into(),
        };
        let note = format!("{plugin} describes no method {:?}; {hint}", self.name);
        (self.origin.error(note).to_string(), open)
    }
}
