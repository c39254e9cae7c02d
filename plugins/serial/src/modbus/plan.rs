//! What a method does, step by step: which requests its items make, and what their answers mean. Touches no line.

use std::time::Duration;

use nowd_plugin::map::{MapError, MapMethod, MapOrigin, MethodKeys};
use nowd_plugin::params::Derived;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::item::{Item, span};
use super::keys::Keys;
use super::request::{Read, Write};
use super::source::Source;
use super::value::{Order, quote};

/// The most steps of a method.
const MOST_STEPS: usize = 32;

/// The keys of a method that are this backend's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MethodTable {
    write: Option<Value>,
    read: Option<Value>,
    /// Whether items whose addresses follow on each other go in one request.
    #[serde(default)]
    together: bool,
}

impl MethodKeys for MethodTable {
    const KEYS: &'static [&'static str] = &["write", "read", "together"];
}

/// A method of a map, ready to be filled with the parameters of a call.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) results: Results,
}

/// One step.
#[derive(Debug)]
pub(crate) enum Step {
    Write(Write),
    Read(Read),
    Wait(Duration),
}

/// What a call is answered with.
#[derive(Debug)]
pub(crate) enum Results {
    /// Nothing is read.
    Nothing,
    /// `read = { ... }`.
    Plain,
    /// `read = [ ... ]`, and how many.
    List(usize),
    /// `read.name = { ... }`.
    Named(Vec<String>),
}

impl Plan {
    /// Reads `write` and `read` of a method; `order` is the file's.
    pub(crate) fn parse(
        method: &MapMethod<MethodTable>,
        order: Order,
        broadcast: bool,
    ) -> Result<(Self, Vec<Derived>), MapError> {
        let (origin, keys) = (&method.origin, &method.keys);
        let mut derived = Vec::new();
        let mut steps = match &keys.write {
            Some(write) => writes(origin, write, order, &mut derived)?,
            None => Vec::new(),
        };
        let (mut reads, results) = match &keys.read {
            Some(_) if broadcast => {
                let message = "`read`: unit 0 is all devices at once, and none of them answers; to read, choose one unit";
                return Err(origin.at("read").error(message));
            }
            Some(read) => reads(origin, read, order)?,
            None => (Vec::new(), Results::Nothing),
        };
        if keys.together {
            let before = steps.len() + reads.len();
            steps = join_writes(steps);
            reads = join_reads(reads);
            if steps.len() + reads.len() == before {
                let message = "`together`: there is nothing to join, as no address follows directly on another; leave it out";
                return Err(origin.at("together").error(message));
            }
        }
        steps.extend(reads.into_iter().map(Step::Read));
        let plan = Self { steps, results };
        plan.check(method)?;
        Ok((plan, derived))
    }

    /// What can only be seen of all steps together.
    fn check(&self, method: &MapMethod<MethodTable>) -> Result<(), MapError> {
        let origin = &method.origin;
        match self.steps.last() {
            None => return Err(origin.error("the method does nothing; add `write` or `read`")),
            Some(Step::Wait(_)) => {
                let message = "`write`: nothing comes after the last `wait`; leave it out";
                return Err(origin.at("write").error(message));
            }
            Some(Step::Write(_) | Step::Read(_)) => {}
        }
        if self.steps.len() > MOST_STEPS {
            let message = format!(
                "the method takes {} steps; at most {MOST_STEPS} are allowed, and `together` joins what is adjacent",
                self.steps.len()
            );
            return Err(origin.error(message));
        }
        let waits =
            self.steps.iter().filter_map(|step| if let Step::Wait(wait) = step { Some(*wait) } else { None });
        let waits = waits.fold(Duration::ZERO, Duration::saturating_add);
        if waits >= method.policy.max_timeout {
            let message = format!("the steps wait for {waits:?} in all, which `max_timeout` never allows");
            return Err(origin.at("write").error(message));
        }
        Ok(())
    }

    /// All places where a value comes from.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        let writes = self
            .steps
            .iter()
            .filter_map(|step| if let Step::Write(write) = step { Some(write) } else { None });
        writes.flat_map(|write| write.parts.iter().map(|(_, source)| source))
    }
}

impl Results {
    /// The response, of the results in the order of their indices.
    pub(crate) fn response(&self, values: Vec<Value>) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Plain => values.into_iter().next().unwrap_or_default(),
            Self::List(_) => Value::Array(values),
            Self::Named(names) => Value::Object(names.iter().cloned().zip(values).collect()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Plain => 1,
            Self::List(len) => *len,
            Self::Named(names) => names.len(),
        }
    }
}

impl Step {
    /// Whether it is a request that may change the device.
    pub(crate) const fn writes(&self) -> bool {
        matches!(self, Self::Write(_))
    }

