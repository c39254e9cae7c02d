//! The frames of one call on an open line, in order, and what is known when they end. Writes nothing twice.

use std::sync::Arc;

use nowd_plugin::{Completion, Outcome};
use serde_json::{Map, Value};
use uuid::Uuid;

use self::listener::Listener;
pub(crate) use self::unfinished::Unfinished;
use super::method::{Frame, SerialMap, Verdict, printable};
use crate::port::Port;
use crate::port::earlier::Open;
use crate::port::line::Interrupt;
use crate::port::transaction::{Attempt, Session};

mod listener;
mod unfinished;

/// What to do about a line that may repeat what is sent.
const REPEATS: &str = "set `echo = true` if the line repeats what is sent, or `echo = false` if the device answers with the same";

/// The steps of a call, with its parameters in them.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) map: Arc<SerialMap>,
    pub(crate) frames: Vec<Frame>,
}

/// How far a call has come.
#[derive(Debug)]
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
    listener: Listener,
    /// Why the line did not repeat what was sent, as it should, where it did not.
    echo: Option<&'static str>,
    /// An answer that may have been meant for a call before, in words.
    unclear: Option<String>,
}

impl Exchange {
    /// Runs the steps; ends when the line is free again, or with what may still be answered.
    pub(crate) async fn attempt(self, mut session: Session<'_>) -> Attempt {
        let mut progress = Progress {
            written: false,
            sent: 0,
            amid: false,
            confirmed: true,
            captures: Map::new(),
            listener: Listener::new(&self.map, session.call.id),
            echo: None,
            unclear: None,
        };
        let ended = match self.steps(&mut session, &mut progress).await {
            Ok(completion) => (completion, Ok(())),
            Err(interrupt) => match session.cut(interrupt, progress.written) {
                Err(ended) => ended,
                Ok(cut) => {
                    let is_amid = progress.amid;
                    let open = Unfinished::new(&self, progress, cut);
                    if is_amid {
                        return Attempt::Open(Open::Frames(Box::new(open)));
                    }
                    // Between two frames nothing is half said, and no answer can come late: the line is free at once.
                    let line = session.line.discard();
                    return Attempt::Ended(open.conclude(session.port), line);
                }
            },
        };
        if let Some(why) = progress.echo.or(session.line.forget_echo()) {
            tell_echo(session.port, session.call.id, why);
        }
        Attempt::Ended(ended.0, ended.1)
    }

    async fn steps(
        &self,
        session: &mut Session<'_>,
        progress: &mut Progress,
    ) -> Result<Completion, Interrupt> {
        let Session { port, line, give_up, .. } = session;
        for (index, frame) in self.frames.iter().enumerate() {
            let (bytes, reply) = match frame {
                Frame::Send { bytes, reply } => (bytes, reply),
                Frame::Wait(wait) => {
                    line.pass(*wait, give_up).await?;
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
                progress.listener.begin(bytes, reply, last);
                let (answer, is_certain) = line.listen(&mut progress.listener, give_up).await?;
                line.ears().answered(&self.map.wire, &answer.frame);
                progress.listener.end(port);
                if is_certain {
                    if let Some(completion) = progress.take(answer.verdict, last) {
                        let is_unclear = progress.unclear.is_some();
                        return Ok(if is_unclear { Port::after_unclear(completion) } else { completion });
                    }
                } else {
                    // Whatever it says may be about another call. What makes safe is not held up by that.
                    progress.unclear = Some(printable(&reply.show(&answer.frame)));
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
        Ok(match progress.unclear.take() {
            Some(answer) => port.unclear(&answer),
            None => progress.finished(),
        })
    }
}

fn tell_echo(port: &Port, id: Uuid, why: &str) {
    tracing::debug!(%id, "{port} did not repeat what was sent, as `echo = true` says it does: {why}");
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
mod tests;
