//! A whole frame: what framing and checksum add to a content that is sent.
//!
//! Everywhere else a frame is its *content*: without terminator, start and end byte, escapes, length field and checksum.

use serde_json::Value;

use super::checksum::Checksum;
use super::kinds::{Between, Framing, LONGEST_FRAME, SLIP};
use crate::keys::Mistake;

/// Framing and checksum of a map.
#[derive(Debug, PartialEq)]
pub(crate) struct Wire {
    pub(crate) framing: Framing,
    pub(crate) checksum: Option<Checksum>,
}

/// A content cannot be made into a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrapError {
    /// It would be two frames.
    #[error("holds the terminator of the frame")]
    Terminator,
    /// It would be two frames.
    #[error("holds the byte {0:02X}, which starts or ends a frame")]
    Delimiter(u8),
    /// Nobody would see it.
    #[error("is empty, which this framing cannot send")]
    Empty,
    /// It has the wrong length.
    #[error("makes a frame of {is} bytes, and `framing.fixed` is {must}")]
    Length { is: usize, must: usize },
    /// Its length field does not fit.
    #[error("makes a frame of {0} bytes, which its length field cannot say")]
    Field(usize),
    /// The length field has no place.
    #[error("is shorter than the {0} bytes that stand before the length field")]
    Short(usize),
    /// The frame is too long.
    #[error("makes a frame of {0} bytes, more than {LONGEST_FRAME}")]
    TooLong(usize),
}

impl Wire {
    /// Reads `framing` and `checksum`, and checks that they go together.
    pub(crate) fn parse(framing: &Value, checksum: Option<&Value>) -> Result<Self, Mistake> {
        let framing = Framing::parse(framing, "framing")?;
        let checksum = checksum.map(|value| Checksum::parse(value, "checksum")).transpose()?;
        let Some(sum) = &checksum else { return Ok(Self { framing, checksum }) };
        let binary = !sum.is_text();
        let message = match &framing {
            Framing::Line(_) if binary => Some(
                "a binary checksum could hold the terminator of a line; add `as = \"hex\"`, or use another framing",
            ),
            Framing::Between(Between { escape: None, .. }) if binary && !sum.after_end => Some(
                "a binary checksum could hold the end byte; add `after_end = true` if it stands behind that, \
                 `as = \"hex\"`, or `escape` to the framing",
            ),
            Framing::Fixed { len, .. } if *len <= sum.len() => Some("is as long as the whole frame"),
            Framing::Between(b) if *b != SLIP => None,
            Framing::Line(_)
            | Framing::Fixed { .. }
            | Framing::Length { .. }
            | Framing::Cobs
            | Framing::Between(_) => (sum.after_end || sum.covers_start || sum.covers_end).then_some(
                "`after_end`, `covers_start` and `covers_end` need a framing with start and end byte",
            ),
        };
        match message {
            Some(message) => Err(Mistake::new("checksum", message)),
            None => Ok(Self { framing, checksum }),
        }
    }

    /// The content with its checksum, where that stands inside the frame.
    fn summed(&self, content: &[u8], start: &[u8], end: &[u8]) -> Vec<u8> {
        let mut bytes = content.to_vec();
        if let Some(checksum) = &self.checksum {
            bytes.extend(checksum.of(content, start, end));
        }
        bytes
    }

    /// The whole frame for a content.
    pub(crate) fn wrap(&self, content: &[u8]) -> Result<Vec<u8>, WrapError> {
        let frame = match &self.framing {
            Framing::Line(terminator) => {
                let mut frame = self.summed(content, &[], &[]);
                frame.extend(terminator.as_bytes());
                // A terminator that begins in the content would end the line too soon.
                let at = frame.windows(terminator.len()).position(|window| window == terminator.as_bytes());
                if at.is_some_and(|at| at + terminator.len() < frame.len()) {
                    return Err(WrapError::Terminator);
                }
                frame
            }
            Framing::Fixed { len, .. } => {
                let frame = self.summed(content, &[], &[]);
                if frame.len() != *len {
                    return Err(WrapError::Length { is: frame.len(), must: *len });
                }
                frame
            }
            Framing::Length { field, .. } => {
                let sum = self.checksum.as_ref().map_or(0, Checksum::len);
                let whole = content.len() + field.width() + sum;
                let length = field.bytes(whole).ok_or(WrapError::Field(whole))?;
                let (before, after) = content.split_at_checked(field.at).ok_or(WrapError::Short(field.at))?;
                self.summed(&[before, &length, after].concat(), &[], &[])
            }
            Framing::Between(between) => self.wrap_between(*between, content)?,
            Framing::Cobs => {
                let content = self.summed(content, &[], &[]);
                let mut frame = vec![0; cobs::max_encoding_length(content.len()) + 1];
                let len =
                    cobs::try_encode(&content, &mut frame).map_err(|_| WrapError::TooLong(frame.len()))?;
                frame.truncate(len);
                frame.push(0);
                frame
            }
        };
        if frame.len() > LONGEST_FRAME { Err(WrapError::TooLong(frame.len())) } else { Ok(frame) }
    }

    fn wrap_between(&self, between: Between, content: &[u8]) -> Result<Vec<u8>, WrapError> {
        let inside = self.checksum.as_ref().is_some_and(|sum| !sum.after_end);
        if content.is_empty() && between.start == between.end && !inside {
            return Err(WrapError::Empty);
        }
        let mut frame = vec![between.start];
        between.put(content, &mut frame)?;
        let sum = self.checksum.as_ref();
        let bytes = sum.map(|sum| sum.of(content, between.covered_start(sum), between.covered_end(sum)));
        let (before, after) = match bytes {
            Some(bytes) if sum.is_some_and(|sum| sum.after_end) => (Vec::new(), bytes),
            Some(bytes) => (bytes, Vec::new()),
            None => (Vec::new(), Vec::new()),
        };
        between.put(&before, &mut frame)?;
        frame.push(between.end);
        frame.extend(after);
        Ok(frame)
    }
}

impl std::fmt::Display for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.checksum {
            Some(checksum) => write!(f, "{}, with the checksum {}", self.framing, checksum.name),
            None => write!(f, "{}", self.framing),
        }
    }
}

#[cfg(test)]
mod tests;
