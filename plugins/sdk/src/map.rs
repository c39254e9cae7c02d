//! Method maps: the part that all backends share.
//!
//! A map is a TOML file with one backend table (`[dbus]`, `[serial]`, ...), an optional `[lane]`, and
//! `[methods."name"]` tables. A method's keys are the common ones, read here, and the backend's own. Every error names
//! file and line.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::method::{Lane, Method, Policy};
use crate::params::Params;

/// The largest map file, in bytes.
pub const MAX_FILE_LEN: usize = 256 * 1024;

/// The keys that a method may have whatever its backend.
const COMMON_KEYS: &[&str] = &[
    "description",
    "params",
    "timeout",
    "max_timeout",
    "min_budget",
    "stuck_after",
    "allow",
    "idempotent",
    "stop",
    "internal",
    "on_timeout",
    "on_stop",
];

/// The keys of one method that belong to its backend.
pub trait MethodKeys: DeserializeOwned {
    /// Their names, for messages.
    const KEYS: &'static [&'static str];
}

/// A map file: `B` is the backend's table, `M` the backend's keys of a method.
#[derive(Debug, Clone)]
pub struct MapFile<B, M> {
    /// The backend's table.
    pub backend: B,
    /// `[lane]`.
    pub lane: LaneTable,
    /// The methods, in the order of their names.
    pub methods: Vec<MapMethod<M>>,
    /// The file's name, for messages.
    pub file: String,
    /// The line of the backend's table, for messages.
    pub line: usize,
}

/// `[lane]`: what is said of the lane in which the methods of a file stand.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneTable {
    /// Another name than the backend's: methods of several files that name the same lane share it.
    pub name: Option<String>,
    /// How many calls run at once (default 1).
    pub concurrency: Option<NonZeroU16>,
    /// How many calls may wait (default 16).
    pub depth: Option<u16>,
}

/// One method of a map file.
#[derive(Debug, Clone)]
pub struct MapMethod<M> {
    /// Its name.
    pub name: String,
    /// Where it stands: `file:line`.
    pub origin: MapOrigin,
    /// One sentence for people.
    pub description: String,
    /// The common keys.
    pub policy: Policy,
    /// `params`, if there are any declared.
    pub params: Option<Params>,
    /// The backend's keys.
    pub keys: M,
}

/// A place in a map file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapOrigin {
    /// The file's name as the user gave it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for MapOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is wrong with a map file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {message}")]
pub struct MapError {
    /// Where.
    pub origin: MapOrigin,
    /// What, what was expected, and what to do.
    pub message: String,
}

impl MapOrigin {
    /// An error at this place.
    pub fn error(&self, message: impl fmt::Display) -> MapError {
        MapError { origin: self.clone(), message: message.to_string() }
    }
}

/// A map file as it was read: its name for messages, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapSource {
    /// The file's name as the user would write it.
    pub file: String,
    /// Its whole text.
    pub text: String,
}

/// Tells which backend a map file is for, by the name of its table.
pub fn backend_of(map: &MapSource) -> Result<String, MapError> {
    let source = Source { file: &map.file, text: &map.text };
    let table = source.parse()?;
    let (name, _, _) = source.backend_table(&table)?;
    Ok(name.to_owned())
}

impl<B: DeserializeOwned, M: MethodKeys> MapFile<B, M> {
    /// Reads a map file whose backend is already known to be `B`.
    pub fn parse(map: &MapSource) -> Result<Self, MapError> {
        let source = Source { file: &map.file, text: &map.text };
        let mut table = source.parse()?;
        let (name, _, line) = source.backend_table(&table)?;
        let (name, line) = (name.to_owned(), line);
        let backend =
            source.take(&mut table, &name)?.ok_or_else(|| source.origin(0..0).error("no backend table"))?;
        let lane = source.take(&mut table, "lane")?.unwrap_or_default();
        let mut methods = Vec::new();
        if let Some(declared) = table.remove("methods") {
            let span = declared.span();
            let DeValue::Table(declared) = declared.into_inner() else {
                return Err(source
                    .origin(span)
                    .error("`methods` must be tables, such as [methods.\"gate.open\"]"));
            };
            for (name, keys) in declared {
                methods.push(source.method(name, keys)?);
            }
        }
        if methods.is_empty() {
            return Err(source
                .origin(0..0)
                .error("the map declares no method; add a table such as [methods.\"gate.open\"]"));
        }
        Ok(Self { backend, lane, methods, file: map.file.clone(), line })
    }

