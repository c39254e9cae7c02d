//! The signal that says that the work is done: what a map says of it, and which signals are it. Pure.

use std::fmt;

use nowd_plugin::Call;
use nowd_plugin::map::MapError;
use serde::Deserialize;
use serde_json::Value;

use crate::expr::{Expr, Reader, plain_key};
use crate::forms;
use crate::json::{clip, listed, same, write_list, write_table};

pub(crate) use self::missed::{MAX_VALUES, Missed, shown};

// With its path, for those who take this file into another crate.
#[path = "done/missed.rs"]
mod missed;

/// How deep a pattern may nest.
const MAX_DEPTH: usize = 16;

/// The key of alternatives.
const ANY: &str = "$any";

/// `done = { ... }`, as it stands in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoneKeys {
    #[serde(deserialize_with = "forms::done_signal")]
    pub(crate) signal: String,
    #[serde(default, deserialize_with = "forms::done_interface")]
    pub(crate) interface: Option<String>,
    #[serde(default, deserialize_with = "forms::done_path")]
    pub(crate) path: Option<String>,
    #[serde(default, deserialize_with = "forms::done_match")]
    pub(crate) r#match: Vec<toml::Value>,
    #[serde(default, deserialize_with = "forms::done_success")]
    pub(crate) success: Vec<toml::Value>,
}

/// A signal that says that the work is done.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) interface: String,
    pub(crate) signal: String,
    /// The object that sends it.
    pub(crate) path: Pattern,
    /// What the signal's first values must be.
    pub(crate) values: Vec<Pattern>,
    /// What they are where the work went well.
    pub(crate) success: Vec<Pattern>,
}

/// What a value must be.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// `$*`
    Any,
    /// `$call.reply[1]`
    Reply(ReplyPath),
    /// Equal to this.
    Equal(Expr),
    /// `{ "$any" = [2, 4] }`
    OneOf(Vec<Pattern>),
    /// As many items, each of which fits.
    Array(Vec<Pattern>),
    /// Has at least these, and they fit.
    Object(Vec<(String, Pattern)>),
}

/// A place in a reply: `$call.reply`, `$call.reply[1]`, `$call.reply.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Item(usize),
    Key(String),
}

/// A text is no place in a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a place in the reply, such as `$call.reply`, `$call.reply[1]` or `$call.reply.name`")]
pub(crate) struct ReplyPathError(String);

/// What a value of a signal must be, for one call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Match {
    /// Anything.
    Any,
    /// What stands at this place of a reply that has not come yet.
    Reply(ReplyPath),
    /// This.
    Equal(Value),
    /// One of these.
    OneOf(Vec<Match>),
    /// As many items, each of which fits.
    Array(Vec<Match>),
    /// Has at least these, and they fit.
    Object(Vec<(String, Match)>),
}

/// The signal that one call waits for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) destination: String,
    pub(crate) interface: String,
    pub(crate) signal: String,
    pub(crate) path: Match,
    pub(crate) values: Vec<Match>,
}

impl Reader<'_> {
    /// What `done` says; `path` and `interface` are the map's own.
    pub(crate) fn done(&mut self, keys: &DoneKeys, path: &str, interface: &str) -> Result<Done, MapError> {
        let values = self.patterns(&keys.r#match, "done.match", 0)?;
        let success = self.patterns(&keys.success, "done.success", 0)?;
        let path = match &keys.path {
            Some(text) => self.pattern(&toml::Value::String(text.clone()), "done.path", 0)?,
            None => Pattern::Equal(Expr::Literal(path.into())),
        };
        Ok(Done {
            interface: keys.interface.clone().unwrap_or_else(|| interface.to_owned()),
            signal: keys.signal.clone(),
            path,
            values,
            success,
        })
    }

    fn pattern(&mut self, value: &toml::Value, path: &str, depth: usize) -> Result<Pattern, MapError> {
        let place = || self.origin.at(path);
        Ok(match value {
            toml::Value::String(text) if text == "$*" => Pattern::Any,
            toml::Value::String(text) if text.starts_with("$call.reply") => {
                Pattern::Reply(ReplyPath::parse(text).map_err(|e| place().error(e))?)
            }
            _ if depth > MAX_DEPTH => {
                return Err(place().error(format!("a value nests deeper than {MAX_DEPTH} levels")));
            }
            toml::Value::Array(items) => Pattern::Array(self.patterns(items, path, depth)?),
            toml::Value::Table(entries) if entries.contains_key(ANY) => {
                match (entries.get(ANY), entries.len()) {
                    (Some(toml::Value::Array(items)), 1) if !items.is_empty() => {
                        Pattern::OneOf(self.patterns(items, &format!("{path}.{ANY}"), depth)?)
                    }
                    _ => {
                        let form = "alternatives are { \"$any\" = [2, 4] }, alone in their table";
                        return Err(place().error(form));
                    }
                }
            }
            toml::Value::Table(entries) => {
                let mut read = Vec::new();
                for (key, item) in entries {
                    let key = plain_key(key, path, self.origin)?;
                    read.push((key.to_owned(), self.pattern(item, &format!("{path}.{key}"), depth + 1)?));
                }
                Pattern::Object(read)
            }
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => Pattern::Equal(self.expr(value, path)?),
        })
    }
}

