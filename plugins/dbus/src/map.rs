//! What a D-Bus method map says, checked. Pure: no bus is needed to read or to check a map.

use std::collections::BTreeMap;
use std::str::FromStr;

use nowd_plugin::map::{MapError, MapFile, MapMethod, MapOrigin, MapSource, MethodKeys};
use nowd_plugin::params::Params;
use nowd_plugin::words::nearest;
use nowd_plugin::{Lane, Method};
use serde::Deserialize;
use zbus::names::{InterfaceName, MemberName, PropertyName, WellKnownName};
use zbus::{ObjectPath, Signature};

use crate::address::BusAddress;
use crate::done::{Done, DoneKeys};
use crate::errors::Errors;
use crate::expr::{Expr, Reader};
use crate::json::clip;
use crate::{convert, forms, types};

/// How many arguments a call may have, and a `match` entries.
const MAX_ARGS: usize = 64;

/// `[dbus]`: the object that the methods of a file are about.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    #[serde(deserialize_with = "forms::bus")]
    bus: String,
    #[serde(deserialize_with = "forms::destination")]
    destination: String,
    #[serde(deserialize_with = "forms::path")]
    path: String,
    #[serde(deserialize_with = "forms::interface")]
    interface: String,
}

/// The object that a method is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) bus: BusAddress,
    pub(crate) destination: String,
    pub(crate) path: String,
    pub(crate) interface: String,
}

/// The keys of a method that belong to this backend, as they stand in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default, deserialize_with = "forms::call")]
    call: Option<String>,
    #[serde(default, deserialize_with = "forms::get")]
    get: Option<String>,
    #[serde(default, deserialize_with = "forms::set")]
    set: Option<String>,
    #[serde(default, deserialize_with = "forms::args")]
    args: Option<Vec<toml::Value>>,
    value: Option<toml::Value>,
    #[serde(default, deserialize_with = "forms::signature")]
    signature: Option<String>,
    #[serde(default, deserialize_with = "forms::refused")]
    refused: Vec<String>,
    #[serde(default, deserialize_with = "forms::failed")]
    failed: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "forms::done")]
    done: Option<DoneKeys>,
}

impl MethodKeys for Keys {
    const KEYS: &'static [&'static str] =
        &["call", "get", "set", "args", "value", "signature", "refused", "failed", "done"];
}

/// A method, checked.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    pub(crate) method: Method,
    pub(crate) origin: MapOrigin,
    /// The place of `[dbus]`.
    pub(crate) backend: MapOrigin,
    pub(crate) target: Target,
    pub(crate) action: Action,
    /// The types of the arguments, if the map declares them.
    pub(crate) signature: Option<Vec<Signature>>,
    /// What errors of the service mean.
    pub(crate) errors: Errors,
    pub(crate) done: Option<Done>,
}

/// What a method does to its object.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Calls this member with these arguments.
    Call { member: String, args: Vec<Expr> },
    /// Reads this property.
    Get { property: String },
    /// Writes this property.
    Set { property: String, value: Expr },
}

/// Reads and checks one map.
pub(crate) fn load(source: &MapSource) -> Result<Vec<Mapped>, MapError> {
    let mut file: MapFile<Backend, Keys> = MapFile::parse(source)?;
    let backend = file.origin();
    let target = target(&file.backend, &backend)?;
    let lane = file.lane(format!("dbus:{}:{}{}", target.bus, target.destination, target.path));
    file.methods.iter_mut().map(|method| mapped(method, &target, &backend, lane.clone())).collect()
}

fn target(backend: &Backend, origin: &MapOrigin) -> Result<Target, MapError> {
    let bus = BusAddress::from_str(&backend.bus).map_err(|e| origin.at("bus").error(e))?;
    WellKnownName::try_from(backend.destination.as_str()).map_err(|_| {
        not_a(origin, "destination", &backend.destination, "a bus name", "com.example.Window1")
    })?;
    ObjectPath::try_from(backend.path.as_str())
        .map_err(|_| not_a(origin, "path", &backend.path, "an object path", "/com/example/window"))?;
    interface(origin, "interface", &backend.interface)?;
    Ok(Target {
        bus,
        destination: backend.destination.clone(),
        path: backend.path.clone(),
        interface: backend.interface.clone(),
    })
}

