//! `[ports.<name>]` of `nowd.toml`: how a serial line is set up. Reads no file and opens no device.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use nowd_plugin::duration;
use serde::{Deserialize, Deserializer};

pub use self::rs485::Rs485;

mod rs485;

/// The silence waited for after a call without an answer, unless `silence` is given. A device that has missed one
/// deadline is a slow one: what it says late must not be taken for its answer to the next call.
const DEFAULT_SILENCE: Duration = Duration::from_secs(1);

/// One declared port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// The device's path; one under `/dev/serial/by-id/` stays the same when it is plugged in elsewhere.
    pub device: PathBuf,
    /// Bits per second (default 9600).
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// Data bits, parity and stop bits (default `8N1`).
    #[serde(default)]
    pub format: Format,
    /// Flow control (default none).
    #[serde(default)]
    pub flow: Flow,
    /// How the kernel shall switch an RS-485 transceiver: `true`, or a table; `false` for not at all (default).
    #[serde(default, deserialize_with = "rs485::deserialize")]
    pub rs485: Option<Rs485>,
    /// How long the line is silent before each frame.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub gap: Option<Duration>,
    /// How long the line must be silent after a call without an answer, before the next call may have the port
    /// (default 1 s). Longer than the device's latest answer is on the safe side.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub silence: Option<Duration>,
}

const fn default_baud() -> u32 {
    9600
}

impl PortConfig {
    /// A port at `device` with everything else at its default.
    #[must_use]
    pub fn new(device: impl Into<PathBuf>) -> Self {
        Self {
            device: device.into(),
            baud: default_baud(),
            format: Format::default(),
            flow: Flow::default(),
            rs485: None,
            gap: None,
            silence: None,
        }
    }

    pub(crate) fn silence(&self) -> Duration {
        self.silence.unwrap_or(DEFAULT_SILENCE)
    }

    /// How long so many tenths of a character are on the wire.
    pub(crate) fn characters(&self, tenths: u32) -> Duration {
        let format = self.format;
        let parity = u32::from(format.parity != Parity::None);
        let bits = 1 + u32::from(format.data_bits) + parity + u32::from(format.stop_bits);
        let micros =
            u64::from(tenths).saturating_mul(bits.into()).saturating_mul(100_000).div_ceil(self.baud.into());
        Duration::from_micros(micros)
    }

    /// What is wrong with the values, in words.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        if !self.device.is_absolute() {
            Some("`device` must be an absolute path, such as \"/dev/ttyUSB0\"")
        } else if self.device.to_str().is_none() {
            Some("`device` must be UTF-8")
        } else if self.baud == 0 {
            Some("`baud` must be greater than 0")
        } else if self.rs485.is_some() && self.flow == Flow::Hardware {
            Some("`rs485` and `flow = \"hardware\"` both want the RTS line; leave out one of them")
        } else if self.rs485.is_some_and(|rs485| rs485.longest_delay() > rs485::LONGEST_DELAY) {
            Some("`rs485.delay_before` and `rs485.delay_after` are at most 100ms")
        } else if self.silence.is_some_and(|silence| silence.is_zero()) {
            Some("`silence` must be longer than 0, or late answers would be taken for the next call's")
        } else {
            None
        }
    }
}

/// Flow control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// None.
    #[default]
    None,
    /// RTS and CTS.
    Hardware,
    /// XON and XOFF.
    Software,
}

/// Parity of each character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// `N`.
    None,
    /// `E`.
    Even,
    /// `O`.
    Odd,
}

/// Data bits (5 to 8), parity and stop bits (1 or 2), written `8N1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub(crate) data_bits: u8,
    pub(crate) parity: Parity,
    pub(crate) stop_bits: u8,
}

impl Default for Format {
    fn default() -> Self {
        Self { data_bits: 8, parity: Parity::None, stop_bits: 1 }
    }
}