impl Reader<'_> {
    fn patterns(
        &mut self,
        items: &[toml::Value],
        path: &str,
        depth: usize,
    ) -> Result<Vec<Pattern>, MapError> {
        let items = items.iter().enumerate();
        items.map(|(at, item)| self.pattern(item, &format!("{path}[{at}]"), depth + 1)).collect()
    }
}

impl Pattern {
    /// What this is for a call.
    pub(crate) fn for_call(&self, call: &Call) -> Match {
        match self {
            Self::Any => Match::Any,
            Self::Reply(path) => Match::Reply(path.clone()),
            Self::Equal(expr) => Match::Equal(expr.value(call)),
            Self::OneOf(items) => Match::OneOf(items.iter().map(|item| item.for_call(call)).collect()),
            Self::Array(items) => Match::Array(items.iter().map(|item| item.for_call(call)).collect()),
            Self::Object(entries) => {
                Match::Object(entries.iter().map(|(key, item)| (key.clone(), item.for_call(call))).collect())
            }
        }
    }

    /// The text, where it is the same for every call.
    pub(crate) fn literal_text(&self) -> Option<&str> {
        match self {
            Self::Equal(Expr::Literal(value)) => value.as_str(),
            Self::Any
            | Self::Reply(_)
            | Self::Equal(_)
            | Self::OneOf(_)
            | Self::Array(_)
            | Self::Object(_) => None,
        }
    }
}

impl ReplyPath {
    /// Reads a place, `$call.reply` included.
    pub(crate) fn parse(text: &str) -> Result<Self, ReplyPathError> {
        let error = || ReplyPathError(clip(text, 100));
        let mut rest = text.strip_prefix("$call.reply").ok_or_else(error)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, tail) = if let Some(inside) = rest.strip_prefix('[') {
                let (index, tail) = inside.split_once(']').ok_or_else(error)?;
                let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
                let index = index.parse().ok().filter(|_| digits).ok_or_else(error)?;
                (Step::Item(index), tail)
            } else {
                let inside = rest.strip_prefix('.').ok_or_else(error)?;
                let end = inside.find(['[', '.']).unwrap_or(inside.len());
                let (key, tail) = inside.split_at(end);
                if key.is_empty() || key.contains(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c)) {
                    return Err(error());
                }
                (Step::Key(key.to_owned()), tail)
            };
            steps.push(step);
            if steps.len() > MAX_DEPTH {
                return Err(error());
            }
            rest = tail;
        }
        Ok(Self(steps))
    }

    /// What stands there.
    pub(crate) fn find<'v>(&self, reply: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(reply, |value, step| match step {
            Step::Item(index) => value.as_array()?.get(*index),
            Step::Key(key) => value.as_object()?.get(key),
        })
    }
}

impl Match {
    /// Whether a value is what it must be, as far as is known yet.
    pub(crate) fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Any | Self::Reply(_) => true,
            Self::Equal(wanted) => same(wanted, value),
            Self::OneOf(wanted) => wanted.iter().any(|wanted| wanted.fits(value)),
            Self::Array(wanted) => value.as_array().is_some_and(|items| {
                items.len() == wanted.len()
                    && wanted.iter().zip(items).all(|(wanted, item)| wanted.fits(item))
            }),
            Self::Object(wanted) => value.as_object().is_some_and(|entries| {
                wanted.iter().all(|(key, wanted)| entries.get(key).is_some_and(|item| wanted.fits(item)))
            }),
        }
    }

    /// Takes what it needs from the reply; an error is a place that the reply does not have.
    pub(crate) fn settle(&mut self, reply: &Value) -> Result<(), ReplyPath> {
        match self {
            Self::Reply(path) => {
                let found = path.find(reply).cloned();
                *self = Self::Equal(found.ok_or_else(|| path.clone())?);
                Ok(())
            }
            Self::Any | Self::Equal(_) => Ok(()),
            Self::OneOf(items) | Self::Array(items) => {
                items.iter_mut().try_for_each(|item| item.settle(reply))
            }
            Self::Object(entries) => entries.iter_mut().try_for_each(|(_, item)| item.settle(reply)),
        }
    }
}

/// Whether the first values of a signal are as they must be.
pub(crate) fn all_fit(wanted: &[Match], values: &[Value]) -> bool {
    wanted.len() <= values.len() && wanted.iter().zip(values).all(|(wanted, value)| wanted.fits(value))
}

impl Wanted {
    /// Whether a signal of the right name is the one, as far as is known yet.
    pub(crate) fn fits(&self, path: &str, values: &[Value]) -> bool {
        self.path.fits(&path.into()) && all_fit(&self.values, values)
    }

    /// Takes what it needs from the reply.
    pub(crate) fn settle(&mut self, reply: &Value) -> Result<(), ReplyPath> {
        self.path.settle(reply)?;
        self.values.iter_mut().try_for_each(|value| value.settle(reply))
    }
}

/// As it stands in the map.
impl fmt::Display for ReplyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$call.reply")?;
        self.0.iter().try_for_each(|step| match step {
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, ".{key}"),
        })
    }
}

/// As it stands in the map.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("$*"),
            Self::Reply(path) => path.fmt(f),
            Self::Equal(expr) => expr.fmt(f),
            Self::OneOf(items) => write!(f, "any of {}", listed(items)),
            Self::Array(items) => write_list(f, items),
            Self::Object(entries) => write_table(f, entries),
        }
    }
}

#[cfg(test)]
mod tests;
