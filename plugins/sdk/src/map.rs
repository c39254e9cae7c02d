//! Method maps: the part that all backends share.
//!
//! A map is a TOML file with one backend table (`[dbus]`, `[serial]`, ...), an optional `[lane]`, and
//! `[methods."name"]` tables. A method's keys are the common ones, read here, and the backend's own. Every error names
//! file, line and column, and can show the line.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::common::{COMMON_KEYS, CommonKeys};
pub use self::drop_in::{DropInFile, Narrowing, withheld};
pub use self::place::{MapError, MapOrigin};
use crate::method::{Lane, Method, Policy};
use crate::params::{Derived, Params};
use crate::words::{hint, nearest, plain};

pub(crate) mod common;
mod drop_in;
mod place;

/// The largest map file, in bytes.
pub const MAX_FILE_LEN: usize = 256 * 1024;

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
    place: MapOrigin,
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
    /// Where it stands.
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

/// A map file as it was read: its name for messages, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapSource {
    /// The file's name as the user would write it.
    pub file: String,
    /// Its whole text.
    pub text: String,
}

/// Tells which of the `known` backends a map file is for, by the name of its table.
pub fn backend_of(map: &MapSource, known: &[&'static str]) -> Result<&'static str, MapError> {
    let map = Arc::new(map.clone());
    let source = Source::of(&map);
    let table = source.parse()?;
    let (name, place) = source.backend_table(&table)?;
    known
        .iter()
        .find(|backend| **backend == name)
        .copied()
        .ok_or_else(|| place.error(format!("[{name}] is no backend{}", hint(name, known.iter().copied()))))
}

impl<B: DeserializeOwned, M: MethodKeys> MapFile<B, M> {
    /// Reads a map file whose backend is already known to be `B`.
    pub fn parse(map: &MapSource) -> Result<Self, MapError> {
        let map = Arc::new(map.clone());
        let source = Source::of(&map);
        let mut table = source.parse()?;
        let (name, place) = source.backend_table(&table)?;
        let name = name.to_owned();
        let backend = source.take(&mut table, &name)?.ok_or_else(|| place.error("no backend table"))?;
        let lane = source.take(&mut table, "lane")?.unwrap_or_default();
        let methods = source
            .methods(&mut table)?
            .into_iter()
            .map(|(name, keys)| source.method(&name, keys))
            .collect::<Result<Vec<_>, _>>()?;
        if methods.is_empty() {
            return Err(source
                .origin(0..0)
                .error("the map declares no method; add a table such as [methods.\"gate.open\"]"));
        }
        Ok(Self { backend, lane, methods, place })
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
        self.place.clone()
    }
}

impl<M> MapMethod<M> {
    /// Takes what the backend knows of parameters from the places where they are used: see [`Derived`].
    pub fn derive(&mut self, derived: &[Derived]) -> Result<(), MapError> {
        let derived = Params::derive(self.params.as_ref(), derived);
        self.params = derived.map_err(|e| e.at(&self.origin))?;
        Ok(())
    }

    /// What the host needs to know of this method.
    #[must_use]
    pub fn describe(&self, lane: Lane) -> Method {
        Method {
            name: self.name.clone(),
            description: self.description.clone(),
            origin: self.origin.to_string(),
            place: Some(self.origin.clone()),
            lane,
            policy: self.policy.clone(),
            params: self.params.clone(),
        }
    }
}

struct Source<'a> {
    map: &'a Arc<MapSource>,
    /// The file without places.
    plain: Option<toml::Table>,
}

/// The keys of one method, as they were read.
struct Keys<'a> {
    name: String,
    origin: MapOrigin,
    common: CommonKeys,
    own: DeTable<'a>,
}

impl<'a> Source<'a> {
    fn of(map: &'a Arc<MapSource>) -> Self {
        let bounded = Some(map.text.as_str()).filter(|text| text.len() <= MAX_FILE_LEN);
        Self { map, plain: bounded.and_then(|text| toml::from_str(text).ok()) }
    }

    /// What the file says of a method, and of all.
    fn content_of(&self, method: &str) -> String {
        let Some(plain) = &self.plain else { return String::new() };
        let of_all: Vec<_> = plain.iter().filter(|(name, _)| *name != "methods").collect();
        let of_one = plain.get("methods").and_then(|methods| methods.get(method));
        format!("{of_all:?} {of_one:?}")
    }

