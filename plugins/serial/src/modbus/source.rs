//! Where a written value comes from: the map itself, or a parameter of the call. Encodes nothing.

use nowd_plugin::Call;
use nowd_plugin::map::MapError;
use nowd_plugin::params::Derived;
use nowd_plugin::template::{Template, param};
use serde_json::Value;

use super::item::{Item, Shape};
use super::keys::Keys;

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The map says it.
    Fixed(Value),
    /// A parameter, with its JSON type.
    Param(String),
    /// A text with parameters in it, and as the map has it.
    Text(Template, String),
    /// One for each value.
    List(Vec<Source>),
}

impl Source {
    /// Reads `value` of an item that is written. `derived` takes what the item says of parameters.
    pub(crate) fn parse(keys: &Keys<'_>, item: &Item, derived: &mut Vec<Derived>) -> Result<Self, MapError> {
        let value = keys.get("value").ok_or_else(|| {
            keys.whole("says no value to write; add one, such as value = \"$level\", or `read` it instead")
        })?;
        let source = match (value, item.count) {
            (Value::Array(values), Some(count)) if values.len() == usize::from(count) => {
                let sources = values.iter().enumerate().map(|(index, value)| {
                    Self::one(keys, &format!("value[{index}]"), value, item, true, derived)
                });
                Self::List(sources.collect::<Result<_, _>>()?)
            }
            (Value::Array(values), Some(count)) => {
                let message = format!("has {} values, and `count` says {count}", values.len());
                return Err(keys.error("value", message));
            }
            (Value::Array(values), None) => {
                let message = format!("is a list; add count = {}", values.len());
                return Err(keys.error("value", message));
            }
            (value, _) => Self::one(keys, "value", value, item, false, derived)?,
        };
        // What the map says itself can be tried now.
        if let Some(fixed) = source.fixed() {
            let tried = if item.table.of_bits() {
                item.encode_bits(&fixed).map(|_| ())
            } else {
                item.encode(&fixed).map(|_| ())
            };
            tried.map_err(|e| keys.error("value", e))?;
        }
        Ok(source)
    }

    fn one(
        keys: &Keys<'_>,
        key: &str,
        value: &Value,
        item: &Item,
        element: bool,
        derived: &mut Vec<Derived>,
    ) -> Result<Self, MapError> {
        let Value::String(text) = value else { return Ok(Self::Fixed(value.clone())) };
        let template = Template::parse(text).map_err(|e| keys.error(key, e))?;
        if let Some(name) = text.strip_prefix('$')
            && template.params().eq([name])
        {
            derived.push(Derived {
                param: name.to_owned(),
                schema: item.schema(element),
                place: format!("the {} ({})", item.place(), item.kind()),
                path: format!("{}.{key}", keys.path),
            });
            return Ok(Self::Param(name.to_owned()));
        }
        if matches!(item.shape, Shape::Text(_)) {
            return Ok(Self::Text(template, text.clone()));
        }
        let message = format!(
            "{text:?} is a text, and a {} goes there: a value, or one parameter such as \"$level\"",
            item.kind()
        );
        Err(keys.error(key, message))
    }

    fn fixed(&self) -> Option<Value> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::List(sources) => sources.iter().map(Self::fixed).collect(),
            Self::Param(_) | Self::Text(..) => None,
        }
    }

    /// The texts with parameters in them, whose types nothing is known of.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let sources =
            if let Self::List(sources) = self { sources.as_slice() } else { std::slice::from_ref(self) };
        sources
            .iter()
            .filter_map(|source| if let Self::Text(template, _) = source { Some(template) } else { None })
    }

    /// The value for a call.
    pub(crate) fn value(&self, call: &Call) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Param(name) => param(call, name).cloned().unwrap_or_default(),
            Self::Text(template, _) => Value::String(template.text(call)),
            Self::List(sources) => sources.iter().map(|source| source.value(call)).collect(),
        }
    }

    /// What a mistake in its value is a mistake of.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Param(name) => format!("request.{name}"),
            Self::Fixed(_) | Self::Text(..) | Self::List(_) => "request".into(),
        }
    }

    /// For people, as the map says it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Fixed(value) => value.to_string(),
            Self::Param(name) => format!("${name}"),
            Self::Text(_, text) => format!("{text:?}"),
            Self::List(sources) => {
                format!("[{}]", sources.iter().map(Self::words).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
