//! The requests of one call on an open line, and what is known when they end. Writes nothing twice.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::{CallError, Completion};
use serde_json::Value;
use tokio::time::sleep;
use tokio_modbus::Request;

use super::ModbusMap;
use super::exception::{self, After};
use super::plan::Step;
use super::wire::{Answer, Ear, Heard};
use crate::port::Port;
use crate::port::earlier::{Cut, Hears, Open};
use crate::port::line::Interrupt;
use crate::port::transaction::{Attempt, Session};

/// How long devices are given to do what all of them were told, before the next frame.
const TURNAROUND: Duration = Duration::from_millis(100);

/// The requests of one call, with its parameters in them.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) map: Arc<ModbusMap>,
    /// One for each step of the map's plan.
    pub(crate) todo: Vec<Todo>,
}

/// One step for one call.
#[derive(Debug)]
pub(crate) enum Todo {
    /// Write this frame, then wait for the answer.
    Ask { request: Request<'static>, frame: Vec<u8> },
    /// Do nothing for this long.
    Wait(Duration),
}

/// How far a call has come.
#[derive(Debug)]
struct Progress {
    /// The kernel took at least one byte.
    written: bool,
    /// A request that writes was done.
    wrote: bool,
    /// The request that is waited for: its index, and its ear if there is an answer to wait for.
    open: Option<(usize, Option<Ear>)>,
    results: Vec<Value>,
    /// What was asked when an answer came that may have been meant for a call before.
    unclear: Option<String>,
}

impl Exchange {
    /// Runs the requests; ends when the line is free again, or with what may still be answered.
    pub(crate) async fn attempt(self, mut session: Session<'_>) -> Attempt {
        let results = vec![Value::Null; self.map.results().len()];
        let mut progress = Progress { written: false, wrote: false, open: None, results, unclear: None };
        match self.steps(&mut session, &mut progress).await {
            Ok(completion) => {
                let line = if self.map.unit == 0 { self.turnaround(&mut session).await } else { Ok(()) };
                Attempt::Ended(completion, line)
            }
            Err(interrupt) => match session.cut(interrupt, progress.written) {
                Err((completion, line)) => Attempt::Ended(completion, line),
                Ok((code, why)) => {
                    let Some((index, ear)) = progress.open.take() else {
                        // All that was asked was answered: there is nothing to come.
                        let (all, port) = (self.todo.len(), session.port);
                        let message = format!("{why} before all {all} steps were done at {port}");
                        return Attempt::Ended(Completion::Timeout(CallError::new(code, message)), Ok(()));
                    };
                    let open = Unfinished {
                        exchange: self,
                        progress,
                        index,
                        ear,
                        cut: (code, why),
                        late: None,
                        doubtful: false,
                    };
                    Attempt::Open(Open::Modbus(Box::new(open)))
                }
            },
        }
    }

    async fn steps(
        &self,
        session: &mut Session<'_>,
        progress: &mut Progress,
    ) -> Result<Completion, Interrupt> {
        let last = self.todo.len().saturating_sub(1);
        for (index, todo) in self.todo.iter().enumerate() {
            match todo {
                Todo::Wait(wait) => {
                    session.line.pass(*wait, session.give_up).await?;
                }
                Todo::Ask { frame, .. } if self.map.unit == 0 => {
                    self.write(session, progress, index, frame, None).await?;
                    session.line.wait_sent(session.give_up).await?;
                    progress.open = None;
                    if index < last {
                        session.line.pass(self.rest(frame), session.give_up).await?;
                    }
                }
                Todo::Ask { request, frame } => {
                    let ear = Ear::new(self.map.unit, request, frame, self.map.echo);
                    self.write(session, progress, index, frame, Some(ear)).await?;
                    if let Some(completion) = self.listen(session, progress, index).await? {
                        return Ok(completion);
                    }
                }
            }
        }
        Ok(match progress.unclear.take() {
            Some(place) => session.port.unclear(&place),
            None => self.finished(progress),
        })
    }

    async fn write(
        &self,
        session: &mut Session<'_>,
        progress: &mut Progress,
        index: usize,
        frame: &[u8],
        ear: Option<Ear>,
    ) -> Result<(), Interrupt> {
        let line = &mut *session.line;
        line.wait_gap(self.map.gap, session.give_up).await?;
        line.discard_input()?;
        let mut written = false;
        let result = line.write(frame, session.give_up, &mut written).await;
        if written {
            progress.written = true;
            progress.open = Some((index, ear));
        }
        result
    }

    /// Waits for the answer; gives the completion if the call ends with it.
    async fn listen(
        &self,
        session: &mut Session<'_>,
        progress: &mut Progress,
        index: usize,
    ) -> Result<Option<Completion>, Interrupt> {
        let Some((_, Some(ear))) = &mut progress.open else { return Ok(None) };
        let (answer, is_certain) = session.line.listen(ear, session.give_up).await?;
        if ear.echoed() && !self.map.echo && session.port.is_first_repeat() {
            tracing::warn!(
                see = "port-echoes",
                id = %session.call.id,
                "{} repeats what is sent, which can be taken for the answer to a write; set `echo = true` in [modbus]",
                session.port
            );
        }
        progress.open = None;
        session.line.ears().discard();
        if is_certain {
            let ended = self.take(progress, index, answer);
            return Ok(if progress.unclear.is_some() { ended.map(Port::after_unclear) } else { ended });
        }
        // Whatever it says may be about another call. What makes safe is not held up by that.
        let place = self.map.plan.steps.get(index).map(Step::place);
        progress.unclear = place.map(|place| format!("an answer for the {place}"));
        Ok(None)
    }

