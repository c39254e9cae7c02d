//! `[audit]`: the record of calls that shows gaps and edits. Opens nothing.

use std::time::Duration;

use nowd_plugin::duration;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The smallest and the largest record, in bytes.
const SIZES: std::ops::RangeInclusive<u64> = (1 << 20)..=(64 << 30);

/// The longest time for which entries may lie in memory.
const LONGEST_SYNC: Duration = Duration::from_secs(60);

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// How much of the disk it may take: 1 MiB to 64 GiB.
    pub max_size: Size,
    /// How long an entry may wait to be brought to the disk, up to a minute: what a loss of power may take.
    #[serde(deserialize_with = "sync")]
    pub sync: Duration,
}

/// A number of bytes, as `"64MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(u64);

impl Size {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { enabled: true, max_size: Size(64 << 20), sync: Duration::from_secs(1) }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size = bytes(&text).filter(|size| SIZES.contains(size));
        size.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no size from \"1MiB\" to \"64GiB\"; units are KiB, MiB and GiB"
            ))
        })
    }
}

fn bytes(text: &str) -> Option<u64> {
    let unit = |unit: &str, bytes: u64| Some((text.strip_suffix(unit)?, bytes));
    let (number, unit) =
        unit("KiB", 1 << 10).or_else(|| unit("MiB", 1 << 20)).or_else(|| unit("GiB", 1 << 30))?;
    let number = number.trim_end();
    // `parse` takes a sign too.
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok())??.checked_mul(unit)
}

fn sync<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let sync = duration::deserialize(deserializer)?;
    if sync > LONGEST_SYNC {
        return Err(D::Error::custom("an entry may wait for a minute at most"));
    }
    Ok(sync)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("64MiB", Some(64 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("2048KiB", Some(2 << 20)),
            ("64", None),
            ("64MB", None),
            ("-1MiB", None),
            ("+1MiB", None),
            ("1.5MiB", None),
            ("MiB", None),
            ("99999999999999999999GiB", None),
            ("17179869184GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
