//! The frames of one call on an open line, in order, and what is known when they end. Writes nothing twice.

use std::io;
use std::sync::Arc;

use nowd_plugin::{Call, CallError, Completion, Outcome};
use serde_json::{Map, Value};

use crate::line::Interrupt;
use crate::map::{Frame, SerialMap, Verdict};
use crate::pattern::Pattern;
use crate::reader::Reader;
use crate::transaction::Session;

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
    /// Whether every frame so far was confirmed.
    confirmed: bool,
    captures: Map<String, Value>,
    /// The reply that is waited for, and whether it is the last.
    waiting: Option<(Arc<Pattern>, bool)>,
    reader: Reader,
}

/// A frame that ends the waiting for a reply.
struct Answer {
    verdict: Verdict,
    frame: Vec<u8>,
}

impl Exchange {
    /// Runs the steps; ends when the line is free again.
    pub(crate) async fn run(&self, mut session: Session<'_>) -> (Completion, io::Result<()>) {
        let mut progress = Progress {
            written: false,
            sent: 0,
            confirmed: true,
            captures: Map::new(),
            waiting: None,
            reader: Reader::new(&self.map.wire),
        };
        match self.steps(&mut session, &mut progress).await {
            Ok(completion) => (completion, Ok(())),
            Err(interrupt) => self.interrupted(session, progress, interrupt).await,
        }
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
            line.write(bytes, give_up, &mut progress.written).await?;
            if let Some(reply) = reply {
                let last = index + 1 == self.frames.len();
                progress.reader.reset();
                progress.waiting = Some((Arc::clone(reply), last));
                let reader = &mut progress.reader;
                let pause = self.map.wire.framing.pause();
                let heard =
                    line.listen_for(give_up, pause, |chunk| self.hear(call, reply, reader, chunk)).await?;
                line.ears().answered(&heard.frame);
                progress.waiting = None;
                if let Some(completion) = progress.take(heard.verdict, last) {
                    return Ok(completion);
                }
            } else {
                line.wait_sent(give_up).await?;
                progress.confirmed = false;
            }
            progress.sent += 1;
        }
        Ok(progress.finished())
    }

    /// Bytes of the device, or `None`: it has been silent for the pause of the framing.
    fn hear(
        &self,
        call: &Call,
        reply: &Pattern,
        reader: &mut Reader,
        chunk: Option<&[u8]>,
    ) -> Option<Answer> {
        let mut judge = |frame: &[u8]| {
            let verdict = self.map.judge(reply, frame);
            if verdict.is_none() {
                tracing::debug!(id = %call.id, line = %frame.escape_ascii(), "a frame that is no answer");
            }
            verdict.map(|verdict| Answer { verdict, frame: frame.to_vec() })
        };
        match chunk {
            Some(chunk) => reader.feed(chunk, &mut judge),
            None => reader.silence(&mut judge),
        }
    }

    /// What is known of a call that could not be finished; waits until the line is free.
    async fn interrupted(
        &self,
        session: Session<'_>,
        mut progress: Progress,
        interrupt: Interrupt,
    ) -> (Completion, io::Result<()>) {
        let (code, why) = match session.cut(interrupt, progress.written) {
            Ok(cut) => cut,
            Err(ended) => return ended,
        };
        let Session { port, line, call, give_up } = session;
        let waiting = progress.waiting.take();
        let reader = &mut progress.reader;
        let settled = line.settle(port.config.silence(), &give_up.stop, |chunk| {
            let (reply, _) = waiting.as_ref()?;
            self.hear(call, reply, reader, Some(chunk))
        });
        let (late, line) = match settled.await {
            Ok(late) => (late.map(|late| late.verdict), Ok(())),
            Err(gone) => (None, Err(gone)),
        };
        let all = self.frames.iter().filter(|frame| matches!(frame, Frame::Send { .. })).count();
        let sent = progress.sent;
        let message = match &waiting {
            Some(_) => format!("{why} before {port} answered frame {} of {all}", sent + 1),
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