    fn parse(&self) -> Result<DeTable<'a>, MapError> {
        if self.map.text.len() > MAX_FILE_LEN {
            return Err(self.origin(0..0).error(format!("the map is larger than {MAX_FILE_LEN} bytes")));
        }
        DeTable::parse(&self.map.text).map(Spanned::into_inner).map_err(|e| self.toml_error(&e, 0..0))
    }

    /// The name of the one table that is neither `lane` nor `methods`, and its place.
    fn backend_table<'t>(&self, table: &'t DeTable<'a>) -> Result<(&'t str, MapOrigin), MapError> {
        let mut found: Option<(&str, MapOrigin)> = None;
        for key in table.keys() {
            let name: &str = key.get_ref();
            if matches!(name, "lane" | "methods") {
                continue;
            }
            let place = self.place(vec![name.to_owned()], key.span());
            if let Some(meant) = nearest(name, ["methods", "lane"]) {
                return Err(place.error(format!("unknown table [{name}]; did you mean `{meant}`?")));
            }
            if let Some((first, _)) = found {
                let message = format!("a map has one backend table, and this one has [{first}] and [{name}]");
                return Err(place.error(message));
            }
            found = Some((name, place));
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

    /// `[methods]`: names and keys, in the order of the names.
    #[expect(clippy::type_complexity, reason = "the reader's own types")]
    fn methods(
        &self,
        table: &mut DeTable<'a>,
    ) -> Result<Vec<(Spanned<Cow<'a, str>>, Spanned<DeValue<'a>>)>, MapError> {
        let Some(declared) = table.remove("methods") else { return Ok(Vec::new()) };
        let span = declared.span();
        let DeValue::Table(declared) = declared.into_inner() else {
            let place = self.origin(span);
            return Err(place.error("`methods` must be tables, such as [methods.\"gate.open\"]"));
        };
        Ok(declared.into_iter().collect())
    }

    fn method<M: MethodKeys>(
        &self,
        name: &Spanned<Cow<'a, str>>,
        keys: Spanned<DeValue<'a>>,
    ) -> Result<MapMethod<M>, MapError> {
        let span = keys.span();
        let Keys { name, origin, common, own } = self.keys(name, keys, M::KEYS)?;
        let keys =
            self.deserialize(Spanned::new(span, DeValue::Table(own))).map_err(|e| at_least(e, &origin))?;
        let policy = common.policy().map_err(|e| origin.at(e.key).error(e))?;
        let params = (!common.params.is_empty())
            .then(|| Params::new(&common.params).map_err(|e| e.at(&origin)))
            .transpose()?;
        Ok(MapMethod { name, description: common.description, origin, policy, params, keys })
    }

    /// The common keys of a method, and those that are among `own_keys`.
    fn keys(
        &self,
        name: &Spanned<Cow<'a, str>>,
        keys: Spanned<DeValue<'a>>,
        own_keys: &'static [&'static str],
    ) -> Result<Keys<'a>, MapError> {
        let (name, span) = (name.get_ref().clone().into_owned(), name.span());
        let origin =
            self.place(vec!["methods".into(), name.clone()], span).with_content(self.content_of(&name));
        check_name(&name).map_err(|e| origin.error(e))?;
        let span = keys.span();
        let DeValue::Table(keys) = keys.into_inner() else {
            return Err(origin.error(format!("[methods.{name:?}] must be a table")));
        };
        let (mut common, mut own) = (DeTable::new(), DeTable::new());
        for (key, value) in keys {
            let known: &str = key.get_ref();
            if COMMON_KEYS.contains(&known) {
                common.insert(key, value);
            } else if own_keys.contains(&known) {
                own.insert(key, value);
            } else {
                let all = COMMON_KEYS.iter().chain(own_keys).copied();
                let message = match nearest(known, all.clone()) {
                    // `[methods.gate.open]` is a table in a table.
                    None if matches!(value.get_ref(), DeValue::Table(_)) => format!(
                        "unknown key `{known}`; if the method is called {name}.{known}, put that into quotes: [methods.\"{name}.{known}\"]"
                    ),
                    Some(nearest) => format!("unknown key `{known}`; did you mean `{nearest}`?"),
                    None => {
                        format!("unknown key `{known}`; a method has {}", all.collect::<Vec<_>>().join(", "))
                    }
                };
                return Err(self.origin(key.span()).error(message));
            }
        }
        let common = self.deserialize(Spanned::new(span, DeValue::Table(common)))?;
        Ok(Keys { name, origin, common, own })
    }

    fn origin(&self, span: Range<usize>) -> MapOrigin {
        self.place(Vec::new(), span)
    }

    fn place(&self, table: Vec<String>, span: Range<usize>) -> MapOrigin {
        MapOrigin::new(Arc::clone(self.map), table, span)
    }

    fn toml_error(&self, error: &toml::de::Error, fallback: Range<usize>) -> MapError {
        self.origin(error.span().unwrap_or(fallback)).error(plain(error.message()))
    }
}

/// An error about a missing key has the span of the whole table, which may start before the method's own line.
fn at_least(error: MapError, origin: &MapOrigin) -> MapError {
    let start = |place: &MapOrigin| (place.line(), place.column());
    if start(&error.origin) < start(origin) { origin.error(error.message) } else { error }
}

/// A name cannot be a method's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameMistake {
    /// It breaks the rules of a topic level, or is too long.
    #[error(
        "{0:?} cannot be a method's name: use 1 to 64 characters without space, `/`, `+`, `#`, not starting with `$`"
    )]
    Form(String),
    /// It is kept for the gateway.
    #[error("{0:?} cannot be a method's name: `nowd.` is kept for the gateway's own methods")]
    Kept(String),
}

/// What is not seen, or turns round what is.
const UNSEEN: fn(char) -> bool = |c| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');

/// A method's name is a topic level; the rules of the wire, in words.
pub(crate) fn check_name(name: &str) -> Result<(), NameMistake> {
    let bad = name.is_empty()
        || name.len() > 64
        || name.starts_with('$')
        || name.chars().any(|c| matches!(c, '/' | '+' | '#') || c.is_control() || c.is_whitespace())
        || name.contains(UNSEEN);
    if bad {
        return Err(NameMistake::Form(name.to_owned()));
    }
    if name.starts_with("nowd.") {
        return Err(NameMistake::Kept(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
