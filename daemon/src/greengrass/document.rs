//! What was deployed to this core through Greengrass: a layer of the configuration, and files of maps and drop-ins.
//!
//! Pure: it reads no file, no environment and no clock. What is wrong is said with the component and the key.

use std::collections::BTreeMap;

use nowd_plugin::map::MapSource;
use nowd_plugin::words::{hint, nearest};
use nowd_protocol::Level;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Config, ConfigError, Via};
pub(crate) use layer::Layer;
use layer::layer;

/// The most that is taken in all, in bytes of JSON.
pub(crate) const LARGEST: usize = 1024 * 1024;
/// How many components of maps there may be, and how many files in each folder of a component.
const MOST_COMPONENTS: usize = 32;
const MOST_FILES: usize = 256;
/// The longest name of a component (Greengrass's own bound) or of a file (the kernel's), in bytes.
const LONGEST_COMPONENT: usize = 128;
const LONGEST_FILE: usize = 255;
/// The longest sentence about a mistake, in characters.
const LONGEST_MESSAGE: usize = 1_000;
/// What a gateway is called beside the core's own thing.
const SUFFIX: &str = "-nowd";

const MAPS: &str = "methods.d";
const DROP_INS: &str = "plugins.d";
/// What may stand in a component configuration; the first is the nucleus's.
pub(crate) const KEYS: [&str; 5] = ["accessControl", "nowd", MAPS, DROP_INS, "maps"];

/// What was deployed to this core: what the nucleus says of itself, the component configuration, and those of components of maps.
/// Kept as `greengrass.json`; what this version does not know in it is passed over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployed {
    /// What holds where nothing else says it.
    pub(crate) nucleus: Nucleus,
    /// The component configuration, without what is the nucleus's.
    pub(crate) component: Map<String, Value>,
    /// The configurations of the components that `maps` names, by their names.
    pub(crate) components: BTreeMap<String, Map<String, Value>>,
}

/// What the nucleus says of the core.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Nucleus {
    /// The core's thing.
    pub(crate) thing_name: Option<String>,
    /// The data endpoint.
    pub(crate) endpoint: Option<String>,
    /// The file of the authorities.
    pub(crate) root_ca: Option<String>,
}

/// Which keys hold what the nucleus says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OfNucleus {
    pub(crate) target: bool,
    pub(crate) endpoint: bool,
}

/// The same, read.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The keys of `nowd.toml`.
    pub(crate) layer: Layer,
    /// The files of `methods.d` of all components.
    pub(crate) maps: Vec<MapSource>,
    /// The files of `plugins.d` of all components.
    pub(crate) drop_ins: Vec<MapSource>,
}

impl Deployed {
    /// The same with another component configuration.
    pub(crate) fn with_component(mut self, configuration: Map<String, Value>) -> Self {
        self.component = configuration;
        self.component.remove("accessControl");
        self
    }

    /// The names of the components whose maps are used.
    pub(crate) fn names(&self) -> Result<Vec<String>, ConfigError> {
        names(&self.component)
    }

    /// Only what the nucleus says.
    pub(crate) fn of_nucleus(&self) -> Self {
        Self { nucleus: self.nucleus.clone(), ..Self::default() }
    }

    /// The same with a component of maps.
    pub(crate) fn add_component(&mut self, name: &str, mut configuration: Map<String, Value>) {
        configuration.remove("accessControl");
        self.components.insert(name.to_owned(), configuration);
    }

    /// Components of maps that nothing is known of.
    pub(crate) fn missing(&self) -> Vec<String> {
        // What is wrong with the names is said by whoever judges.
        let names = self.names().unwrap_or_default();
        names.into_iter().filter(|name| !self.components.contains_key(name)).collect()
    }

    /// Components of maps that nothing is known of are not missed; says which these are.
    pub(crate) fn pass_over_missing(&mut self) -> Result<Vec<String>, ConfigError> {
        let (known, missed): (Vec<String>, Vec<String>) =
            self.names()?.into_iter().partition(|name| self.components.contains_key(name));
        if !missed.is_empty() {
            let known = known.into_iter().map(Value::String).collect();
            self.component.insert("maps".into(), Value::Array(known));
        }
        Ok(missed)
    }

