//! One level of a topic: a target, a method's name, a return address.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A topic level that is safe to stand in a topic: not empty, without `/`, `+`, `#` and NUL, without control characters and
/// noncharacters (for which MQTT 5, 1.5.4, lets a broker end the connection, and mosquitto does), not starting with `$`, at
/// most [`Level::MAX_LEN`] bytes. Cheap to clone: a call keeps it in many places.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Level(Arc<str>);

/// A text cannot be a topic level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// It is empty.
    #[error("a topic level is empty")]
    Empty,
    /// It holds a separator, a wildcard or NUL.
    #[error("a topic level holds {0:?}, which MQTT keeps for itself")]
    Reserved(char),
    /// It holds a control character or a noncharacter.
    #[error("a topic level holds {0:?}, for which a broker may end the connection")]
    Unprintable(char),
    /// It starts with `$`.
    #[error("a topic level starts with `$`, which brokers keep for themselves")]
    Dollar,
    /// It is too long.
    #[error("a topic level is {0} bytes long; at most {max} are allowed", max = Level::MAX_LEN)]
    TooLong(usize),
}

impl Level {
    /// The longest level, in bytes: AWS IoT Core's limit for client ids and thing names.
    pub const MAX_LEN: usize = 128;

    /// Checks a text.
    pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, LevelError> {
        check(text.as_ref())?;
        Ok(Self(text.into()))
    }

    /// The text, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), LevelError> {
    if text.len() > Level::MAX_LEN {
        return Err(LevelError::TooLong(text.len()));
    }
    if text.is_empty() {
        return Err(LevelError::Empty);
    }
    if text.starts_with('$') {
        return Err(LevelError::Dollar);
    }
    if let Some(c) = text.chars().find(|c| matches!(c, '/' | '+' | '#' | '\0')) {
        return Err(LevelError::Reserved(c));
    }
    match text.chars().find(|c| c.is_control() || is_noncharacter(*c)) {
        Some(c) => Err(LevelError::Unprintable(c)),
        None => Ok(()),
    }
}

/// Code points that will never be characters.
fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Level {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Level {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Level {
    type Error = LevelError;

    fn try_from(text: String) -> Result<Self, LevelError> {
        Self::new(text)
    }
}

impl std::str::FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        Self::new(text)
    }
}

impl From<Level> for String {
    fn from(level: Level) -> Self {
        level.as_str().to_owned()
    }
}