fn mapped(
    read: &mut MapMethod<Keys>,
    target: &Target,
    backend: &MapOrigin,
    lane: Lane,
) -> Result<Mapped, MapError> {
    let (keys, origin) = (&read.keys, &read.origin);
    let mut reader = Reader { origin, uses: Vec::new() };
    let action = action(keys, &mut reader)?;
    let errors = Errors::read(origin, &keys.refused, &keys.failed)?;
    let done = keys.done.as_ref().map(|done| checked_done(done, &mut reader, target)).transpose()?;
    if read.policy.poll.is_some() && (matches!(action, Action::Set { .. }) || done.is_some()) {
        let message = "`poll` reads something every so often, and what has `set` or `done` would move it each time; leave out one of them";
        return Err(origin.at("poll").error(message));
    }
    let uses = reader.uses;
    let signature = keys.signature.as_deref().map(|text| signature(origin, text, &action)).transpose()?;
    let mut derived = Vec::new();
    for (index, value) in action.values().iter().enumerate() {
        let ty = signature.as_ref().and_then(|types| types.get(index)).unwrap_or(&Signature::Variant);
        value.derive(ty, &action.place(index), &action.path(index), &mut derived);
    }
    let declared = read.params.is_some();
    read.derive(&derived)?;
    let names: Vec<&str> = read.params.iter().flat_map(Params::names).collect();
    if let Some(used) = uses.iter().find(|used| !names.contains(&used.param.as_str())) {
        let name = &used.param;
        let hint = match nearest(name, names.iter().copied()) {
            Some(nearest) => format!("did you mean `${nearest}`?"),
            None if declared => format!("there is {}", clip(&names.join(", "), 200)),
            None if signature.is_some() => {
                format!(
                    "what it may be does not follow from the signature: write `params.{name} = {{ ... }}`"
                )
            }
            None => format!("write `params.{name} = {{ type = ... }}`, or declare `signature`"),
        };
        let message = format!("`${name}` is not declared in `params`; {hint}");
        return Err(read.origin.at(&used.path).error(message));
    }
    let mut method = read.describe(lane);
    // Reading twice is as good as once, and needs no journal.
    method.policy.idempotent |= matches!(action, Action::Get { .. });
    Ok(Mapped {
        method,
        origin: read.origin.clone(),
        backend: backend.clone(),
        target: target.clone(),
        action,
        signature,
        errors,
        done,
    })
}

fn action(keys: &Keys, reader: &mut Reader<'_>) -> Result<Action, MapError> {
    let origin = reader.origin;
    match (&keys.call, &keys.get, &keys.set) {
        (Some(name), None, None) => {
            member(origin, "call", name)?;
            only_with(origin, "value", keys.value.is_some(), "set")?;
            let args = keys.args.as_deref().unwrap_or_default();
            at_most(origin, "args", args.len())?;
            let args = args.iter().enumerate();
            let args = args.map(|(index, value)| reader.expr(value, &format!("args[{index}]")));
            Ok(Action::Call { member: name.clone(), args: args.collect::<Result<_, _>>()? })
        }
        (None, Some(name), None) => {
            property(origin, "get", name)?;
            only_with(origin, "args", keys.args.is_some(), "call")?;
            only_with(origin, "value", keys.value.is_some(), "set")?;
            only_with(origin, "signature", keys.signature.is_some(), "call` and `set")?;
            only_with(origin, "done", keys.done.is_some(), "call` and `set")?;
            Ok(Action::Get { property: name.clone() })
        }
        (None, None, Some(name)) => {
            property(origin, "set", name)?;
            only_with(origin, "args", keys.args.is_some(), "call")?;
            let value = keys.value.as_ref().ok_or_else(|| {
                origin.at("set").error("`set` needs `value`: what to write, such as `value = \"$percent\"`")
            })?;
            Ok(Action::Set { property: name.clone(), value: reader.expr(value, "value")? })
        }
        _ => Err(origin.error("a method has exactly one of `call`, `get` and `set`")),
    }
}

