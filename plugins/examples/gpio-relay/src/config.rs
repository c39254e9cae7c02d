//! The plugin's configuration: which relay is on which line. Opens nothing but the file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A chip of this name is none: its lines are kept in memory.
pub(crate) const SIMULATED: &str = "simulated";

/// The most channels: a lane is no wider.
const MOST_CHANNELS: usize = 256;

/// The relays, by the names that callers use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The chip of channels that name none: a device such as `/dev/gpiochip0`, or [`SIMULATED`].
    pub(crate) chip: String,
    pub(crate) channels: BTreeMap<String, ChannelConfig>,
}

/// One relay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChannelConfig {
    pub(crate) chip: Option<String>,
    pub(crate) line: LineName,
    /// Whether the relay is on when the line is low, as on most boards with optocouplers.
    #[serde(default)]
    pub(crate) active_low: bool,
}

/// A line of a chip.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum LineName {
    /// Its number on the chip.
    Offset(u32),
    /// Its name, such as `GPIO17`.
    Name(String),
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML of this form; the reader's own message names line and key.
    #[error("{path}: {message}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// No relay, or too many.
    #[error("{path}: `channels` has {found} entries, and must have 1 to {MOST_CHANNELS}")]
    Channels {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// Two channels would fight over a line.
    #[error("{path}: channels.{one} and channels.{other} have the same line; give each a line of its own")]
    SameLine {
        /// The file.
        path: PathBuf,
        /// The first of the two.
        one: String,
        /// The second.
        other: String,
    },
}

impl Config {
    /// Reads and checks the file.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|e| ConfigError::Form { path: path.into(), message: e.to_string().trim_end().into() })?;
        let found = config.channels.len();
        if found == 0 || found > MOST_CHANNELS {
            return Err(ConfigError::Channels { path: path.into(), found });
        }
        let mut taken: BTreeMap<(&str, String), &str> = BTreeMap::new();
        for (name, channel) in &config.channels {
            let key = (config.chip_of(channel), format!("{:?}", channel.line));
            if let Some(one) = taken.insert(key, name) {
                return Err(ConfigError::SameLine {
                    path: path.into(),
                    one: one.to_owned(),
                    other: name.clone(),
                });
            }
        }
        Ok(config)
    }

    /// The chip that a channel is on.
    pub(crate) fn chip_of<'a>(&'a self, channel: &'a ChannelConfig) -> &'a str {
        channel.chip.as_deref().unwrap_or(&self.chip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("gpio-relay.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_file_beside_the_example_is_right() {
        let config = parse(include_str!("../gpio-relay.toml")).unwrap();
        assert_eq!(config.channels["pump"].line, LineName::Offset(17));
        assert_eq!(config.channels["lamp"].line, LineName::Name("GPIO27".into()));
        assert!(config.channels["pump"].active_low);
    }

    #[test]
    fn mistakes_name_the_file_and_the_key() {
        for (text, expected) in [
            ("chip = \"x\"\n[channels]", "`channels` has 0 entries"),
            ("[channels.a]\nline = 1", "missing field `chip`"),
            ("chip = \"x\"\n[channels.a]\nline = 1\nactive_lo = true", "unknown field `active_lo`"),
            ("chip = \"x\"\n[channels.a]\nline = -1", "line"),
            (
                "chip = \"x\"\n[channels.a]\nline = 1\n[channels.b]\nline = 1\nactive_low = true",
                "channels.a and channels.b have the same line",
            ),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.starts_with("gpio-relay.toml: "), "{found}");
            assert!(found.contains(expected), "{found} does not say: {expected}");
        }
    }
}
