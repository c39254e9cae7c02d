//! What a D-Bus method map says, checked. Pure: no bus is needed to read or to check a map.

use std::fmt;
use std::str::FromStr;

use nowd_plugin::map::{MapError, MapFile, MapMethod, MapOrigin, MapSource, MethodKeys};
use nowd_plugin::params::Params;
use nowd_plugin::template::Template;
use nowd_plugin::{Call, Method};
use serde::Deserialize;
use serde_json::{Map, Value};
use zbus::names::{ErrorName, InterfaceName, MemberName, PropertyName, WellKnownName};
use zbus::{Address, ObjectPath, Signature};

use crate::convert;

/// How many arguments a call may have, and a `match` entries.
const MAX_ARGS: usize = 64;

/// How deep `args` may nest.
const MAX_DEPTH: usize = 16;

/// Which bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BusAddress {
    /// The system bus.
    System,
    /// The bus of the user's session.
    Session,
    /// A bus by its address: `unix:path=/run/example/bus`.
    At(String),
}

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Session => f.write_str("session"),
            Self::At(address) => f.write_str(address),
        }
    }
}

/// `[dbus]`: the object that the methods of a file are about.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    bus: String,
    destination: String,
    path: String,
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
    call: Option<String>,
    get: Option<String>,
    set: Option<String>,
    args: Option<Vec<toml::Value>>,
    value: Option<toml::Value>,
    signature: Option<String>,
    #[serde(default)]
    refused: Vec<String>,
    done: Option<DoneKeys>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct DoneKeys {
    signal: String,
    interface: Option<String>,
    #[serde(default)]
    r#match: Vec<toml::Value>,
}

impl MethodKeys for Keys {
    const KEYS: &'static [&'static str] =
        &["call", "get", "set", "args", "value", "signature", "refused", "done"];
}

/// A method, checked.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    pub(crate) method: Method,
    pub(crate) origin: MapOrigin,
    pub(crate) target: Target,
    pub(crate) action: Action,
    /// The types of the arguments, if the map declares them.
    pub(crate) signature: Option<Vec<Signature>>,
    /// Names of errors that mean: it did nothing.
    pub(crate) refused: Vec<String>,
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

/// A signal that says that the work is done.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) interface: String,
    pub(crate) signal: String,
    /// What the signal's first values must be.
    pub(crate) values: Vec<Expr>,
}

/// A value with placeholders.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Literal(Value),
    Template(Template),
    Array(Vec<Expr>),
    Object(Vec<(String, Expr)>),
}

/// Reads and checks one map.
pub(crate) fn load(source: &MapSource) -> Result<Vec<Mapped>, MapError> {
    let file: MapFile<Backend, Keys> = MapFile::parse(source)?;
    let target = target(&file.backend, &file.origin())?;
    let lane = file.lane(format!("dbus:{}:{}{}", target.bus, target.destination, target.path));
    file.methods.iter().map(|method| mapped(method, &target, method.describe(lane.clone()))).collect()
}

fn target(backend: &Backend, origin: &MapOrigin) -> Result<Target, MapError> {
    let bus = match backend.bus.as_str() {
        "system" => BusAddress::System,
        "session" => BusAddress::Session,
        address if address.contains(':') && Address::from_str(address).is_ok() => {
            BusAddress::At(address.into())
        }
        other => {
            return Err(origin.error(format!(
                "`bus = {other:?}` is not a bus; write \"system\", \"session\" or an address such as \"unix:path=/run/example/bus\""
            )));
        }
    };
    WellKnownName::try_from(backend.destination.as_str())
        .map_err(|_| not_a(origin, "destination", &backend.destination, "bus name", "com.example.Window1"))?;
    ObjectPath::try_from(backend.path.as_str())
        .map_err(|_| not_a(origin, "path", &backend.path, "object path", "/com/example/window"))?;
    interface(origin, &backend.interface)?;
    Ok(Target {
        bus,
        destination: backend.destination.clone(),
        path: backend.path.clone(),
        interface: backend.interface.clone(),
    })
}

