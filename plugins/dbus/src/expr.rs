//! Values of a map, with placeholders: what is sent, and what a signal is compared with. Pure.

use std::fmt;

use nowd_plugin::map::{MapError, MapOrigin};
use nowd_plugin::params::Derived;
use nowd_plugin::template::Template;
use nowd_plugin::{Call, words};
use serde_json::{Map, Value};
use zbus::Signature;

use crate::convert::Given;
use crate::json::{clip, write_list, write_table};
use crate::types;

/// How deep values may nest.
const MAX_DEPTH: usize = 16;

/// The key that says the type of a variant's content.
const TYPE: &str = "$type";

/// A value with placeholders.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    /// The same for every call.
    Literal(Value),
    /// A parameter by itself: keeps its JSON type.
    Param { name: String, template: Template },
    /// A text with placeholders.
    Template { text: String, template: Template },
    /// `[...]`
    Array(Vec<Expr>),
    /// `{ key = ... }`
    Object(Vec<(String, Expr)>),
    /// `{ "$type" = "u", value = ... }`
    Typed { signature: Signature, value: Box<Expr> },
}

/// A parameter that is used, and the path of the key where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) param: String,
    pub(crate) path: String,
}

/// Reads values, and remembers which parameters they use.
pub(crate) struct Reader<'a> {
    pub(crate) origin: &'a MapOrigin,
    pub(crate) uses: Vec<Use>,
}

impl Reader<'_> {
    /// The value that stands at `path`.
    pub(crate) fn expr(&mut self, value: &toml::Value, path: &str) -> Result<Expr, MapError> {
        self.nested(value, path, 0)
    }

    fn nested(&mut self, value: &toml::Value, path: &str, depth: usize) -> Result<Expr, MapError> {
        let place = || self.origin.at(path);
        if depth > MAX_DEPTH {
            return Err(place().error(format!("a value nests deeper than {MAX_DEPTH} levels")));
        }
        Ok(match value {
            toml::Value::String(text) if text.contains('$') => self.template(text, path)?,
            toml::Value::String(text) => Expr::Literal(text.as_str().into()),
            toml::Value::Integer(number) => Expr::Literal((*number).into()),
            toml::Value::Float(number) if number.is_finite() => Expr::Literal((*number).into()),
            toml::Value::Float(number) => {
                return Err(place().error(format!("{number} is not a number that JSON knows")));
            }
            toml::Value::Boolean(flag) => Expr::Literal((*flag).into()),
            toml::Value::Datetime(time) => {
                return Err(
                    place().error(format!("{time} is a date, which D-Bus does not know; write a text"))
                );
            }
            toml::Value::Array(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(at, item)| self.nested(item, &format!("{path}[{at}]"), depth + 1));
                Expr::Array(items.collect::<Result<_, _>>()?)
            }
            toml::Value::Table(entries) if entries.contains_key(TYPE) => self.typed(entries, path, depth)?,
            toml::Value::Table(entries) => {
                let mut read = Vec::new();
                for (key, item) in entries {
                    let key = plain_key(key, path, self.origin)?;
                    read.push((key, self.nested(item, &format!("{path}.{key}"), depth + 1)?));
                }
                Expr::Object(read.into_iter().map(|(key, item)| (key.to_owned(), item)).collect())
            }
        })
    }

    fn template(&mut self, text: &str, path: &str) -> Result<Expr, MapError> {
        let place = || self.origin.at(path);
        if text.starts_with("$call.reply") || text == "$*" {
            let name = clip(text, 40);
            return Err(place().error(format!("`{name}` stands only in `done`, by itself")));
        }
        let template = Template::parse(text).map_err(|e| place().error(clip(&e.to_string(), 300)))?;
        let params = template.params().map(str::to_owned);
        let uses: Vec<Use> = params.map(|param| Use { param, path: path.to_owned() }).collect();
        let lone = uses.first().filter(|only| text.strip_prefix('$') == Some(&only.param));
        let lone = lone.map(|only| only.param.clone());
        self.uses.extend(uses);
        Ok(match lone {
            Some(name) => Expr::Param { name, template },
            None => Expr::Template { text: text.to_owned(), template },
        })
    }

    fn typed(&mut self, entries: &toml::Table, path: &str, depth: usize) -> Result<Expr, MapError> {
        let inside = |key: &str| self.origin.at(&format!("{path}.{key}"));
        let form = "a typed value is { \"$type\" = \"u\", value = ... }";
        if let Some(other) = entries.keys().find(|key| !matches!(key.as_str(), TYPE | "value")) {
            return Err(inside(other).error(format!("unknown key `{}`; {form}", clip(other, 40))));
        }
        let Some(toml::Value::String(text)) = entries.get(TYPE) else {
            return Err(inside(TYPE).error(format!("`$type` must be a text; {form}")));
        };
        let signature = types::parse_type(text).map_err(|e| inside(TYPE).error(format!("`$type`: {e}")))?;
        let Some(value) = entries.get("value") else {
            return Err(inside(TYPE).error(format!("`value` is missing; {form}")));
        };
        let value = Box::new(self.nested(value, &format!("{path}.value"), depth + 1)?);
        Ok(Expr::Typed { signature, value })
    }
}