    /// A text of the component configuration, whatever else is wrong with that.
    pub(crate) fn text(&self, key: &[&str]) -> Option<String> {
        let (first, more) = key.split_first()?;
        let first = self.component.get("nowd")?.as_object()?.get(*first)?;
        Some(more.iter().try_fold(first, |value, key| value.as_object()?.get(*key))?.as_str()?.to_owned())
    }

    /// All of it, judged by itself. A component of maps that is not there is an error of its own.
    pub(crate) fn read(&self) -> Result<Document, ConfigError> {
        check_size(self)?;
        let whose = Whose::Own;
        check_keys(&self.component)?;
        let layer = whose.object(&self.component, "nowd")?.map(layer).transpose()?.unwrap_or_default();
        let mut maps = whose.files(&self.component, MAPS)?;
        let mut drop_ins = whose.files(&self.component, DROP_INS)?;
        for name in self.names()? {
            let whose = Whose::Other(&name);
            let Some(configuration) = self.components.get(&name) else {
                return Err(ConfigError::NotDeployed { component: name });
            };
            check_other(&whose, configuration)?;
            for (folder, all) in [(MAPS, &mut maps), (DROP_INS, &mut drop_ins)] {
                for (file, text) in whose.files(configuration, folder)? {
                    if let Some((_, other)) = all.iter().find(|(other, _)| *other == file) {
                        let message = format!(
                            "`{folder}/{file}` is also in the {}; give one of them another name",
                            other.file.split_once(',').map_or("", |(whose, _)| whose)
                        );
                        return Err(whose.error(message));
                    }
                    all.push((file, text));
                }
            }
        }
        let sorted = |mut all: Vec<(String, MapSource)>| {
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            all.into_iter().map(|(_, source)| source).filter(|source| !source.text.is_empty()).collect()
        };
        Ok(Document { layer, maps: sorted(maps), drop_ins: sorted(drop_ins) })
    }
}

impl Nucleus {
    /// Fills what everything else leaves out.
    pub(crate) fn complete(&self, config: &mut Config) -> OfNucleus {
        let mut of = OfNucleus::default();
        if config.target.is_none()
            && let Some(thing) = &self.thing_name
            && let Ok(target) = Level::new(match config.link.via {
                Via::Direct => format!("{thing}{SUFFIX}"),
                // The nucleus's connection is the core's.
                Via::Greengrass => thing.clone(),
            })
        {
            config.target = Some(target);
            of.target = true;
        }
        if config.link.endpoint.is_none()
            && let Some(endpoint) = self.endpoint.as_ref().filter(|endpoint| !endpoint.is_empty())
        {
            config.link.endpoint = Some(endpoint.clone());
            of.endpoint = true;
        }
        if config.link.tls && config.link.ca.is_none() && config.provisioning.ca.is_none() {
            config.link.ca = self.root_ca.as_ref().filter(|file| !file.is_empty()).map(Into::into);
        }
        of
    }
}

/// Whose configuration it is.
enum Whose<'a> {
    Own,
    Other(&'a str),
}

impl Whose<'_> {
    /// As people read it.
    fn words(&self) -> String {
        match self {
            Self::Own => "component configuration".into(),
            Self::Other(name) => format!("configuration of {name}"),
        }
    }

    fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Layer { origin: self.words(), message: shown(&message.into()) }
    }

    fn object<'o>(
        &self,
        of: &'o Map<String, Value>,
        key: &str,
    ) -> Result<Option<&'o Map<String, Value>>, ConfigError> {
        match of.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(other) => Err(self.error(format!("`{key}` must be an object, and is {}", kind(other)))),
        }
    }

    /// The files of a folder; an empty text is one that was taken away.
    fn files(&self, of: &Map<String, Value>, folder: &str) -> Result<Vec<(String, MapSource)>, ConfigError> {
        let Some(files) = self.object(of, folder)? else { return Ok(Vec::new()) };
        if files.len() > MOST_FILES {
            return Err(self.error(format!("`{folder}` has more than {MOST_FILES} files")));
        }
        let file = |(name, text): (&String, &Value)| {
            check_file_name(name).map_err(|why| self.error(format!("`{folder}`: {name:?} {why}")))?;
            let text = match text {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                Value::Object(pieces) => pieces::joined(pieces).ok_or_else(|| {
                    self.error(format!(
                        "`{folder}/{name}` must be a text that holds TOML, or an object of its pieces, which are texts; `last`, if it is there, \
                         names one of them"
                    ))
                })?,
                other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
                    let message = format!(
                        "`{folder}/{name}` must be a text that holds TOML, or an object of its pieces, and is {}",
                        kind(other)
                    );
                    return Err(self.error(message));
                }
            };
            let source = MapSource { file: format!("{}, {folder}/{name}", self.words()), text };
            Ok((name.clone(), source))
        };
        files.iter().map(file).collect()
    }
}