/// A text is not a character format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a character format; write data bits 5 to 8, parity N, E or O, stop bits 1 or 2, such as \"8N1\""
)]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mistake = || FormatError(text.chars().take(20).collect());
        let [data_bits, parity, stop_bits] = text.as_bytes() else { return Err(mistake()) };
        let parity = match parity {
            b'N' => Parity::None,
            b'E' => Parity::Even,
            b'O' => Parity::Odd,
            _ => return Err(mistake()),
        };
        match (data_bits, stop_bits) {
            (b'5'..=b'8', b'1' | b'2') => {
                Ok(Self { data_bits: data_bits - b'0', parity, stop_bits: stop_bits - b'0' })
            }
            _ => Err(mistake()),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{}{parity}{}", self.data_bits, self.stop_bits)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> Result<PortConfig, String> {
        toml::from_str(text).map_err(|e: toml::de::Error| e.message().to_owned())
    }

    #[test]
    fn reads_a_port() {
        let plain = port(r#"device = "/dev/ttyUSB0""#).unwrap();
        assert_eq!(plain, PortConfig::new("/dev/ttyUSB0"));
        assert_eq!((plain.format.to_string(), plain.silence()), ("8N1".into(), DEFAULT_SILENCE));
        let full = port(
            "device = \"/dev/a\"\nbaud = 19200\nformat = \"7E2\"\nflow = \"software\"\nrs485 = true\ngap = \"4ms\"",
        )
        .unwrap();
        assert_eq!((full.baud, full.format.to_string(), full.flow), (19_200, "7E2".into(), Flow::Software));
        assert_eq!(full.rs485, Some(Rs485::default()));
        assert_eq!(full.silence(), DEFAULT_SILENCE);
        for (text, expected) in [
            ("false", None),
            ("\"false\"", None),
            ("true", Some(Rs485::default())),
            ("\"true\"", Some(Rs485::default())),
            ("{}", Some(Rs485::default())),
            (
                "{ rts_on_send = false, delay_before = \"1ms\", delay_after = \"2ms\", termination = true }",
                Some(Rs485 {
                    rts_on_send: false,
                    delay_before: Duration::from_millis(1),
                    delay_after: Duration::from_millis(2),
                    termination: true,
                }),
            ),
        ] {
            assert_eq!(
                port(&format!("device = \"/dev/a\"\nrs485 = {text}")).unwrap().rs485,
                expected,
                "{text}"
            );
        }
        let silence = port("device = \"/dev/a\"\ngap = \"4ms\"\nsilence = \"2s\"").unwrap();
        assert_eq!(silence.silence(), Duration::from_secs(2));
    }

    #[test]
    fn refuses() {
        for (text, expected) in [
            ("device = \"/dev/a\"\nformat = \"9N1\"", "\"9N1\" is not a character format"),
            ("device = \"/dev/a\"\nformat = \"8N3\"", "\"8N3\" is not a character format"),
            ("device = \"/dev/a\"\nformat = \"8n1\"", "\"8n1\" is not a character format"),
            ("device = \"/dev/a\"\nformat = \"\"", "\"\" is not a character format"),
            ("device = \"/dev/a\"\nflow = \"rts\"", "unknown variant `rts`"),
            ("device = \"/dev/a\"\nrs485 = 1", "invalid type: integer `1`, expected true, false or a table"),
            ("device = \"/dev/a\"\nrs485 = { rts = true }", "unknown field `rts`"),
            ("device = \"/dev/a\"\nspeed = 1", "unknown field `speed`"),
            ("device = \"/dev/a\"\ngap = 5", "invalid type: integer `5`"),
            ("baud = 9600", "missing field `device`"),
        ] {
            let message = port(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
        for (text, expected) in [
            ("device = \"ttyUSB0\"", "`device` must be an absolute path"),
            ("device = \"/dev/a\"\nbaud = 0", "`baud` must be greater than 0"),
            ("device = \"/dev/a\"\nrs485 = true\nflow = \"hardware\"", "`rs485` and `flow"),
            ("device = \"/dev/a\"\nsilence = \"0s\"", "`silence` must be longer than 0"),
        ] {
            assert!(port(text).unwrap().mistake().unwrap().starts_with(expected), "{text}");
        }
    }
}