/// A key of a table of values: no placeholders; `$$` at its start is one `$`.
pub(crate) fn plain_key<'k>(key: &'k str, path: &str, origin: &MapOrigin) -> Result<&'k str, MapError> {
    match key.strip_prefix('$') {
        None => Ok(key),
        Some(literal) if literal.starts_with('$') => Ok(literal),
        Some(_) if key == TYPE => {
            Err(origin.at(path).error("types are said of what is sent; here write the value alone"))
        }
        Some(_) => {
            let hint = match words::nearest(key, [TYPE]) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => "write `$$` for a `$`".into(),
            };
            let message = format!("a key cannot be a parameter: {:?}; {hint}", clip(key, 40));
            Err(origin.at(&format!("{path}.{key}")).error(message))
        }
    }
}

impl Expr {
    /// The value for a call, on its way into a message.
    pub(crate) fn given(&self, call: &Call) -> Given {
        match self {
            Self::Literal(value) => value.clone().into(),
            Self::Param { name, template } => {
                Given::Json { value: template.value(call), from: Some(format!("request.{name}")) }
            }
            Self::Template { template, .. } => template.value(call).into(),
            Self::Array(items) => Given::Array(items.iter().map(|item| item.given(call)).collect()),
            Self::Object(entries) => {
                Given::Object(entries.iter().map(|(key, item)| (key.clone(), item.given(call))).collect())
            }
            Self::Typed { signature, value } => {
                Given::Typed { signature: signature.clone(), value: Box::new(value.given(call)) }
            }
        }
    }

    /// The value for a call, without the types that the map says.
    pub(crate) fn value(&self, call: &Call) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Param { template, .. } | Self::Template { template, .. } => template.value(call),
            Self::Array(items) => items.iter().map(|item| item.value(call)).collect(),
            Self::Object(entries) => {
                let entries = entries.iter().map(|(key, item)| (key.clone(), item.value(call)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Self::Typed { value, .. } => value.value(call),
        }
    }

    /// The value, if it is the same for every call.
    pub(crate) fn literal(&self) -> Option<Given> {
        Some(match self {
            Self::Literal(value) => value.clone().into(),
            Self::Param { .. } | Self::Template { .. } => return None,
            Self::Array(items) => Given::Array(items.iter().map(Self::literal).collect::<Option<_>>()?),
            Self::Object(entries) => {
                let entries = entries.iter().map(|(key, item)| Some((key.clone(), item.literal()?)));
                Given::Object(entries.collect::<Option<_>>()?)
            }
            Self::Typed { signature, value } => {
                Given::Typed { signature: signature.clone(), value: Box::new(value.literal()?) }
            }
        })
    }

    /// What a type says of the parameters that are sent as it, or as a part of it.
    pub(crate) fn derive(&self, signature: &Signature, place: &str, path: &str, found: &mut Vec<Derived>) {
        match (self, signature) {
            (Self::Param { name, .. }, signature) => {
                // A variant takes anything, and so says nothing.
                if let (Value::Object(schema), false) =
                    (types::schema(signature), *signature == Signature::Variant)
                {
                    let place = format!("{place} ({})", clip(&signature.to_string(), 60));
                    found.push(Derived { param: name.clone(), schema, place, path: path.to_owned() });
                }
            }
            (Self::Typed { signature, value }, _) => {
                value.derive(signature, place, &format!("{path}.value"), found);
            }
            (Self::Array(items), Signature::Array(item)) => {
                for (at, value) in items.iter().enumerate() {
                    value.derive(item, &format!("{place}[{at}]"), &format!("{path}[{at}]"), found);
                }
            }
            (Self::Array(items), Signature::Structure(fields)) => {
                for (at, (value, field)) in items.iter().zip(fields.iter()).enumerate() {
                    value.derive(field, &format!("{place}[{at}]"), &format!("{path}[{at}]"), found);
                }
            }
            (Self::Array(items), _) => {
                for (at, value) in items.iter().enumerate() {
                    let item = Signature::Variant;
                    value.derive(&item, &format!("{place}[{at}]"), &format!("{path}[{at}]"), found);
                }
            }
            (Self::Object(entries), signature) => {
                let content =
                    if let Signature::Dict { value, .. } = signature { value } else { &Signature::Variant };
                for (key, value) in entries {
                    value.derive(content, &format!("{place}[{key:?}]"), &format!("{path}.{key}"), found);
                }
            }
            (Self::Literal(_) | Self::Template { .. }, _) => {}
        }
    }
}

/// As it stands in the map, for people.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => value.fmt(f),
            Self::Param { name, .. } => write!(f, "${name}"),
            Self::Template { text, .. } if text.contains(' ') => write!(f, "{text:?}"),
            Self::Template { text, .. } => f.write_str(text),
            Self::Typed { signature, value } => write!(f, "<{signature} {value}>"),
            Self::Array(items) => write_list(f, items),
            Self::Object(entries) => write_table(f, entries),
        }
    }
}
