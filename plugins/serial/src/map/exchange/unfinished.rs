//! A call that was cut off amid its frames: what may still come for it, and what is known of it in the end. Writes nothing.

use std::time::Duration;

use nowd_plugin::{CallError, Completion};

use super::listener::{Answer, Listener};
use super::{Exchange, Progress, REPEATS, tell_echo};
use crate::content::pattern::Pattern;
use crate::framing::missed::{Last, Missed};
use crate::framing::wire::Wire;
use crate::map::method::{Frame, Verdict, printable};
use crate::port::Port;
use crate::port::earlier::{Cut, Hears};

/// A call that was cut off, of which something was written.
#[derive(Debug)]
pub(crate) struct Unfinished {
    progress: Progress,
    /// How many frames there are to send.
    all: usize,
    /// A code, and the reason in words.
    cut: (&'static str, &'static str),
    late: Option<Answer>,
    /// What came may have been its answer, or another's.
    doubtful: bool,
    /// Something was sent since to whom answers with other frames, in which an answer to this may be found by mistake.
    is_mixed: bool,
}

impl Unfinished {
    pub(super) fn new(exchange: &Exchange, progress: Progress, cut: (&'static str, &'static str)) -> Self {
        let all = exchange.frames.iter().filter(|frame| matches!(frame, Frame::Send { .. })).count();
        Self { progress, all, cut, late: None, doubtful: false, is_mixed: false }
    }

    fn listener(&mut self) -> &mut Listener {
        &mut self.progress.listener
    }

    /// Whether an answer may come that has not come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.late.is_none() && self.progress.listener.waiting().is_some()
    }

    /// Takes what comes; says whether the answer has come with it.
    pub(crate) fn hear(&mut self, chunk: Option<&[u8]>) -> bool {
        if self.is_awaited() {
            self.late = self.listener().hear(chunk);
            self.doubtful |= self.is_mixed && self.late.is_some();
        }
        self.late.is_some()
    }

    /// From now on somebody waits for an answer who cuts it as `other`.
    pub(crate) fn mix(&mut self, other: &Cut) {
        self.is_mixed |= self.is_awaited() && self.cut() != *other;
    }

    /// The silence that ends what has come of a frame, if any.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.progress.listener.pause()
    }

    /// What was taken for the answer may be another's. So may be all that comes after it: of two answers nobody can say any
    /// more which is whose.
    pub(crate) fn doubt(&mut self) {
        self.late = None;
        self.doubtful = true;
    }

    pub(crate) fn cut(&self) -> Cut {
        self.progress.listener.cut()
    }

    /// The line did not repeat what was sent, as it should.
    pub(crate) fn lacks_echo(&mut self, why: &'static str) {
        self.progress.echo = self.progress.echo.or(Some(why));
    }

    /// What is known of it, now that nothing more can come.
    pub(crate) fn conclude(self, port: &Port) -> Completion {
        let Self { mut progress, all, cut: (code, why), late, doubtful, is_mixed: _ } = self;
        let late = late.filter(|_| !doubtful);
        let listener = &progress.listener;
        listener.tell_repeated(port);
        if let Some(why) = progress.echo {
            tell_echo(port, listener.id(), why);
        }
        let heard = listener.waiting().map(|(reply, _)| match &late {
            Some(_) => "the answer came late, and what follows it was not sent".into(),
            None if doubtful => DOUBTFUL.into(),
            None => heard(listener.missed(), reply, listener.wire(), listener.came_back()),
        });
        let sent = progress.sent;
        let message = match heard {
            Some(_) if listener.repeated() => format!(
                "{why} before {port} answered frame {} of {all}; what came first was just what had been sent: {REPEATS}",
                sent + 1
            ),
            Some(heard) => format!("{why} before {port} answered frame {} of {all}; {heard}", sent + 1),
            None => format!("{why} with {sent} of {all} frames done at {port}"),
        };
        // A late answer is still the truth about the device, unless frames after it were never sent, or one before it was
        // answered by nobody knows what.
        let last = listener.waiting().is_some_and(|(_, last)| *last);
        let late = match late.map(|late| late.verdict) {
            _ if progress.unclear.is_some() => None,
            Some(Verdict::Reply(_)) if !last => None,
            Some(verdict) => Some(progress.take(verdict, last).unwrap_or_else(|| progress.finished())),
            None => None,
        };
        late.unwrap_or_else(|| Completion::Timeout(CallError::new(code, message)))
    }
}

/// Why what came is not told as the answer.
const DOUBTFUL: &str = "an answer came that may as well be another call's";

/// What was heard instead of an answer that matches `reply`, and what to look at. `repeated`: before it came what was sent.
pub(super) fn heard(missed: &Missed, reply: &Pattern, wire: &Wire, repeated: bool) -> String {
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
