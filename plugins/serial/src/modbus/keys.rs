//! The keys of one item, each read with a message that leads to the fix. Knows no request.

use std::fmt;
use std::time::Duration;

use nowd_plugin::duration;
use nowd_plugin::map::{MapError, MapOrigin};
use nowd_plugin::words::nearest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::item::{Shape, Table};
use super::value::{Kind, Number, Order, Text, quote};

#[derive(Deserialize)]
struct Wait {
    #[serde(deserialize_with = "duration::deserialize")]
    wait: Duration,
}

/// The keys of one item, where they stand.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) origin: &'a MapOrigin,
    /// The item's path in the method: `read.speed`.
    pub(crate) path: String,
    pub(crate) given: &'a Map<String, Value>,
}

impl Keys<'_> {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.given.get(key)
    }

    /// A mistake at a key, which the message names.
    pub(crate) fn error(&self, key: &str, message: impl fmt::Display) -> MapError {
        let path = format!("{}.{key}", self.path);
        self.origin.at(&path).error(format!("`{path}`: {message}"))
    }

    /// A mistake of the item as a whole.
    pub(crate) fn whole(&self, message: impl fmt::Display) -> MapError {
        self.origin.at(&self.path).error(format!("`{}`: {message}", self.path))
    }

    /// How long to wait, if that is all it says.
    pub(crate) fn wait(&self) -> Result<Option<Duration>, MapError> {
        let Some(wait) = self.get("wait") else { return Ok(None) };
        if let Some(other) = self.given.keys().find(|key| *key != "wait") {
            return Err(self.error(
                other,
                "stands beside `wait`, which is a step of its own, such as { wait = \"200ms\" }",
            ));
        }
        let wait = Wait::deserialize(json!({"wait": wait})).map_err(|e| self.error("wait", e))?;
        Ok(Some(wait.wait))
    }

    pub(crate) fn known(&self, known: &[&str]) -> Result<(), MapError> {
        let Some(key) = self.given.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
        // A key that may stand elsewhere is no misspelling.
        let hint = match key.as_str() {
            "discrete" | "input" => {
                return Err(self.error(key, "devices only let it be read; `write` takes `coil` or `holding`"));
            }
            "value" | "single" => "it belongs to `write`".into(),
            _ => match nearest(key, known.iter().copied()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("there are {}", known.join(", ")),
            },
        };
        Err(self.error(key, format!("unknown key; {hint}")))
    }

    pub(crate) fn table(&self, write: bool) -> Result<(&'static str, Table), MapError> {
        let mut given = Table::NAMES.iter().filter(|(name, _)| self.given.contains_key(*name));
        match (given.next(), given.next()) {
            (Some(table), None) => Ok(*table),
            (Some(_), Some((name, _))) => {
                Err(self.error(name, "one item is in one table; leave out the other"))
            }
            (None, _) => {
                let names = Table::NAMES.iter().filter(|(_, table)| !write || table.writable());
                let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
                Err(self.whole(format!(
                    "says no address; add one of {}, such as holding = 0x2000",
                    names.join(", ")
                )))
            }
        }
    }

    pub(crate) fn address(&self, name: &str, table: Table) -> Result<u16, MapError> {
        let value = self.get(name).unwrap_or(&Value::Null);
        let Some(number) = value.as_i64() else {
            let message =
                format!("{} is no address; write a number without quotes, such as 0x2000", quote(value));
            return Err(self.error(name, message));
        };
        u16::try_from(number).map_err(|_| {
            let hint = table.hint(number).map(|hint| format!("; {hint}")).unwrap_or_default();
            self.error(name, format!("{number} is no address, which is 0 to 65535{hint}"))
        })
    }

    pub(crate) fn bits(&self, name: &str) -> Result<(Shape, Option<u16>), MapError> {
        for key in ["bit", "length", "order", "scale", "offset"] {
            self.absent(key, &format!("a `{name}` is one bit; leave it out"))?;
        }
        if let Some(kind) = self.get("type").filter(|kind| **kind != json!("bool")) {
            return Err(self.error(
                "type",
                format!("a `{name}` is one bit: {} should be \"bool\", or left out", quote(kind)),
            ));
        }
        Ok((Shape::Bit, self.positive("count", "of values")?))
    }

    pub(crate) fn registers(&self, order: Order) -> Result<(Shape, Option<u16>), MapError> {
        if let Some(bit) = self.get("bit") {
            for key in ["type", "count", "length", "order", "scale", "offset"] {
                self.absent(key, "a `bit` of a register is true or false; leave it out")?;
            }
            let number = bit.as_u64().and_then(|bit| u8::try_from(bit).ok()).filter(|bit| *bit < 16);
            let number = number.ok_or_else(|| {
                self.error("bit", format!("{} is no bit of a register, which are 0 to 15", quote(bit)))
            })?;
            return Ok((Shape::RegisterBit(number), None));
        }
        let name = self.text("type")?.unwrap_or("u16");
        if name == "text" {
            for key in ["count", "scale", "offset"] {
                self.absent(key, "a text has none; leave it out")?;
            }
            let length = self.positive("length", "of characters")?;
            let length =
                length.ok_or_else(|| self.whole("a text needs `length`, its number of characters"))?;
            let swapped = self.order(&Order::SHORT, "a text")?.unwrap_or_default().bytes_swapped;
            return Ok((Shape::Text(Text { length, swapped }), None));
        }
        let Some((_, kind)) = Kind::NAMES.iter().find(|(known, _)| *known == name) else {
            let known = || Kind::NAMES.iter().map(|(known, _)| *known).chain(["text"]);
            let hint = match nearest(name, known()) {
                // One bit of a register is not a type, because it matters which.
                _ if name == "bool" => {
                    "a register has 16 bits; choose one of them with `bit = 0` instead".into()
                }
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            };
            return Err(self.error("type", format!("{name:?} is no type; {hint}")));
        };
        self.absent("length", "it is for texts; the number of values is `count`")?;
        let order = if kind.registers() == 1 {
            self.order(&Order::SHORT, "a number of one register")?.unwrap_or_default()
        } else {
            self.order(&Order::LONG, "a number of several registers")?.unwrap_or(order)
        };
        let scale = self.number("scale")?.unwrap_or(1.0);
        if scale == 0.0 {
            return Err(self.error("scale", "every value would be the same; it must not be 0"));
        }
        let offset = self.number("offset")?.unwrap_or(0.0);
        Ok((
            Shape::Number(Number { kind: *kind, order, scale, offset }),
            self.positive("count", "of values")?,
        ))
    }

    fn absent(&self, key: &str, message: &str) -> Result<(), MapError> {
        if self.given.contains_key(key) { Err(self.error(key, message)) } else { Ok(()) }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, MapError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| self.error(key, format!("{} is no text; write it in quotes", quote(value))))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, MapError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_f64().filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| self.error(key, format!("{} is not a number", quote(value))))
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, MapError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .as_bool()
            .map(Some)
            .ok_or_else(|| self.error(key, format!("{} is not true or false", quote(value))))
    }

    fn positive(&self, key: &str, what: &str) -> Result<Option<u16>, MapError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number =
            value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
        number.map(Some).ok_or_else(|| {
            self.error(key, format!("{} is no number {what}, which is at least 1", quote(value)))
        })
    }

    fn order(&self, known: &[&str], what: &str) -> Result<Option<Order>, MapError> {
        let Some(name) = self.text("order")? else { return Ok(None) };
        let order = Order::parse(name).filter(|_| known.contains(&name));
        order.map(Some).ok_or_else(|| {
            self.error("order", format!("{name:?} is no order of {what}; there are {}", known.join(", ")))
        })
    }
}
