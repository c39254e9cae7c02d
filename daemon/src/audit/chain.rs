//! The chain: how a line is sealed to the one before it, and read back. Pure: reads no file and no clock.
//!
//! A line is one JSON object whose last field is `hash`: SHA-256, in lower-case hex, over the hash of the line before (64
//! characters) and the line's own bytes up to `,"hash":"`. So anybody can follow it with `sha256sum`.

use std::fmt;
use std::str::FromStr;

use nowd_protocol::Uuid;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// The longest line that is written or read, in bytes, without its end.
pub(crate) const LONGEST_LINE: usize = 32 * 1_024;

/// What stands between what is covered and the hash.
const SEAM: &str = r#","hash":""#;

/// How long a hash is as a text.
const DIGITS: usize = 64;

/// A hash of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    /// What the first entry of all follows.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// Of any bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
            *to = *from;
        }
        Self(hash)
    }

    /// Of what follows this one.
    fn then(&self, body: &str) -> Self {
        let mut bytes = Vec::with_capacity(DIGITS.saturating_add(body.len()));
        bytes.extend(self.digits());
        bytes.extend(body.as_bytes());
        Self::of(&bytes)
    }

    /// In lower-case hex.
    fn digits(&self) -> [u8; DIGITS] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [b'0'; DIGITS];
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (to, nibble) in digits.iter_mut().zip(nibbles) {
            *to = HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        }
        digits
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// A text is no hash, or no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is NUMBER:HASH, with the 64 lower-case digits that `nowd audit verify` prints")]
pub(crate) struct NotAHead;

impl FromStr for Hash {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotAHead);
        }
        for (index, to) in hash.iter_mut().enumerate() {
            let at = index.saturating_mul(2);
            let digits = text.get(at..at.saturating_add(2)).ok_or(NotAHead)?;
            *to = u8::from_str_radix(digits, 16).map_err(|_| NotAHead)?;
        }
        Ok(Self(hash))
    }
}

/// The last entry: its number and its hash. Whoever keeps one elsewhere can tell later whether anything up to it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        let (number, hash) = text.split_once(':').ok_or(NotAHead)?;
        Ok(Self { number: number.parse().map_err(|_| NotAHead)?, hash: hash.parse()? })
    }
}

/// Makes a line of a JSON object, without its end, and says its hash.
pub(crate) fn seal(object: &str, before: &Hash) -> (String, Hash) {
    let body = object.strip_suffix('}').unwrap_or(object);
    let hash = before.then(body);
    // With room for the end of the line.
    let mut line =
        String::with_capacity(body.len().saturating_add(SEAM.len()).saturating_add(DIGITS).saturating_add(3));
    line.push_str(body);
    line.push_str(SEAM);
    line.push_str(std::str::from_utf8(&hash.digits()).unwrap_or_default());
    line.push_str("\"}");
    (line, hash)
}

/// What the chain and those who look for gaps need of an entry; the other fields are for readers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    pub(crate) n: u64,
    pub(crate) time: String,
    pub(crate) steady_us: u64,
    pub(crate) incarnation: Uuid,
    pub(crate) what: String,
    /// Of `segment`: the hash that it follows.
    #[serde(default)]
    pub(crate) after: Option<String>,
    /// Of `lost`: how many. Of `folded`: how many in all.
    #[serde(default)]
    pub(crate) count: Option<u64>,
    /// Of `pruned`: the last entry that was removed, and its hash.
    #[serde(default)]
    pub(crate) last: Option<u64>,
    #[serde(default)]
    pub(crate) last_hash: Option<String>,
    /// Of `mended`: the bytes that were taken off, and their hash.
    #[serde(default)]
    pub(crate) bytes: Option<u64>,
    #[serde(default)]
    pub(crate) sha256: Option<String>,
}

/// A line, read and not judged.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) entry: Entry,
    body: &'a str,
    /// What it says its hash to be.
    pub(crate) hash: Hash,
}

impl<'a> Line<'a> {
    /// `None` for what is no entry. `line` is without its end.
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= LONGEST_LINE)?;
        let (body, rest) = text.rsplit_once(SEAM)?;
        let hash = rest.strip_suffix("\"}")?.parse().ok()?;
        let entry = serde_json::from_str(text).ok()?;
        Some(Self { entry, body, hash })
    }

    /// Whether it is what was written after the entry with this hash.
    pub(crate) fn follows(&self, before: &Hash) -> bool {
        before.then(self.body) == self.hash
    }

    /// Of the first entry of a file: what it says that it follows.
    pub(crate) fn after(&self) -> Option<Hash> {
        (self.entry.what == "segment").then_some(())?;
        self.entry.after.as_deref()?.parse().ok()
    }
}
