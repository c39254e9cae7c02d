//! What a serial map does, in words for people: `nowd check` and `nowd call --dry-run`. Writes nothing to a port.

use std::sync::Arc;

use nowd_plugin::Call;

use super::method::{Frame, SerialMap, Step};
use crate::content::field::hex;
use crate::content::pattern::Pattern;
use crate::content::template::FrameError;

impl SerialMap {
    /// What is sent and what answers mean, with placeholders left in.
    pub(crate) fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |what: &str, text: String| lines.push(format!("{what:<12}{text}"));
        for step in &self.steps {
            match step {
                Step::Send { frame, reply } => {
                    say("sends", frame.to_string());
                    say("", awaited(reply.as_ref()));
                }
                Step::Wait(wait) => say("waits", format!("{wait:?}")),
            }
        }
        if let Some(refused) = &self.refused {
            say("refused", format!("{refused}: the device did nothing"));
        }
        if let Some(failed) = &self.failed {
            say("failed", format!("{failed}: the device answered with an error"));
        }
        say("framing", self.wire.to_string());
        match self.echo {
            Some(true) => say("echo", "the line repeats what is sent, which is dropped".into()),
            Some(false) => say("echo", "none: an answer may be the same bytes as what is sent".into()),
            None => {}
        }
        for name in &self.unused {
            say(
                "unused",
                format!(
                    "the parameter `{name}`: nothing that is sent has it; write ${name} where it belongs"
                ),
            );
        }
        lines
    }

    /// What exactly would be written for `call`.
    pub(crate) fn preview(&self, call: &Call) -> Result<Vec<String>, FrameError> {
        let mut lines = Vec::new();
        let mut say = |what: &str, text: String| lines.push(format!("{what:<12}{text}"));
        for frame in self.frames(call)? {
            match frame {
                Frame::Send { bytes, reply } => {
                    say("writes", hex(&bytes));
                    say("as text", format!("\"{}\"", bytes.escape_ascii()));
                    say("", awaited(reply.as_ref()));
                }
                Frame::Wait(wait) => say("waits", format!("{wait:?}")),
            }
        }
        Ok(lines)
    }
}

fn awaited(reply: Option<&Arc<Pattern>>) -> String {
    match reply {
        Some(reply) => format!("and waits for {reply}"),
        None => "and waits for no answer, so the status is `sent`".into(),
    }
}