fn mapped(read: &MapMethod<Keys>, target: &Target, method: Method) -> Result<Mapped, MapError> {
    let (keys, origin) = (&read.keys, &read.origin);
    let declared: Vec<&str> = read.params.iter().flat_map(Params::names).collect();
    let expr = |value: &toml::Value| expr(value, origin, &declared, 0);
    let action = match (&keys.call, &keys.get, &keys.set) {
        (Some(name), None, None) => {
            member(origin, "call", name)?;
            only_with(origin, "value", keys.value.is_some(), "set")?;
            let args = keys.args.as_deref().unwrap_or_default();
            at_most(origin, "args", args.len())?;
            Action::Call { member: name.clone(), args: args.iter().map(expr).collect::<Result<_, _>>()? }
        }
        (None, Some(name), None) => {
            property(origin, "get", name)?;
            only_with(origin, "args", keys.args.is_some(), "call")?;
            only_with(origin, "value", keys.value.is_some(), "set")?;
            only_with(origin, "signature", keys.signature.is_some(), "call` and `set")?;
            only_with(origin, "done", keys.done.is_some(), "call` and `set")?;
            Action::Get { property: name.clone() }
        }
        (None, None, Some(name)) => {
            property(origin, "set", name)?;
            only_with(origin, "args", keys.args.is_some(), "call")?;
            let value = keys.value.as_ref().ok_or_else(|| {
                origin.error("`set` needs `value`: what to write, such as `value = \"$percent\"`")
            })?;
            Action::Set { property: name.clone(), value: expr(value)? }
        }
        _ => return Err(origin.error("a method has exactly one of `call`, `get` and `set`")),
    };
    for name in &keys.refused {
        ErrorName::try_from(name.as_str())
            .map_err(|_| not_a(origin, "refused", name, "D-Bus error name", "com.example.Error.Interlock"))?;
    }
    let done = keys.done.as_ref().map(|done| {
        member(origin, "done.signal", &done.signal)?;
        at_most(origin, "done.match", done.r#match.len())?;
        if let Some(name) = &done.interface {
            interface(origin, name)?;
        }
        Ok(Done {
            interface: done.interface.clone().unwrap_or_else(|| target.interface.clone()),
            signal: done.signal.clone(),
            values: done.r#match.iter().map(expr).collect::<Result<_, _>>()?,
        })
    });
    let signature = keys.signature.as_deref().map(|text| signature(origin, text, &action));
    Ok(Mapped {
        method,
        origin: origin.clone(),
        target: target.clone(),
        action,
        signature: signature.transpose()?,
        refused: keys.refused.clone(),
        done: done.transpose()?,
    })
}

/// The declared signature: of as many values as are sent, and of types that the literals among them have.
fn signature(origin: &MapOrigin, text: &str, action: &Action) -> Result<Vec<Signature>, MapError> {
    let types = convert::parse_signature(text).map_err(|e| origin.error(format!("`signature`: {e}")))?;
    let values = action.values();
    if types.len() != values.len() {
        return Err(origin.error(format!(
            "`signature = {text:?}` is of {} values, but {} are sent",
            types.len(),
            values.len()
        )));
    }
    for (index, (value, signature)) in values.iter().zip(&types).enumerate() {
        if let Some(literal) = value.literal() {
            convert::to_dbus(&literal, signature, &format!("argument {}", index + 1))
                .map_err(|e| origin.error(e))?;
        }
    }
    Ok(types)
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
}

impl Expr {
    /// The value for a call.
    pub(crate) fn value(&self, call: &Call) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Template(template) => template.value(call),
            Self::Array(items) => items.iter().map(|item| item.value(call)).collect(),
            Self::Object(entries) => {
                Value::Object(entries.iter().map(|(key, item)| (key.clone(), item.value(call))).collect())
            }
        }
    }

    /// The value, if it is the same for every call.
    fn literal(&self) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Template(_) => None,
            Self::Array(items) => items.iter().map(Self::literal).collect::<Option<Value>>(),
            Self::Object(entries) => entries
                .iter()
                .map(|(key, item)| Some((key.clone(), item.literal()?)))
                .collect::<Option<Map<_, _>>>()
                .map(Value::Object),
        }
    }
}

fn expr(value: &toml::Value, origin: &MapOrigin, declared: &[&str], depth: usize) -> Result<Expr, MapError> {
    if depth > MAX_DEPTH {
        return Err(origin.error(format!("a value nests deeper than {MAX_DEPTH} levels")));
    }
    Ok(match value {
        toml::Value::String(text) if text.contains('$') => {
            let template = Template::parse(text).map_err(|e| origin.error(e))?;
            template.check_declared(declared.iter().copied()).map_err(|e| origin.error(e))?;
            Expr::Template(template)
        }
        toml::Value::String(text) => Expr::Literal(text.as_str().into()),
        toml::Value::Integer(number) => Expr::Literal((*number).into()),
        toml::Value::Float(number) => Expr::Literal((*number).into()),
        toml::Value::Boolean(flag) => Expr::Literal((*flag).into()),
        toml::Value::Datetime(time) => {
            return Err(origin.error(format!("{time} is a date, which D-Bus does not know; write a text")));
        }
        toml::Value::Array(items) => Expr::Array(
            items.iter().map(|item| expr(item, origin, declared, depth + 1)).collect::<Result<_, _>>()?,
        ),
        toml::Value::Table(entries) => Expr::Object(
            entries
                .iter()
                .map(|(key, item)| Ok((key.clone(), expr(item, origin, declared, depth + 1)?)))
                .collect::<Result<_, _>>()?,
        ),
    })
}

fn interface(origin: &MapOrigin, name: &str) -> Result<(), MapError> {
    InterfaceName::try_from(name)
        .map(|_| ())
        .map_err(|_| not_a(origin, "interface", name, "D-Bus interface name", "com.example.Window1"))
}

fn member(origin: &MapOrigin, key: &str, name: &str) -> Result<(), MapError> {
    MemberName::try_from(name)
        .map(|_| ())
        .map_err(|_| not_a(origin, key, name, "D-Bus member name", "MoveTo"))
}

fn property(origin: &MapOrigin, key: &str, name: &str) -> Result<(), MapError> {
    PropertyName::try_from(name)
        .map(|_| ())
        .map_err(|_| not_a(origin, key, name, "D-Bus property name", "Position"))
}

fn not_a(origin: &MapOrigin, key: &str, value: &str, what: &str, example: &str) -> MapError {
    origin.error(format!("`{key} = {value:?}` is not a {what}, such as {example:?}"))
}

fn at_most(origin: &MapOrigin, key: &str, count: usize) -> Result<(), MapError> {
    if count > MAX_ARGS {
        return Err(origin.error(format!("`{key}` has {count} entries; at most {MAX_ARGS} are possible")));
    }
    Ok(())
}

fn only_with(origin: &MapOrigin, key: &str, given: bool, with: &str) -> Result<(), MapError> {
    if given {
        return Err(origin.error(format!("`{key}` belongs to `{with}` only; leave it out")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
