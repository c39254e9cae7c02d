//! A payload as one JSON object, bounded before it is read.

use serde::Deserialize;

use crate::MAX_PAYLOAD_LEN;

/// A payload is not one JSON object of the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It is larger than any broker of ours takes.
    #[error("the payload is {0} bytes long; at most {MAX_PAYLOAD_LEN} are allowed")]
    TooLarge(usize),
    /// It is no text.
    #[error("the payload is not UTF-8")]
    NotUtf8,
    /// It is no JSON object, a field stands twice, or a field is not of its type.
    #[error("the payload is not the JSON object that was expected: {0}")]
    Form(String),
}

/// Reads an object. A derived `Deserialize` would take an array for a struct as well; the wire does not.
pub(crate) fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, ObjectError> {
    if payload.len() > MAX_PAYLOAD_LEN {
        return Err(ObjectError::TooLarge(payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| ObjectError::NotUtf8)?;
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(ObjectError::Form("it does not start with `{`".into()));
    }
    serde_json::from_str(text).map_err(|e| ObjectError::Form(one_line(&e)))
}

/// The words of an error, some of which quote a character of the payload: a line feed there must not make two lines of
/// one in a log.
pub(crate) fn one_line(error: &serde_json::Error) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