    /// A lane for this file: `[lane]` over the backend's `name`.
    #[must_use]
    pub fn lane(&self, name: impl Into<String>) -> Lane {
        Lane {
            name: self.lane.name.clone().unwrap_or_else(|| name.into()),
            concurrency: self.lane.concurrency.unwrap_or(NonZeroU16::MIN),
            depth: self.lane.depth.unwrap_or(Lane::DEFAULT_DEPTH),
        }
    }

    /// The place of the backend's table, for errors about it.
    #[must_use]
    pub fn origin(&self) -> MapOrigin {
        MapOrigin { file: self.file.clone(), line: self.line }
    }
}

impl<M> MapMethod<M> {
    /// What the host needs to know of this method.
    #[must_use]
    pub fn describe(&self, lane: Lane) -> Method {
        Method {
            name: self.name.clone(),
            description: self.description.clone(),
            origin: self.origin.to_string(),
            lane,
            policy: self.policy.clone(),
            params: self.params.clone(),
        }
    }
}

/// The common keys of a method, as they stand in the file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CommonKeys {
    description: String,
    params: Map<String, Value>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    max_timeout: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    min_budget: Option<Duration>,
    #[serde(deserialize_with = "crate::duration::deserialize_option")]
    stuck_after: Option<Duration>,
    allow: Option<Vec<String>>,
    idempotent: bool,
    stop: bool,
    internal: bool,
    on_timeout: Option<String>,
    on_stop: Option<String>,
}

