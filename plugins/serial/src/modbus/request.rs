//! One request each: the items that it carries, what they say when they are filled in, and the values in its answer.
//! Touches no line.

use nowd_plugin::Call;
use nowd_plugin::map::MapError;
use nowd_plugin::params::Derived;
use serde_json::Value;
use tokio_modbus::{Request, Response};

use super::item::{Item, Shape, Table};
use super::keys::Keys;
use super::source::Source;
use super::value::{Order, ValueError};

/// The most registers that one request carries, and the most bits, whether it reads or writes.
const MOST_REGISTERS: u32 = 123;
const MOST_BITS: u32 = 1968;

/// One request that writes.
#[derive(Debug)]
pub(crate) struct Write {
    /// In the order of their addresses, without gaps; never none.
    pub(crate) parts: Vec<(Item, Source)>,
    /// Whether the function for single registers or coils is used, `Some` if the map says it.
    pub(crate) single: Option<bool>,
}

/// One request that reads.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) table: Table,
    pub(crate) address: u16,
    pub(crate) width: u32,
    /// Each with the index of its result.
    pub(crate) parts: Vec<(usize, Item)>,
}

impl Write {
    pub(crate) fn parse(keys: &Keys<'_>, order: Order, derived: &mut Vec<Derived>) -> Result<Self, MapError> {
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
    pub(crate) fn takes(&self, next: &Self) -> bool {
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
    pub(crate) fn span(&self) -> (Table, u16, u32) {
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
    pub(crate) fn function(&self) -> u8 {
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
    pub(crate) fn new(index: usize, item: Item) -> Self {
        Self { table: item.table, address: item.address, width: item.width(), parts: vec![(index, item)] }
    }

    /// Takes in what `next` reads, which does not stand before it, if it touches.
    pub(crate) fn join(&mut self, next: Self) -> Option<Self> {
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

    pub(crate) const fn function(&self) -> u8 {
        match self.table {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }
}

/// The most registers or bits of a joined request.
const fn most(table: Table) -> u32 {
    if table.of_bits() { MOST_BITS } else { MOST_REGISTERS }
}
