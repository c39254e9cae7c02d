//! The frames of one call on an open line, in order, and what is known when they end. Writes nothing twice.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::{Call, CallError, Completion, Outcome};
use serde_json::{Map, Value};

use super::method::{Frame, SerialMap, Verdict, printable};
use crate::content::pattern::Pattern;
use crate::framing::missed::{Last, Missed, Shown};
use crate::framing::reader::Reader;
use crate::framing::wire::Wire;
use crate::port::Port;
use crate::port::echo::Echo;
use crate::port::line::Interrupt;
use crate::port::transaction::Session;

/// What to do about a line that may repeat what is sent.
const REPEATS: &str = "set `echo = true` if the line repeats what is sent, or `echo = false` if the device answers with the same";

/// The steps of a call, with its parameters in them.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) map: Arc<SerialMap>,
    pub(crate) frames: Vec<Frame>,
}

/// How far a call has come.
struct Progress {
    /// The kernel took at least one byte.
    written: bool,
    /// How many frames have been written and, where they have a reply, confirmed.
    sent: usize,
    /// A frame is under way, or its reply.
    amid: bool,
    /// Whether every frame so far was confirmed.
    confirmed: bool,
    captures: Map<String, Value>,
    /// The reply that is waited for, and whether it is the last.
    waiting: Option<(Arc<Pattern>, bool)>,
    listener: Listener,
    /// Why the line did not repeat what was sent, as it should, where it did not.
    echo: Option<&'static str>,
}

/// Looks for the answer in what comes.
struct Listener {
    reader: Reader,
    /// What was sent, where nobody said whether the line repeats it.
    sent: Option<Echo>,
    /// All that was sent came first of all.
    came_back: bool,
    /// A frame that was just what had been sent would have been the answer.
    repeated: bool,
}

/// A frame that ends the waiting for a reply.
struct Answer {
    verdict: Verdict,
    frame: Vec<u8>,
}

impl Exchange {
    /// Runs the steps; ends when the line is free again.
    pub(crate) async fn run(&self, mut session: Session<'_>) -> (Completion, io::Result<()>) {
        let listener =
            Listener { reader: Reader::new(&self.map.wire), sent: None, came_back: false, repeated: false };
        let mut progress = Progress {
            written: false,
            sent: 0,
            amid: false,
            confirmed: true,
            captures: Map::new(),
            waiting: None,
            listener,
            echo: None,
        };
        let ended = match self.steps(&mut session, &mut progress).await {
            Ok(completion) => (completion, Ok(())),
            Err(interrupt) => self.interrupted(&mut session, &mut progress, interrupt).await,
        };
        if let Some(why) = progress.echo.or(session.line.forget_echo()) {
            tracing::debug!(
                id = %session.call.id, "{} did not repeat what was sent, as `echo = true` says it does: {why}",
                session.port
            );
        }
        ended
    }

    async fn steps(
        &self,
        session: &mut Session<'_>,
        progress: &mut Progress,
    ) -> Result<Completion, Interrupt> {
        let Session { port, line, call, give_up } = session;
        for (index, frame) in self.frames.iter().enumerate() {
            let (bytes, reply) = match frame {
                Frame::Send { bytes, reply } => (bytes, reply),
                Frame::Wait(wait) => {
                    line.listen(give_up, Some(*wait), |_| None::<()>).await?;
                    continue;
                }
            };
            if let Some(gap) = port.config.gap {
                line.wait_gap(gap, give_up).await?;
            }
            line.discard_input()?;
            if self.map.echo == Some(true) {
                line.expect_echo();
            }
            progress.amid = true;
            line.write(bytes, give_up, &mut progress.written).await?;
            if let Some(reply) = reply {
                let last = index + 1 == self.frames.len();
                progress.listener.begin(self.map.echo, bytes);
                progress.waiting = Some((Arc::clone(reply), last));
                let listener = &mut progress.listener;
                let pause = self.map.wire.framing.pause();
                let heard = line
                    .listen_for(give_up, pause, |chunk| self.hear(port, call, reply, listener, chunk))
                    .await?;
                line.ears().answered(&self.map.wire, &heard.frame);
                progress.waiting = None;
                if let Some(completion) = progress.take(heard.verdict, last) {
                    return Ok(completion);
                }
            } else {
                line.wait_sent(give_up).await?;
                let tenths = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_mul(10);
                line.wait_echo(port.config.characters(tenths), &give_up.stop).await?;
                progress.confirmed = false;
            }
            progress.echo = progress.echo.or(line.forget_echo());
            progress.amid = false;
            progress.sent += 1;
        }
        Ok(progress.finished())
    }