fn checked_done(keys: &DoneKeys, reader: &mut Reader<'_>, target: &Target) -> Result<Done, MapError> {
    let origin = reader.origin;
    member(origin, "done.signal", &keys.signal)?;
    at_most(origin, "done.match", keys.r#match.len())?;
    at_most(origin, "done.success", keys.success.len())?;
    if let Some(name) = &keys.interface {
        interface(origin, "done.interface", name)?;
    }
    if let Some(path) = keys.path.as_ref().filter(|path| !path.contains('$')) {
        ObjectPath::try_from(path.as_str())
            .map_err(|_| not_a(origin, "done.path", path, "an object path", "/com/example/window"))?;
    }
    reader.done(keys, &target.path, &target.interface)
}

/// The declared signature: of as many values as are sent, and of types that the literals among them have.
fn signature(origin: &MapOrigin, text: &str, action: &Action) -> Result<Vec<Signature>, MapError> {
    let place = || origin.at("signature");
    let types = types::parse_signature(text).map_err(|e| place().error(format!("`signature`: {e}")))?;
    let values = action.values();
    if types.len() != values.len() {
        let (text, count, sent) = (clip(text, 100), types.len(), values.len());
        let are = if sent == 1 { "is" } else { "are" };
        return Err(
            place().error(format!("`signature = {text:?}` says {}, but {sent} {are} sent", counted(count)))
        );
    }
    for (index, (value, signature)) in values.iter().zip(&types).enumerate() {
        if let Some(literal) = value.literal() {
            convert::to_dbus(&literal, signature, &action.place(index))
                .map_err(|e| origin.at(&action.path(index)).error(e))?;
        }
    }
    Ok(types)
}

/// `1 value`, `2 values`.
pub(crate) fn counted(count: usize) -> String {
    if count == 1 { "1 value".into() } else { format!("{count} values") }
}

impl Action {
    /// What the map says is sent.
    pub(crate) fn values(&self) -> &[Expr] {
        match self {
            Self::Call { args, .. } => args,
            Self::Get { .. } => &[],
            Self::Set { value, .. } => std::slice::from_ref(value),
        }
    }

    /// The key that names the member, and the member.
    pub(crate) fn key_and_member(&self) -> (&'static str, &str) {
        match self {
            Self::Call { member, .. } => ("call", member),
            Self::Get { property } => ("get", property),
            Self::Set { property, .. } => ("set", property),
        }
    }

    /// What the value at `index` is called in messages.
    pub(crate) fn place(&self, index: usize) -> String {
        match self {
            Self::Call { .. } => format!("argument {}", index + 1),
            Self::Get { .. } | Self::Set { .. } => "`value`".into(),
        }
    }

    /// The path of the key of the value at `index`.
    pub(crate) fn path(&self, index: usize) -> String {
        match self {
            Self::Call { .. } => format!("args[{index}]"),
            Self::Get { .. } | Self::Set { .. } => "value".into(),
        }
    }
}

fn interface(origin: &MapOrigin, key: &str, name: &str) -> Result<(), MapError> {
    InterfaceName::try_from(name)
        .map(|_| ())
        .map_err(|_| not_a(origin, key, name, "a D-Bus interface name", "com.example.Window1"))
}

fn member(origin: &MapOrigin, key: &str, name: &str) -> Result<(), MapError> {
    MemberName::try_from(name)
        .map(|_| ())
        .map_err(|_| not_a(origin, key, name, "a D-Bus member name", "MoveTo"))
}

fn property(origin: &MapOrigin, key: &str, name: &str) -> Result<(), MapError> {
    PropertyName::try_from(name)
        .map(|_| ())
        .map_err(|_| not_a(origin, key, name, "a D-Bus property name", "Position"))
}

pub(crate) fn not_a(origin: &MapOrigin, key: &str, value: &str, what: &str, example: &str) -> MapError {
    let value = clip(value, 100);
    origin.at(key).error(format!("`{key} = {value:?}` is not {what}, such as {example:?}"))
}

fn at_most(origin: &MapOrigin, key: &str, count: usize) -> Result<(), MapError> {
    if count > MAX_ARGS {
        let message = format!("`{key}` has {count} entries; at most {MAX_ARGS} are possible");
        return Err(origin.at(key).error(message));
    }
    Ok(())
}

fn only_with(origin: &MapOrigin, key: &str, given: bool, with: &str) -> Result<(), MapError> {
    if given {
        return Err(origin.at(key).error(format!("`{key}` belongs to `{with}` only; leave it out")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