    /// What it is about, for people; nothing for a wait.
    pub(crate) fn place(&self) -> String {
        let (table, address, width) = match self {
            Self::Write(write) => write.span(),
            Self::Read(read) => (read.table, read.address, read.width),
            Self::Wait(_) => return String::new(),
        };
        span(table, address, width)
    }

    /// A note for people where an address looks like one of a manual's numbering.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Write(write) => {
                write.parts.iter().find_map(|(item, _)| item.table.hint(item.address.into()))
            }
            Self::Read(read) => read.parts.iter().find_map(|(_, item)| item.table.hint(item.address.into())),
            Self::Wait(_) => None,
        }
    }

    /// What it does, for people.
    pub(crate) fn explain(&self, results: &Results) -> String {
        match self {
            Self::Wait(wait) => format!("waits       {wait:?}"),
            Self::Write(write) => {
                let values =
                    write.parts.iter().map(|(item, source)| format!("{} as {}", source.words(), item.kind()));
                let values: Vec<String> = values.collect();
                format!(
                    "writes      {} by function {}: {}",
                    self.place(),
                    write.function(),
                    values.join(", ")
                )
            }
            Self::Read(read) => {
                let values = read.parts.iter().map(|(index, item)| match results {
                    Results::Named(names) => {
                        format!("{} as {}", names.get(*index).map_or("", String::as_str), item.kind())
                    }
                    Results::Plain | Results::List(_) | Results::Nothing => item.kind(),
                });
                let values: Vec<String> = values.collect();
                format!("reads       {} by function {}: {}", self.place(), read.function(), values.join(", "))
            }
        }
    }
}

fn writes(
    origin: &MapOrigin,
    value: &Value,
    order: Order,
    derived: &mut Vec<Derived>,
) -> Result<Vec<Step>, MapError> {
    let example = "`write` must be { holding = 0x2000, value = \"$level\" }, or a list of such";
    let one = |path: String, keys: &Map<String, Value>, derived: &mut Vec<Derived>| {
        let keys = Keys { origin, path, given: keys };
        match keys.wait()? {
            Some(wait) => Ok(Step::Wait(wait)),
            None => Write::parse(&keys, order, derived).map(Step::Write),
        }
    };
    match (value, value.as_array()) {
        (Value::Object(keys), _) => Ok(vec![one("write".into(), keys, derived)?]),
        (_, Some(list)) if !list.is_empty() => {
            let steps = list.iter().enumerate().map(|(index, value)| {
                let path = format!("write[{index}]");
                let keys = value
                    .as_object()
                    .ok_or_else(|| origin.at(&path).error(format!("`{path}`: {example}")))?;
                one(path, keys, derived)
            });
            steps.collect()
        }
        _ => Err(origin.at("write").error(example)),
    }
}

fn reads(origin: &MapOrigin, value: &Value, order: Order) -> Result<(Vec<Read>, Results), MapError> {
    let example = "`read` must be { input = 0x0001 }, a list of such, or one for each name, such as read.speed = { input = 0x0001 }";
    let one = |index: usize, path: String, value: &Value| {
        let keys = value.as_object().ok_or_else(|| origin.at(&path).error(format!("`{path}`: {example}")))?;
        let item = Item::parse(&Keys { origin, path, given: keys }, false, order)?;
        Ok(Read::new(index, item))
    };
    match (value.as_object(), value.as_array()) {
        (Some(named), _) if !named.is_empty() && named.values().all(Value::is_object) => {
            let reads = named
                .iter()
                .enumerate()
                .map(|(index, (name, value))| one(index, format!("read.{name}"), value));
            Ok((reads.collect::<Result<_, _>>()?, Results::Named(named.keys().cloned().collect())))
        }
        (Some(_), _) => Ok((vec![one(0, "read".into(), value)?], Results::Plain)),
        (_, Some(list)) if !list.is_empty() => {
            let reads =
                list.iter().enumerate().map(|(index, value)| one(index, format!("read[{index}]"), value));
            Ok((reads.collect::<Result<_, _>>()?, Results::List(list.len())))
        }
        _ => Err(origin.at("read").error(format!("{} is nothing to read; {example}", quote(value)))),
    }
}

/// Joins those whose addresses follow on each other, in the order in which they are written.
fn join_writes(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(Step::Write(last)), Step::Write(write)) if last.takes(&write) => {
                last.parts.extend(write.parts);
                last.single = last.single.or(write.single);
            }
            (_, step) => joined.push(step),
        }
    }
    joined
}

/// Joins those whose registers or bits touch, in any order.
fn join_reads(mut reads: Vec<Read>) -> Vec<Read> {
    reads.sort_by_key(|read| (read.table, read.address));
    let mut joined: Vec<Read> = Vec::new();
    for read in reads {
        let rest = match joined.last_mut() {
            Some(last) => last.join(read),
            None => Some(read),
        };
        joined.extend(rest);
    }
    joined
}

#[cfg(test)]
mod tests;
