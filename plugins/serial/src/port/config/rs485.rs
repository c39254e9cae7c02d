//! `rs485` of a port: how the kernel switches a transceiver between sending and receiving.

use std::fmt;
use std::time::Duration;

use nowd_plugin::duration;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The longest delay around sending that a transceiver can want.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_millis(100);

/// How the kernel switches an RS-485 transceiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rs485 {
    /// Whether RTS is high while sending (default), or low.
    pub rts_on_send: bool,
    /// The time between RTS and the first bit; whole milliseconds (default none, at most 100 ms).
    #[serde(deserialize_with = "duration::deserialize")]
    pub delay_before: Duration,
    /// The time between the last bit and RTS; whole milliseconds (default none, at most 100 ms).
    #[serde(deserialize_with = "duration::deserialize")]
    pub delay_after: Duration,
    /// Whether the bus is terminated, where the hardware can switch that (default not).
    pub termination: bool,
}

impl Default for Rs485 {
    fn default() -> Self {
        Self {
            rts_on_send: true,
            delay_before: Duration::ZERO,
            delay_after: Duration::ZERO,
            termination: false,
        }
    }
}

impl Rs485 {
    pub(crate) fn longest_delay(&self) -> Duration {
        self.delay_before.max(self.delay_after)
    }
}

/// Reads `true`, `false` or a table. Environment variables can only say the words.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rs485>, D::Error> {
    deserializer.deserialize_any(BoolOrTable)
}

struct BoolOrTable;

impl<'de> Visitor<'de> for BoolOrTable {
    type Value = Option<Rs485>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table such as { delay_before = \"1ms\" }")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Self::Value, E> {
        Ok(on.then(Rs485::default))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "true" => self.visit_bool(true),
            "false" => self.visit_bool(false),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
        Rs485::deserialize(MapAccessDeserializer::new(table)).map(Some)
    }
}
