//! What is written for a call: the text of a map with the call's parameters in it. A parameter can never end the
//! frame or put a control byte into it.

use nowd_plugin::Call;
use nowd_plugin::template::{Template, TemplateError, param};
use serde_json::Value;

/// The longest frame, in bytes with its terminator.
pub const LONGEST_FRAME: usize = 4096;

/// A text to send, and what ends it.
#[derive(Debug, Clone)]
pub(crate) struct FrameTemplate {
    text: Template,
    terminator: String,
}

/// A text of a map cannot be sent whatever the parameters are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameMistake {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It would be two frames.
    #[error("the text holds the terminator {0:?}; leave it out, the framing adds it")]
    Terminator(String),
}

/// Parameters that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A parameter holds a control character.
    #[error("request.{0}: holds a control character, which could be taken for a command of its own")]
    Control(String),
    /// A parameter holds the terminator.
    #[error("request.{0}: holds the terminator of the frame, which would make two frames of it")]
    Terminator(String),
    /// Parameters and text together hold the terminator.
    #[error("request: makes a text that holds the terminator of the frame")]
    Together,
    /// The frame is too long.
    #[error("request: makes a frame of {0} bytes, more than {LONGEST_FRAME}")]
    TooLong(usize),
}

impl FrameTemplate {
    /// Reads a text; `declared` are the parameters it may use.
    pub(crate) fn parse<'a>(
        text: &str,
        terminator: &str,
        declared: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self, FrameMistake> {
        let template = Template::parse(text)?;
        template.check_declared(declared)?;
        if text.contains(terminator) {
            return Err(FrameMistake::Terminator(terminator.into()));
        }
        Ok(Self { text: template, terminator: terminator.into() })
    }

    /// The bytes for a call.
    pub(crate) fn render(&self, call: &Call) -> Result<Vec<u8>, FrameError> {
        for name in self.text.params() {
            let Some(value) = param(call, name) else { continue };
            let json;
            let text = if let Value::String(text) = value {
                text
            } else {
                json = value.to_string();
                &json
            };
            if text.chars().any(char::is_control) {
                return Err(FrameError::Control(name.into()));
            }
            if text.contains(&self.terminator) {
                return Err(FrameError::Terminator(name.into()));
            }
        }
        let mut frame = self.text.text(call);
        // A parameter may hold one half of a terminator and the text beside it the other.
        if frame.contains(&self.terminator) {
            return Err(FrameError::Together);
        }
        frame.push_str(&self.terminator);
        if frame.len() > LONGEST_FRAME {
            return Err(FrameError::TooLong(frame.len()));
        }
        Ok(frame.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nowd_plugin::Deadline;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn render(text: &str, terminator: &str, value: &Value) -> Result<String, String> {
        let template = FrameTemplate::parse(text, terminator, ["x"].into_iter()).unwrap();
        let call = Call::new(Uuid::nil(), "m", json!({"x": value}), Deadline::after(Duration::from_secs(1)));
        template.render(&call).map(|frame| String::from_utf8(frame).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn renders() {
        assert_eq!(render("SET $x ON", "\r\n", &json!(3)), Ok("SET 3 ON\r\n".into()));
        assert_eq!(render("SAY $x", ";", &json!("ja, é")), Ok("SAY ja, é;".into()));
        assert_eq!(
            render("\u{2}$x", "\r", &json!("a")),
            Ok("\u{2}a\r".into()),
            "the map may use control bytes"
        );
    }

    #[test]
    fn a_parameter_cannot_end_the_frame() {
        for (text, terminator, value, expected) in [
            ("SAY $x", "\r\n", json!("a\r\nOPEN"), "request.x: holds a control character"),
            ("SAY $x", "\r\n", json!("a\n"), "request.x: holds a control character"),
            ("SAY $x", "\r\n", json!("\u{0}"), "request.x: holds a control character"),
            ("SAY $x", "\r\n", json!("\u{7f}"), "request.x: holds a control character"),
            ("SAY $x", "\r\n", json!(["\u{9b}"]), "request.x: holds a control character"),
            ("SAY $x", ";", json!("a;OPEN"), "request.x: holds the terminator"),
            ("SAY $x", ";", json!({"a": ";"}), "request.x: holds the terminator"),
            ("SAY #$x", "##", json!("#OPEN"), "request: makes a text that holds the terminator"),
            ("SAY $x", "\r\n", json!("a".repeat(LONGEST_FRAME)), "request: makes a frame of"),
        ] {
            let message = render(text, terminator, &value).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }

    #[test]
    fn mistakes_of_a_map() {
        for (text, expected) in [
            ("SET $ch", "`$ch` is not declared in `params`, which has x"),
            ("SET $", "a `$` must be followed by"),
            ("SET $x\r\n", "the text holds the terminator \"\\r\\n\""),
        ] {
            let message = FrameTemplate::parse(text, "\r\n", ["x"].into_iter()).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }
}
