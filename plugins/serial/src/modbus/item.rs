//! One thing to read or write, as a map says it: `{ holding = 0x2000, type = "u16", scale = 0.01 }`. Knows no request.

use nowd_plugin::map::MapError;
use serde_json::{Map, Value, json};

use super::keys::Keys;
use super::value::{Number, Order, Text, ValueError, quote};

/// The most registers and bits that one request reads and writes, by the protocol.
const MOST_READ: Most = Most { registers: 125, bits: 2000 };
const MOST_WRITTEN: Most = Most { registers: 123, bits: 1968 };

struct Most {
    registers: u16,
    bits: u16,
}

/// The four tables of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Coil,
    Discrete,
    Holding,
    Input,
}

impl Table {
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("coil", Self::Coil),
        ("discrete", Self::Discrete),
        ("holding", Self::Holding),
        ("input", Self::Input),
    ];

    /// Whether it holds single bits.
    pub(crate) const fn of_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    pub(crate) const fn writable(self) -> bool {
        matches!(self, Self::Coil | Self::Holding)
    }

    /// The name of what stands at its addresses.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete input",
            Self::Holding => "holding register",
            Self::Input => "input register",
        }
    }

    /// Where the manuals' numbers of this table begin that have a digit for the table before them.
    const fn reference(self) -> Option<i64> {
        match self {
            Self::Coil => None,
            Self::Discrete => Some(10_001),
            Self::Input => Some(30_001),
            Self::Holding => Some(40_001),
        }
    }

    /// Why a number looks like one of a manual, which counts otherwise; `None`: it does not.
    pub(crate) fn hint(self, address: i64) -> Option<String> {
        let first = self.reference()?;
        let long = (first - 1) * 10 + 1;
        let protocol = if (first..first + 9_999).contains(&address) {
            address - first
        } else if (long..long + 65_536).contains(&address) {
            address - long
        } else {
            return None;
        };
        Some(format!(
            "addresses are those of the protocol, which count from 0 in each table: a manual that calls the {} {address} \
             and counts from {} means {protocol}",
            self.words(),
            if address < long { first } else { long },
        ))
    }
}

/// A place in a table and how to read what is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) table: Table,
    /// The address of the protocol, from 0.
    pub(crate) address: u16,
    pub(crate) shape: Shape,
    /// How many of them, where the value is a list.
    pub(crate) count: Option<u16>,
}

/// What is at one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// A coil or a discrete input.
    Bit,
    /// One bit of a register, 0 being the least significant.
    RegisterBit(u8),
    Number(Number),
    Text(Text),
}