    /// Takes an answer; gives the completion if the call ends with it.
    fn take(&self, progress: &mut Progress, index: usize, answer: Answer) -> Option<Completion> {
        let step = self.map.plan.steps.get(index)?;
        match answer {
            Ok(answer) => {
                if let Step::Read(read) = step {
                    for (index, value) in read.values(&answer).unwrap_or_default() {
                        if let Some(result) = progress.results.get_mut(index) {
                            *result = value;
                        }
                    }
                }
                progress.wrote |= step.writes();
                None
            }
            Err(code) => {
                let after = match (progress.wrote, step.writes()) {
                    (true, _) => After::Write,
                    (false, true) => After::Nothing,
                    (false, false) => After::Reads,
                };
                let hint = step.hint();
                Some(exception::completion(code, self.map.unit, &step.place(), hint.as_deref(), after))
            }
        }
    }

    fn finished(&self, progress: &mut Progress) -> Completion {
        let response = self.map.results().response(std::mem::take(&mut progress.results));
        if self.map.unit == 0 { Completion::Sent(response) } else { Completion::Ok(response) }
    }

    /// How long a frame to all devices keeps the line.
    fn rest(&self, frame: &[u8]) -> Duration {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.map.byte.saturating_mul(bytes).saturating_add(TURNAROUND)
    }

    /// After the last frame to all devices. The call is done, so its deadline ends nothing here.
    async fn turnaround(&self, session: &mut Session<'_>) -> io::Result<()> {
        let Some(Todo::Ask { frame, .. }) = self.todo.last() else { return Ok(()) };
        tokio::select! {
            biased;
            () = session.give_up.stop.cancelled() => Ok(()),
            () = sleep(self.rest(frame)) => Ok(()),
            gone = session.line.idle() => Err(gone),
        }
    }
}

/// A call that was cut off, of which something was written.
#[derive(Debug)]
pub(crate) struct Unfinished {
    exchange: Exchange,
    progress: Progress,
    /// The request that was under way, and its ear if there is an answer to wait for.
    index: usize,
    ear: Option<Ear>,
    /// A code, and the reason in words.
    cut: (&'static str, &'static str),
    late: Option<Answer>,
    /// What came may have been its answer, or another's.
    doubtful: bool,
}

impl Unfinished {
    /// Whether an answer may come that has not come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.late.is_none() && self.ear.is_some()
    }

    /// Takes what comes; says whether the answer has come with it.
    pub(crate) fn hear(&mut self, chunk: Option<&[u8]>) -> bool {
        if self.is_awaited() {
            self.late = self.ear.as_mut().and_then(|ear| ear.hear(chunk));
        }
        self.late.is_some()
    }

    /// What was taken for the answer may be another's. So may be all that comes after it: of two answers nobody can say any
    /// more which is whose.
    pub(crate) fn doubt(&mut self) {
        self.late = None;
        self.doubtful = true;
    }

    /// What is known of it, now that nothing more can come.
    pub(crate) fn conclude(self, port: &Port) -> Completion {
        let Self { exchange, mut progress, index, ear, cut: (code, why), late, doubtful } = self;
        let (unit, all) = (exchange.map.unit, exchange.todo.len());
        // A late answer is still the truth about the device, unless steps after it were never begun.
        if let Some(answer) = late.filter(|_| !doubtful && progress.unclear.is_none()) {
            let ended = exchange.take(&mut progress, index, answer);
            if let Some(completion) =
                ended.or_else(|| (index + 1 == all).then(|| exchange.finished(&mut progress)))
            {
                return completion;
            }
        }
        let place = exchange.map.plan.steps.get(index).map(Step::place).unwrap_or_default();
        let message = match ear {
            Some(ear) => {
                let heard = if doubtful {
                    "an answer came that may as well be another call's".into()
                } else {
                    heard(ear.heard())
                };
                format!(
                    "{why} before unit {unit} at {port} answered for the {place} (step {} of {all}); {heard}",
                    index + 1
                )
            }
            None => format!("{why} before all was sent to {port} (step {} of {all})", index + 1),
        };
        Completion::Timeout(CallError::new(code, message))
    }
}

impl Hears for Ear {
    type Answer = Answer;

    fn hear(&mut self, chunk: Option<&[u8]>) -> Option<Answer> {
        self.feed(chunk?)
    }

    fn took_echo(&self) -> bool {
        Self::took_echo(self)
    }

    fn begin_anew(&mut self) {
        Self::begin_anew(self);
    }

    fn pause(&self) -> Option<Duration> {
        None
    }

    fn cut(&self) -> Cut {
        Cut::Modbus
    }
}

/// What has come instead of an answer, and what to look at.
fn heard(heard: Heard) -> String {
    match heard {
        Heard::Nothing => {
            "nothing was heard: look at the unit's number, the wires, `baud` and `format`".into()
        }
        Heard::Other(bytes) => {
            format!(
                "{bytes} bytes came that are no answer to it: look at `baud`, `format`, and for a second device with its number"
            )
        }
        Heard::NoEcho => "what was sent did not come back whole, as `echo = true` says it does".into(),
    }
}