/// Keys come from afar, and may be long or hold anything.
pub(crate) fn shown(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect()
}

fn check_size(deployed: &Deployed) -> Result<(), ConfigError> {
    let size = serde_json::to_vec(deployed).map_or(usize::MAX, |bytes| bytes.len());
    if size > LARGEST {
        return Err(Whose::Own.error(format!("it has {size} bytes with its maps, and {LARGEST} are taken")));
    }
    Ok(())
}

fn check_keys(configuration: &Map<String, Value>) -> Result<(), ConfigError> {
    let Some(key) = configuration.keys().find(|key| !KEYS.contains(&key.as_str())) else { return Ok(()) };
    // Beside `nowd` instead of in it is the likeliest mistake.
    let alone = Value::Object([(key.clone(), Value::Object(Map::new()))].into_iter().collect());
    let tried = serde_json::from_value::<Config>(alone);
    let inside = tried.err().is_none_or(|e| !e.to_string().contains("unknown field"));
    let hint = if inside {
        format!("; it belongs into `nowd`: {{\"nowd\": {{{key:?}: ..}}}}")
    } else {
        hint(key, KEYS)
    };
    Err(Whose::Own.error(format!("unknown key `{key}`{hint}")))
}

/// What else another component is configured with is its own.
fn check_other(whose: &Whose<'_>, configuration: &Map<String, Value>) -> Result<(), ConfigError> {
    let folders = [MAPS, DROP_INS];
    let others = configuration.keys().filter(|key| !folders.contains(&key.as_str()));
    let misspelt = |key: &&String| *key != "maps" && nearest(key, folders).is_some();
    if let Some(key) = others.into_iter().find(misspelt) {
        return Err(whose.error(format!("unknown key `{key}`{}", hint(key, folders))));
    }
    if !folders.iter().any(|folder| configuration.contains_key(*folder)) {
        let message = format!("has neither `{MAPS}` nor `{DROP_INS}`; take it out of `maps`");
        return Err(whose.error(message));
    }
    Ok(())
}

fn names(configuration: &Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    let own = Whose::Own;
    let list = match configuration.get("maps") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) if one.is_empty() => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            let name = |value: &Value| value.as_str().map(str::to_owned);
            let names: Option<Vec<String>> = many.iter().map(name).collect();
            names.ok_or_else(|| own.error("`maps` must hold names of components, as texts"))?
        }
        Some(other) => {
            let message = format!("`maps` must be a list of names of components, and is {}", kind(other));
            return Err(own.error(message));
        }
    };
    if list.len() > MOST_COMPONENTS {
        return Err(own.error(format!("`maps` names more than {MOST_COMPONENTS} components")));
    }
    let is_name = |name: &str| {
        (1..=LONGEST_COMPONENT).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if let Some(name) = list.iter().find(|name| !is_name(name)) {
        return Err(own.error(format!("`maps`: {name:?} is no name of a component")));
    }
    let mut names: Vec<String> = Vec::new();
    for name in list {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn check_file_name(name: &str) -> Result<(), &'static str> {
    let toml = std::path::Path::new(name).extension().is_some_and(|extension| extension == "toml");
    if !toml || name.starts_with('.') {
        return Err("must be the name of a file that ends in .toml, such as window.toml");
    }
    if name.contains('/') || name.contains(char::is_control) || name.len() > LONGEST_FILE {
        return Err("must be a plain name of a file, such as window.toml, without a folder");
    }
    Ok(())
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

mod layer;
mod pieces;
#[cfg(test)]
mod tests;
