//! What a method does, step by step: which requests its items make, and what their answers mean. Touches no line.

use std::time::Duration;

use nowd_plugin::Call;
use nowd_plugin::map::{MapError, MapMethod, MapOrigin, MethodKeys};
use nowd_plugin::params::Derived;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_modbus::{Request, Response};

use super::item::{Item, Shape, Table, span};
use super::keys::Keys;
use super::source::Source;
use super::value::{Order, ValueError, quote};

/// The most steps of a method.
const MOST_STEPS: usize = 32;
/// The most registers that one request carries, and the most bits, whether it reads or writes.
const MOST_REGISTERS: u32 = 123;
const MOST_BITS: u32 = 1968;

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

/// One request that writes.
#[derive(Debug)]
pub(crate) struct Write {
    /// In the order of their addresses, without gaps; never none.
    parts: Vec<(Item, Source)>,
    /// Whether the function for single registers or coils is used, `Some` if the map says it.
    single: Option<bool>,
}

/// One request that reads.
#[derive(Debug)]
pub(crate) struct Read {
    table: Table,
    address: u16,
    width: u32,
    /// Each with the index of its result.
    parts: Vec<(usize, Item)>,
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

impl Write {
    fn parse(keys: &Keys<'_>, order: Order, derived: &mut Vec<Derived>) -> Result<Self, MapError> {
        let item = Item::parse(keys, true, order)?;
        let source = Source::parse(keys, &item, derived)?;
        let single = keys.flag("single")?;
        if single.is_some() && matches!(item.shape, Shape::RegisterBit(_)) {
            return Err(keys.error("single", "one bit of a register has a function of its own; leave it out"));
        }
        if single == Some(true) && item.width() > 1 {
            let message = format!("a single write cannot carry {}; leave it out", item.place());
            return Err(keys.error("single", message));
        }
        Ok(Self { parts: vec![(item, source)], single })
    }

    fn width(&self) -> u32 {
        self.parts.iter().map(|(item, _)| item.width()).sum()
    }

    /// Whether `next` can be written by the same request.
    fn takes(&self, next: &Self) -> bool {
        let alone = |write: &Self| {
            write.single == Some(true)
                || write.parts.iter().any(|(item, _)| matches!(item.shape, Shape::RegisterBit(_)))
        };
        let (Some((last, _)), Some((first, _))) = (self.parts.last(), next.parts.first()) else {
            return false;
        };
        !alone(self) && !alone(next) && last.meets(first) && self.width() + next.width() <= most(first.table)
    }

    /// Table, address and width of the whole.
    fn span(&self) -> (Table, u16, u32) {
        let first = self.parts.first().map(|(item, _)| (item.table, item.address));
        let (table, address) = first.unwrap_or((Table::Holding, 0));
        (table, address, self.width())
    }

    /// The request for a call; the error is a mistake in its parameters.
    pub(crate) fn request(&self, call: &Call) -> Result<Request<'static>, String> {
        let (table, address, width) = self.span();
        let wrong = |source: &Source, e: ValueError| format!("{}: {e}", source.place());
        let single = width == 1 && self.single != Some(false);
        if table.of_bits() {
            let mut bits = Vec::new();
            for (item, source) in &self.parts {
                bits.extend(item.encode_bits(&source.value(call)).map_err(|e| wrong(source, e))?);
            }
            return Ok(match bits.as_slice() {
                [bit] if single => Request::WriteSingleCoil(address, *bit),
                _ => Request::WriteMultipleCoils(address, bits.into()),
            });
        }
        let mut words = Vec::new();
        for (item, source) in &self.parts {
            words.extend(item.encode(&source.value(call)).map_err(|e| wrong(source, e))?);
        }
        let bit = self.parts.first().and_then(|(item, _)| item.bit());
        Ok(match (words.as_slice(), bit) {
            // The device sets this bit and leaves the others as they are: there is no read before, to be overtaken.
            ([on], Some(mask)) => Request::MaskWriteRegister(address, !mask, if *on == 0 { 0 } else { mask }),
            ([word], None) if single => Request::WriteSingleRegister(address, *word),
            _ => Request::WriteMultipleRegisters(address, words.into()),
        })
    }

    /// The number of the function.
    fn function(&self) -> u8 {
        let (table, _, width) = self.span();
        let single = width == 1 && self.single != Some(false);
        match (table.of_bits(), single) {
            (true, true) => 5,
            (true, false) => 15,
            (false, _) if self.parts.iter().any(|(item, _)| item.bit().is_some()) => 22,
            (false, true) => 6,
            (false, false) => 16,
        }
    }
}

impl Read {
    fn new(index: usize, item: Item) -> Self {
        Self { table: item.table, address: item.address, width: item.width(), parts: vec![(index, item)] }
    }

    /// Takes in what `next` reads, which does not stand before it, if it touches.
    fn join(&mut self, next: Self) -> Option<Self> {
        let end = u32::from(self.address) + self.width;
        let width = end.max(u32::from(next.address) + next.width) - u32::from(self.address);
        if next.table != self.table || u32::from(next.address) > end || width > most(self.table) {
            return Some(next);
        }
        self.width = width;
        self.parts.extend(next.parts);
        None
    }

    pub(crate) fn request(&self) -> Request<'static> {
        let width = u16::try_from(self.width).unwrap_or(u16::MAX);
        match self.table {
            Table::Coil => Request::ReadCoils(self.address, width),
            Table::Discrete => Request::ReadDiscreteInputs(self.address, width),
            Table::Holding => Request::ReadHoldingRegisters(self.address, width),
            Table::Input => Request::ReadInputRegisters(self.address, width),
        }
    }

    /// The values in an answer, each with the index of its result; `None`: it is none to this request.
    pub(crate) fn values(&self, answer: &Response) -> Option<Vec<(usize, Value)>> {
        let values = self.parts.iter().map(|(index, item)| {
            let start = usize::from(item.address.checked_sub(self.address)?);
            let range = start..start + usize::try_from(item.width()).ok()?;
            let value = match (self.table, answer) {
                (Table::Coil, Response::ReadCoils(bits))
                | (Table::Discrete, Response::ReadDiscreteInputs(bits)) => item.decode_bits(bits.get(range)?),
                (Table::Holding, Response::ReadHoldingRegisters(words))
                | (Table::Input, Response::ReadInputRegisters(words)) => item.decode(words.get(range)?),
                _ => return None,
            };
            Some((*index, value))
        });
        values.collect()
    }

    const fn function(&self) -> u8 {
        match self.table {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
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
            Self::Wait(wait) => format!("waits {wait:?}"),
            Self::Write(write) => {
                let values =
                    write.parts.iter().map(|(item, source)| format!("{} as {}", source.words(), item.kind()));
                let values: Vec<String> = values.collect();
                format!("writes {} by function {}: {}", self.place(), write.function(), values.join(", "))
            }
            Self::Read(read) => {
                let values = read.parts.iter().map(|(index, item)| match results {
                    Results::Named(names) => {
                        format!("{} as {}", names.get(*index).map_or("", String::as_str), item.kind())
                    }
                    Results::Plain | Results::List(_) | Results::Nothing => item.kind(),
                });
                let values: Vec<String> = values.collect();
                format!("reads {} by function {}: {}", self.place(), read.function(), values.join(", "))
            }
        }
    }
}

/// The most registers or bits of a joined request.
const fn most(table: Table) -> u32 {
    if table.of_bits() { MOST_BITS } else { MOST_REGISTERS }
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