impl CommonKeys {
    fn policy(&self, origin: &MapOrigin) -> Result<Policy, MapError> {
        let default = Policy::default();
        let max_timeout = self.max_timeout.unwrap_or(default.max_timeout);
        let timeout = self.timeout.unwrap_or_else(|| default.timeout.min(max_timeout));
        for (key, duration) in [("timeout", timeout), ("max_timeout", max_timeout)] {
            if duration.is_zero() {
                return Err(origin.error(format!("`{key}` must be longer than 0")));
            }
        }
        if timeout > max_timeout {
            return Err(origin.error(format!(
                "`timeout` ({}) is longer than `max_timeout` ({})",
                humantime::format_duration(timeout),
                humantime::format_duration(max_timeout)
            )));
        }
        Ok(Policy {
            timeout,
            max_timeout,
            min_budget: self.min_budget.unwrap_or(default.min_budget),
            stuck_after: self.stuck_after.unwrap_or(default.stuck_after),
            allow: self.allow.clone(),
            idempotent: self.idempotent,
            stop: self.stop,
            internal: self.internal,
            on_timeout: self.on_timeout.clone(),
            on_stop: self.on_stop.clone(),
        })
    }
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    fn parse(&self) -> Result<DeTable<'a>, MapError> {
        if self.text.len() > MAX_FILE_LEN {
            return Err(self.origin(0..0).error(format!("the map is larger than {MAX_FILE_LEN} bytes")));
        }
        DeTable::parse(self.text).map(Spanned::into_inner).map_err(|e| self.toml_error(&e, 0..0))
    }

    /// The name, value and line of the one table that is neither `lane` nor `methods`.
    fn backend_table<'t>(
        &self,
        table: &'t DeTable<'a>,
    ) -> Result<(&'t str, &'t Spanned<DeValue<'a>>, usize), MapError> {
        let mut found: Option<(&str, &Spanned<DeValue<'a>>, usize)> = None;
        for (key, value) in table {
            let name: &str = key.get_ref();
            if matches!(name, "lane" | "methods") {
                continue;
            }
            let origin = self.origin(key.span());
            if let Some((first, _, _)) = found {
                let message = format!("a map has one backend table, and this one has [{first}] and [{name}]");
                return Err(origin.error(message));
            }
            found = Some((name, value, origin.line));
        }
        found.ok_or_else(|| {
            self.origin(0..0).error("the map has no backend table; add [dbus], [serial] or another one")
        })
    }

    fn take<T: DeserializeOwned>(&self, table: &mut DeTable<'a>, name: &str) -> Result<Option<T>, MapError> {
        table.remove(name).map(|value| self.deserialize(value)).transpose()
    }

    fn deserialize<T: DeserializeOwned>(&self, value: Spanned<DeValue<'a>>) -> Result<T, MapError> {
        let span = value.span();
        T::deserialize(value.into_deserializer()).map_err(|e| self.toml_error(&e, span))
    }

    fn method<M: MethodKeys>(
        &self,
        name: Spanned<std::borrow::Cow<'a, str>>,
        keys: Spanned<DeValue<'a>>,
    ) -> Result<MapMethod<M>, MapError> {
        let origin = self.origin(name.span());
        let name = name.into_inner().into_owned();
        check_name(&name, &origin)?;
        let span = keys.span();
        let DeValue::Table(keys) = keys.into_inner() else {
            return Err(origin.error(format!("[methods.{name:?}] must be a table")));
        };
        let (mut common, mut own) = (DeTable::new(), DeTable::new());
        for (key, value) in keys {
            let known: &str = key.get_ref();
            if COMMON_KEYS.contains(&known) {
                common.insert(key, value);
            } else if M::KEYS.contains(&known) {
                own.insert(key, value);
            } else {
                let all = COMMON_KEYS.iter().chain(M::KEYS).copied();
                return Err(self.origin(key.span()).error(unknown_key(known, all)));
            }
        }
        let common: CommonKeys = self.deserialize(Spanned::new(span.clone(), DeValue::Table(common)))?;
        let keys =
            self.deserialize(Spanned::new(span, DeValue::Table(own))).map_err(|e| at_least(e, &origin))?;
        let policy = common.policy(&origin)?;
        let params = (!common.params.is_empty())
            .then(|| Params::new(&common.params).map_err(|e| origin.error(e)))
            .transpose()?;
        Ok(MapMethod { name, description: common.description, origin, policy, params, keys })
    }

    fn origin(&self, span: Range<usize>) -> MapOrigin {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before.split(|byte| *byte == b'\n').skip(1).count();
        MapOrigin { file: self.file.into(), line }
    }

    fn toml_error(&self, error: &toml::de::Error, fallback: Range<usize>) -> MapError {
        self.origin(error.span().unwrap_or(fallback)).error(error.message().trim().replace('\n', ", "))
    }
}

/// An error about a missing key has the span of the whole table, which may start before the method's own line.
fn at_least(mut error: MapError, origin: &MapOrigin) -> MapError {
    error.origin.line = error.origin.line.max(origin.line);
    error
}

/// A method's name is a topic level; the rules of the wire, in words.
fn check_name(name: &str, origin: &MapOrigin) -> Result<(), MapError> {
    let bad = name.is_empty()
        || name.len() > 64
        || name.starts_with('$')
        || name.chars().any(|c| matches!(c, '/' | '+' | '#') || c.is_control() || c.is_whitespace());
    if bad {
        return Err(origin.error(format!(
            "{name:?} cannot be a method's name: use 1 to 64 characters without space, `/`, `+`, `#`, not starting with `$`"
        )));
    }
    if name.starts_with("nowd.") {
        return Err(origin.error(format!(
            "{name:?} cannot be a method's name: `nowd.` is kept for the gateway's own methods"
        )));
    }
    Ok(())
}

fn unknown_key<'k>(key: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    let nearest = known
        .clone()
        .map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    match nearest {
        Some((_, nearest)) => format!("unknown key `{key}`; did you mean `{nearest}`?"),
        None => format!("unknown key `{key}`; a method has {}", known.collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests;