    /// Bytes of the device, or `None`: it has been silent for the pause of the framing.
    fn hear(
        &self,
        port: &Port,
        call: &Call,
        reply: &Pattern,
        listener: &mut Listener,
        chunk: Option<&[u8]>,
    ) -> Option<Answer> {
        let mut judge = |frame: &[u8]| {
            let verdict = self.map.judge(reply, frame);
            if verdict.is_none() {
                let heard = reply.shown(&Shown::new(frame));
                tracing::debug!(id = %call.id, heard, reply = %reply, "a frame that is no answer");
            }
            verdict.map(|verdict| Answer { verdict, frame: frame.to_vec() })
        };
        let Some(mut chunk) = chunk else { return listener.reader.silence(&mut judge) };
        // No frame is the beginning of another, so none ends before all that was sent has come.
        if let Some(end) = listener.sent.as_mut().and_then(|sent| sent.completes(chunk)) {
            let (echo, rest) = chunk.split_at_checked(end)?;
            if listener.reader.feed(echo, &mut judge).is_some() {
                listener.repeated = true;
                if port.is_first_repeat() {
                    tracing::warn!(
                        see = "port-echoes",
                        "{port}: the line may repeat what is sent, which is not taken for an answer; {REPEATS}"
                    );
                }
            }
            listener.came_back = true;
            listener.reader.forget_missed();
            chunk = rest;
        }
        listener.reader.feed(chunk, &mut judge)
    }

    /// What is known of a call that could not be finished; waits until the line is free.
    async fn interrupted(
        &self,
        session: &mut Session<'_>,
        progress: &mut Progress,
        interrupt: Interrupt,
    ) -> (Completion, io::Result<()>) {
        let (code, why) = match session.cut(interrupt, progress.written) {
            Ok(cut) => cut,
            Err(ended) => return ended,
        };
        let Session { port, line, call, give_up } = session;
        let waiting = progress.waiting.take();
        let listener = &mut progress.listener;
        // Between two frames nothing is half said, and no answer can come late: a safe action need not wait.
        let silence = if progress.amid { port.config.silence() } else { Duration::ZERO };
        let settled = line.settle(silence, &give_up.stop, |chunk| {
            let (reply, _) = waiting.as_ref()?;
            self.hear(port, call, reply, listener, Some(chunk))
        });
        let (late, line) = match settled.await {
            Ok(late) => (late.map(|late| late.verdict), Ok(())),
            Err(gone) => (None, Err(gone)),
        };
        let heard = waiting.as_ref().map(|(reply, _)| match &late {
            Some(_) => "the answer came late, and what follows it was not sent".into(),
            None => heard(listener.reader.missed(), reply, &self.map.wire, listener.came_back),
        });
        let all = self.frames.iter().filter(|frame| matches!(frame, Frame::Send { .. })).count();
        let sent = progress.sent;
        let message = match heard {
            Some(_) if listener.repeated => format!(
                "{why} before {port} answered frame {} of {all}; what came first was just what had been sent: {REPEATS}",
                sent + 1
            ),
            Some(heard) => format!("{why} before {port} answered frame {} of {all}; {heard}", sent + 1),
            None => format!("{why} with {sent} of {all} frames done at {port}"),
        };
        // A late answer is still the truth about the device, unless frames after it were never sent.
        let last = waiting.is_some_and(|(_, last)| last);
        let late = match late {
            Some(Verdict::Reply(_)) if !last => None,
            Some(verdict) => Some(progress.take(verdict, last).unwrap_or_else(|| progress.finished())),
            None => None,
        };
        let completion = late.unwrap_or_else(|| Completion::Timeout(CallError::new(code, message)));
        (completion, line)
    }
}

/// What was heard instead of an answer that matches `reply`, and what to look at. `repeated`: before it came what was sent.
fn heard(missed: &Missed, reply: &Pattern, wire: &Wire, repeated: bool) -> String {
    let all = reply.shown(&missed.bytes);
    match &missed.last {
        Some(Last::Frame(frame)) => {
            format!("heard {}, which does not match {}", reply.shown(frame), printable(&reply.to_string()))
        }
        Some(Last::WrongChecksum(frame)) => {
            let name = wire.checksum.as_ref().map_or("", |checksum| &checksum.name);
            format!("heard {}, in which the checksum ({name}) is wrong", reply.shown(frame))
        }
        None if missed.bytes.len > 0 => {
            let are = if missed.bytes.len == 1 { "1 byte" } else { &format!("{} bytes", missed.bytes.len) };
            format!("heard {are} without a whole frame: {all}; the map's `framing` is {}", wire.framing)
        }
        None if repeated => "nothing was heard but what had been sent, come back".into(),
        None => "nothing was heard: look at the wires, the device's power, `baud` and `format`".into(),
    }
}

