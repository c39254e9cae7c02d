//! The checksum of a frame: what it covers, how it is written, and its check. Knows no framing.

use nowd_plugin::words::nearest;
use serde_json::Value;

use super::catalogue::Sum;
use crate::keys::{Mistake, Table};

/// The longest mark before a checksum, in bytes, and the most leading bytes that it may leave out.
const LONGEST_MARK: usize = 8;
const MOST_SKIPPED: usize = 64;

/// The checksum of every frame of a map.
#[derive(Debug)]
pub(crate) struct Checksum {
    pub(crate) name: String,
    sum: Sum,
    /// Written as hex digits instead of as bytes.
    digits: Option<Digits>,
    order: Order,
    /// What stands before it: the `*` of NMEA.
    mark: Vec<u8>,
    /// How many leading bytes of the content are not covered.
    skip: usize,
    /// Behind the end byte of `{ start, end }`, instead of before it.
    pub(crate) after_end: bool,
    /// Whether the start and end bytes are covered.
    pub(crate) covers_start: bool,
    pub(crate) covers_end: bool,
}

/// Which byte of the number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digits {
    Upper,
    Lower,
}

impl PartialEq for Checksum {
    fn eq(&self, other: &Self) -> bool {
        // The name says how it is computed.
        let key = |sum: &Self| (sum.name.clone(), sum.digits, sum.order, sum.mark.clone(), sum.skip);
        let ends = |sum: &Self| (sum.after_end, sum.covers_start, sum.covers_end);
        key(self) == key(other) && ends(self) == ends(other)
    }
}

impl Checksum {
    /// Reads `checksum = "CRC-16/MODBUS"` or the table with more about it, at the path `at`.
    pub(crate) fn parse(value: &Value, at: &str) -> Result<Self, Mistake> {
        const EXPECTED: &str =
            "a name such as \"CRC-16/MODBUS\", or { name = \"XOR\", as = \"hex\", after = \"*\" },";
        const KEYS: &[&str] =
            &["name", "as", "order", "after", "skip", "after_end", "covers_start", "covers_end"];
        if let Value::String(name) = value {
            let (sum, order) = by_name(name, at)?;
            return Ok(Self {
                name: name.clone(),
                sum,
                order,
                digits: None,
                mark: Vec::new(),
                skip: 0,
                after_end: false,
                covers_start: false,
                covers_end: false,
            });
        }
        let table = Table::new(value, at, EXPECTED, KEYS)?;
        let Some(name) = table.text("name")? else {
            return Err(Mistake::new(at, "has no `name`, such as \"CRC-16/MODBUS\""));
        };
        let (sum, mut order) = by_name(name, &table.path("name"))?;
        let digits = match table.text("as")? {
            None | Some("bytes") => None,
            Some("hex") => Some(Digits::Upper),
            Some("hex-lower") => Some(Digits::Lower),
            Some(other) => {
                return Err(table.error(
                    "as",
                    format!("{other:?} is none of \"bytes\", \"hex\" (digits such as 4A) and \"hex-lower\""),
                ));
            }
        };
        match table.text("order")? {
            // Digits are written as a number is read.
            None if digits.is_some() => order = Order::Big,
            None => {}
            Some("big") => order = Order::Big,
            Some("little") => order = Order::Little,
            Some(other) => {
                return Err(table.error("order", format!("{other:?} is neither \"big\" nor \"little\"")));
            }
        }
        let mark = table.text("after")?.unwrap_or_default().as_bytes().to_vec();
        if mark.len() > LONGEST_MARK {
            return Err(table.error("after", format!("is longer than {LONGEST_MARK} bytes")));
        }
        let after_end = table.flag("after_end")?.unwrap_or_default();
        Ok(Self {
            name: name.into(),
            sum,
            digits,
            order,
            mark,
            skip: table.size("skip", 0, MOST_SKIPPED)?.unwrap_or_default(),
            after_end,
            covers_start: table.flag("covers_start")?.unwrap_or_default(),
            covers_end: table.flag("covers_end")?.unwrap_or(after_end),
        })
    }

    /// Whether it is text, in which no byte can be taken for something else.
    pub(crate) fn is_text(&self) -> bool {
        self.digits.is_some()
    }

    /// How many bytes of a frame it takes, with its mark.
    pub(crate) fn len(&self) -> usize {
        let width = self.sum.width();
        self.mark.len() + if self.digits.is_some() { 2 * width } else { width }
    }

    /// Its bytes for a content that stands between `start` and `end` (where those are covered).
    pub(crate) fn of(&self, content: &[u8], start: &[u8], end: &[u8]) -> Vec<u8> {
        let covered = content.get(self.skip..).unwrap_or_default();
        let mut number = self.sum.of(&[start, covered, end]);
        if self.order == Order::Little {
            number.reverse();
        }
        let mut bytes = self.mark.clone();
        match self.digits {
            None => bytes.extend(number),
            Some(case) => bytes.extend(number.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| {
                let letter = if case == Digits::Upper { b'A' } else { b'a' };
                if digit < 10 { b'0' + digit } else { letter + digit - 10 }
            })),
        }
        bytes
    }

    /// The content of a frame that ends in its checksum, if that is right.
    pub(crate) fn strip<'a>(&self, frame: &'a [u8], start: &[u8], end: &[u8]) -> Option<&'a [u8]> {
        let (content, found) = frame.split_at_checked(frame.len().checked_sub(self.len())?)?;
        let right = self.of(content, start, end);
        // Digits are understood in either case; of a mark that is a letter that is no harm.
        let same = if self.is_text() { right.eq_ignore_ascii_case(found) } else { right == found };
        same.then_some(content)
    }
}