impl Item {
    /// The keys that `read` takes.
    pub(crate) const READ: [&'static str; 11] = [
        "coil", "discrete", "holding", "input", "type", "bit", "count", "length", "order", "scale", "offset",
    ];
    /// The keys that `write` takes.
    pub(crate) const WRITE: [&'static str; 11] =
        ["coil", "holding", "value", "type", "bit", "count", "length", "order", "scale", "offset", "single"];

    /// Reads an item; `order` is the file's, for numbers of more than one register.
    pub(crate) fn parse(keys: &Keys<'_>, write: bool, order: Order) -> Result<Self, MapError> {
        keys.known(if write { &Self::WRITE } else { &Self::READ })?;
        let (name, table) = keys.table(write)?;
        let address = keys.address(name, table)?;
        let (shape, count) = if table.of_bits() { keys.bits(name)? } else { keys.registers(order)? };
        let item = Self { table, address, shape, count };
        let most = if write { MOST_WRITTEN } else { MOST_READ };
        let (most, what) = if table.of_bits() { (most.bits, "bits") } else { (most.registers, "registers") };
        let width = item.width();
        if width > most.into() {
            return Err(keys.error(
                if keys.get("count").is_some() { "count" } else { "length" },
                format!("takes {width} {what}, and one request carries at most {most}"),
            ));
        }
        if u32::from(address) + width > 0x1_0000 {
            return Err(keys.error(
                name,
                format!("the {width} {what} from {address} on end after the last address, 65535"),
            ));
        }
        Ok(item)
    }

    /// How many registers or bits it takes.
    pub(crate) fn width(&self) -> u32 {
        u32::from(self.one()) * u32::from(self.count.unwrap_or(1))
    }

    /// How many registers or bits one value takes.
    fn one(&self) -> u16 {
        match self.shape {
            Shape::Bit | Shape::RegisterBit(_) => 1,
            Shape::Number(number) => number.kind.registers(),
            Shape::Text(text) => text.registers(),
        }
    }

    /// The bit that it is of its register, as a mask.
    pub(crate) fn bit(&self) -> Option<u16> {
        if let Shape::RegisterBit(bit) = self.shape { Some(1 << bit) } else { None }
    }

    /// Whether `next` stands directly behind it.
    pub(crate) fn meets(&self, next: &Self) -> bool {
        self.table == next.table && u32::from(self.address) + self.width() == u32::from(next.address)
    }

    /// What it is, for people: `holding register 0x2000`, with its type.
    pub(crate) fn place(&self) -> String {
        span(self.table, self.address, self.width())
    }

    /// The type, for people.
    pub(crate) fn kind(&self) -> String {
        let one = match self.shape {
            Shape::Bit => "bool".into(),
            Shape::RegisterBit(bit) => format!("bit {bit}"),
            Shape::Text(text) => format!("text of {} characters", text.length),
            Shape::Number(Number { kind, order, scale, offset }) => {
                let mut words = kind.name().to_owned();
                if kind.registers() > 1 {
                    words = format!("{words} {}", order.name());
                } else if order.bytes_swapped {
                    words.push_str(" BA");
                }
                let plain = Number { kind, order, scale: 1.0, offset: 0.0 };
                if plain != (Number { kind, order, scale, offset: 0.0 }) {
                    words = format!("{words} * {scale}");
                }
                if offset < 0.0 {
                    words = format!("{words} - {}", -offset);
                } else if offset > 0.0 {
                    words = format!("{words} + {offset}");
                }
                words
            }
        };
        self.count.map_or(one.clone(), |count| format!("{count} x {one}"))
    }

    /// What one value must be.
    fn one_schema(&self) -> Value {
        match self.shape {
            Shape::Bit | Shape::RegisterBit(_) => json!({"type": "boolean"}),
            Shape::Number(number) => number.schema(),
            Shape::Text(text) => text.schema(),
        }
    }

    /// What the whole value must be; of one element where the map lists them.
    pub(crate) fn schema(&self, element: bool) -> Map<String, Value> {
        let one = self.one_schema();
        let schema = match self.count {
            Some(count) if !element => {
                json!({"type": "array", "items": one, "minItems": count, "maxItems": count})
            }
            Some(_) | None => one,
        };
        if let Value::Object(schema) = schema { schema } else { Map::new() }
    }

    /// The single values of a whole one.
    fn values<'v>(&self, value: &'v Value) -> Result<&'v [Value], ValueError> {
        match (self.count, value) {
            (None, value) => Ok(std::slice::from_ref(value)),
            (Some(count), Value::Array(values)) if values.len() == usize::from(count) => Ok(values),
            (Some(count), _) => Err(ValueError::Count { given: quote(value), count }),
        }
    }

    /// The registers of a value of registers.
    pub(crate) fn encode(&self, value: &Value) -> Result<Vec<u16>, ValueError> {
        let mut words = Vec::new();
        for value in self.values(value)? {
            match self.shape {
                Shape::Number(number) => words.extend(number.encode(value)?),
                Shape::Text(text) => words.extend(text.encode(value)?),
                Shape::Bit | Shape::RegisterBit(_) => words.push(bit(value)?.into()),
            }
        }
        Ok(words)
    }

    /// The bits of a value of bits.
    pub(crate) fn encode_bits(&self, value: &Value) -> Result<Vec<bool>, ValueError> {
        self.values(value)?.iter().map(bit).collect()
    }

    /// The value of as many registers as it takes.
    pub(crate) fn decode(&self, words: &[u16]) -> Value {
        let values = words.chunks(self.one().into()).map(|words| match self.shape {
            Shape::Number(number) => number.decode(words),
            Shape::Text(text) => text.decode(words),
            Shape::RegisterBit(bit) => words.first().is_some_and(|word| word >> bit & 1 == 1).into(),
            Shape::Bit => words.first().is_some_and(|word| *word != 0).into(),
        });
        self.gather(values)
    }

    /// The value of as many bits as it takes.
    pub(crate) fn decode_bits(&self, bits: &[bool]) -> Value {
        self.gather(bits.iter().map(|bit| (*bit).into()))
    }

    fn gather(&self, mut values: impl Iterator<Item = Value>) -> Value {
        if self.count.is_some() { values.collect() } else { values.next().unwrap_or_default() }
    }
}

/// Registers or bits from `address` on, for people.
pub(crate) fn span(table: Table, address: u16, width: u32) -> String {
    let last = u32::from(address) + width - 1;
    if width == 1 {
        format!("{} 0x{address:04X}", table.words())
    } else {
        format!("{}s 0x{address:04X} to 0x{last:04X}", table.words())
    }
}

fn bit(value: &Value) -> Result<bool, ValueError> {
    value.as_bool().ok_or_else(|| ValueError::NotBool(quote(value)))
}