impl Listener {
    /// The next frame has been sent.
    fn begin(&mut self, echo: Option<bool>, sent: &[u8]) {
        self.reader.reset();
        self.reader.forget_missed();
        self.came_back = false;
        self.repeated = false;
        self.sent = echo.is_none().then(|| {
            let mut echo = Echo::default();
            echo.sent(sent);
            echo
        });
    }
}

impl Progress {
    /// Takes what the device said; gives the completion if the call ends with it.
    fn take(&mut self, verdict: Verdict, last: bool) -> Option<Completion> {
        match verdict {
            // It did what it was told, but nobody can say with what result.
            Verdict::Bad(error) => {
                let outcome = if last && self.confirmed { Outcome::Executed } else { Outcome::Unknown };
                Some(Completion::Failed { outcome, error })
            }
            Verdict::Reply(captures) => {
                self.captures.extend(captures);
                None
            }
            // It refused this step, but an earlier one was done.
            Verdict::Refused(error) if self.sent > 0 => {
                Some(Completion::Failed { outcome: Outcome::Unknown, error })
            }
            Verdict::Refused(error) => Some(Completion::Refused(error)),
            Verdict::Failed(error) => Some(Completion::Failed { outcome: Outcome::Unknown, error }),
        }
    }

    fn finished(&mut self) -> Completion {
        let captures = std::mem::take(&mut self.captures);
        let response = if captures.is_empty() { Value::Null } else { Value::Object(captures) };
        if self.confirmed { Completion::Ok(response) } else { Completion::Sent(response) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::content::value::Values;

    fn told(framing: &Value, checksum: Option<&Value>, reply: &Value, came: &[u8]) -> String {
        let wire = Arc::new(Wire::parse(framing, checksum).unwrap());
        let reply = Pattern::parse(reply, "reply", &wire, &Values::default()).unwrap();
        let mut reader = Reader::new(&wire);
        assert_eq!(reader.feed(came, &mut |_| None::<()>), None);
        assert_eq!(reader.silence(&mut |_| None::<()>), None);
        heard(reader.missed(), &reply, &wire, false)
    }

    #[test]
    fn what_came_is_told_in_the_form_of_the_map() {
        let (crlf, fixed) = (json!({"line": "\r\n"}), json!({"fixed": 4}));
        let (ack, bytes, sum) = (json!("^ACK$"), json!({"hex": "06 .."}), json!("SUM-8"));
        for (framing, checksum, reply, came, expected) in [
            (
                &crlf,
                None,
                &ack,
                &b""[..],
                "nothing was heard: look at the wires, the device's power, `baud` and `format`",
            ),
            (&crlf, None, &ack, b"BUSY\r\nOK\r\nA", "heard \"OK\", which does not match '^ACK$'"),
            (&crlf, None, &ack, b"\r\n", "heard \"\", which does not match '^ACK$'"),
            (
                &crlf,
                None,
                &ack,
                b"\x1b[2J\xff\"it's\"\r\n",
                "heard \"\\u{1b}[2J\\xff\\\"it's\\\"\", which does not match '^ACK$'",
            ),
            (
                &crlf,
                None,
                &ack,
                b"ACK\nACK\n",
                "heard 8 bytes without a whole frame: \"ACK\\nACK\\n\"; the map's `framing` is lines that end in \"\\r\\n\"",
            ),
            (&crlf, None, &bytes, b"\x15\x00\r\n", "heard 15 00, which does not match 06 .. (hex)"),
            (&crlf, None, &bytes, b"\r\n", "heard an empty frame, which does not match 06 .. (hex)"),
            (
                &fixed,
                None,
                &bytes,
                b"\x06",
                "heard 1 byte without a whole frame: 06; the map's `framing` is frames of 4 bytes",
            ),
            (
                &fixed,
                Some(&sum),
                &bytes,
                b"\x06\x01\x02\x00",
                "heard 06 01 02 00, in which the checksum (SUM-8) is wrong",
            ),
        ] {
            assert_eq!(told(framing, checksum, reply, came), expected);
        }
        let long = told(&crlf, None, &ack, &[&[b'x'; 3000][..], b"\r\n"].concat());
        assert_eq!(
            long,
            format!("heard \"{}\" ... (3000 bytes), which does not match '^ACK$'", "x".repeat(64))
        );
    }
}