fn by_name(name: &str, at: &str) -> Result<(Sum, Order), Mistake> {
    let found =
        Sum::by_name(name).map(|(sum, low_first)| (sum, if low_first { Order::Little } else { Order::Big }));
    found.ok_or_else(|| {
        let names = Sum::names();
        let names = names.iter().map(String::as_str);
        let message = match name.to_ascii_uppercase().as_str() {
            "CRC-16" | "CRC16" => {
                "several CRCs are called so; CRC-16/ARC, CRC-16/MODBUS and CRC-16/XMODEM are common".into()
            }
            "CRC-CCITT" | "CRC-16/CCITT" | "CCITT" => {
                "several CRCs are called so; CRC-16/CCITT-FALSE, CRC-16/KERMIT and CRC-16/XMODEM are common"
                    .into()
            }
            _ => match nearest(name, names) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => {
                    "there are XOR, SUM-8, LRC, SUM-16 and the CRCs of the catalogue, such as CRC-16/MODBUS"
                        .into()
                }
            },
        };
        Mistake::new(at, format!("the checksum {name:?} is not known; {message}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<Checksum, String> {
        Checksum::parse(value, "checksum").map_err(|e| e.to_string())
    }

    #[test]
    fn known_frames() {
        for (checksum, content, start, end, expected) in [
            // From the NMEA 0183 and Modbus specifications.
            (
                json!({"name": "XOR", "as": "hex", "after": "*", "skip": 1}),
                &b"$GPGLL,5057.970,N,00146.110,E,142451,A"[..],
                &b""[..],
                &b""[..],
                &b"*27"[..],
            ),
            (json!("CRC-16/MODBUS"), &[0x02, 0x07], b"", b"", &[0x41, 0x12]),
            (json!({"name": "CRC-16/MODBUS", "order": "big"}), &[0x02, 0x07], b"", b"", &[0x12, 0x41]),
            (json!({"name": "CRC-16/MODBUS", "as": "hex"}), &[0x02, 0x07], b"", b"", b"1241"),
            (json!({"name": "LRC", "as": "hex-lower"}), b"\x01\x03\x00\x00\x00\x0a", b"", b"", b"f2"),
            (json!({"name": "XOR", "after_end": true}), b"AB", b"", &[3], &[0x41 ^ 0x42 ^ 3]),
            (json!({"name": "SUM-8", "covers_start": true}), b"AB", &[2], b"", &[0x85]),
        ] {
            let checksum = parse(&checksum).unwrap();
            assert_eq!(checksum.of(content, start, end), expected, "{checksum:?}");
            assert_eq!(checksum.len(), expected.len());
            let whole = [content, expected].concat();
            assert_eq!(checksum.strip(&whole, start, end), Some(content));
            for bit in 0..whole.len() * 8 {
                let mut wrong = whole.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                // A letter of a digit in the other case is the same digit.
                if checksum.strip(&wrong, start, end).is_some() {
                    let case = checksum.is_text() && bit / 8 >= content.len() && bit % 8 == 5;
                    let skipped = bit / 8 < checksum.skip;
                    assert!(case || skipped, "{checksum:?}: bit {bit}");
                }
            }
        }
        let checksum = parse(&json!("CRC-16/MODBUS")).unwrap();
        assert_eq!(checksum.strip(&[1], b"", b""), None, "shorter than the checksum");
    }

    #[test]
    fn mistakes() {
        for (value, expected) in [
            (
                json!("CRC-16/MODBSU"),
                "`checksum`: the checksum \"CRC-16/MODBSU\" is not known; did you mean `CRC-16/MODBUS`?",
            ),
            (
                json!("CRC-16"),
                "`checksum`: the checksum \"CRC-16\" is not known; several CRCs are called so; CRC-16/ARC",
            ),
            (json!({"name": "XR"}), "`checksum.name`: the checksum \"XR\" is not known; did you mean `XOR`?"),
            (json!({}), "`checksum`: has no `name`"),
            (json!(7), "`checksum`: the number 7 where a name such as"),
            (json!({"name": "XOR", "aftr": "*"}), "`checksum.aftr`: unknown key; did you mean `after`?"),
            (json!({"name": "XOR", "as": "text"}), "`checksum.as`: \"text\" is none of"),
            (json!({"name": "XOR", "order": "middle"}), "`checksum.order`: \"middle\" is neither"),
            (
                json!({"name": "XOR", "skip": -1}),
                "`checksum.skip`: the number -1 where a whole number from 0 to 64",
            ),
            (json!({"name": "XOR", "after": "123456789"}), "`checksum.after`: is longer than 8 bytes"),
        ] {
            let message = parse(&value).unwrap_err();
            assert!(message.starts_with(expected), "{value}: {message}");
        }
    }
}
