//! Calls that were cut off with an answer to come, while a safe action has their line: whose answer is it that comes?
//!
//! Nothing on a serial line ties an answer to what was sent. So whatever comes is shown to all who wait for something. What
//! only one of them can have been told is its answer; what more than one can have been told is nobody's for certain, and
//! is never told as anybody's. Writes nothing, and knows no clock.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::Completion;

use super::Port;
use crate::framing::wire::Wire;
use crate::map;
use crate::modbus;

/// How answers are cut out of what comes. Who cuts in different ways cannot tell where the answers of the other end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cut {
    Frames(Arc<Wire>),
    Modbus,
}

/// Looks for the answer to what was sent last.
pub(crate) trait Hears {
    /// What ends the waiting.
    type Answer;

    /// Takes bytes, or `None`: the line has been silent for [`Hears::pause`].
    fn hear(&mut self, chunk: Option<&[u8]>) -> Option<Self::Answer>;

    /// Whether what it took last was the end of what had been sent, come back.
    fn took_echo(&self) -> bool;

    /// What came so far is another's.
    fn begin_anew(&mut self);

    /// The silence that it must be told of, if any.
    fn pause(&self) -> Option<Duration>;

    /// How it cuts.
    fn cut(&self) -> Cut;
}

/// A call that was cut off, of which something has been written. Its answer may still come.
#[derive(Debug)]
pub(crate) enum Open {
    /// `[serial]`.
    Frames(Box<map::exchange::Unfinished>),
    /// `[modbus]`.
    Modbus(Box<modbus::Unfinished>),
}

/// All calls on a line that were cut off and have not ended, the first one first.
#[derive(Debug, Default)]
pub(crate) struct Earlier(Vec<Open>);

impl Open {
    /// Whether an answer may come that has not come.
    fn is_awaited(&self) -> bool {
        match self {
            Self::Frames(open) => open.is_awaited(),
            Self::Modbus(open) => open.is_awaited(),
        }
    }

    /// Takes what comes; says whether its answer has come with it.
    fn hear(&mut self, chunk: Option<&[u8]>) -> bool {
        match self {
            Self::Frames(open) => open.hear(chunk),
            Self::Modbus(open) => open.hear(chunk),
        }
    }

    /// What was taken for its answer may be another's.
    fn doubt(&mut self) {
        match self {
            Self::Frames(open) => open.doubt(),
            Self::Modbus(open) => open.doubt(),
        }
    }

    fn cut(&self) -> Cut {
        match self {
            Self::Frames(open) => open.cut(),
            Self::Modbus(_) => Cut::Modbus,
        }
    }

    /// Somebody waits now who cuts as `own`. A frame of Modbus is found in nothing else: its checksum and address say so.
    fn mix(&mut self, own: &Cut) {
        match self {
            Self::Frames(open) => open.mix(own),
            Self::Modbus(_) => {}
        }
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Frames(open) => open.pause(),
            Self::Modbus(_) => None,
        }
    }

    /// The line did not repeat what was sent, as it should.
    pub(crate) fn lacks_echo(&mut self, why: &'static str) {
        match self {
            Self::Frames(open) => open.lacks_echo(why),
            Self::Modbus(_) => {}
        }
    }

    /// What is known of it, now that nothing more can come.
    pub(crate) fn conclude(self, port: &Port) -> Completion {
        match self {
            Self::Frames(open) => open.conclude(port),
            Self::Modbus(open) => open.conclude(port),
        }
    }
}

impl Earlier {
    pub(crate) fn push(&mut self, open: Open) {
        self.0.push(open);
    }

    /// The one that was cut off last.
    pub(crate) fn last(&mut self) -> Option<&mut Open> {
        self.0.last_mut()
    }

    /// All of them, which are waited for no longer.
    pub(crate) fn take(&mut self) -> Vec<Open> {
        std::mem::take(&mut self.0)
    }

    /// Whether an answer may come that has not come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.iter().any(Open::is_awaited)
    }

    /// Takes what came while nobody else waited for anything; says whether that was the last answer to come.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut awaited = self.0.iter_mut().filter(|open| open.is_awaited());
        match (awaited.next(), awaited.next()) {
            (None, _) => false,
            (Some(only), None) => only.hear(Some(bytes)),
            (Some(_), Some(_)) => {
                let mut heard = false;
                for byte in bytes {
                    heard |= self.offer(Some(slice::from_ref(byte))).len() == 1;
                }
                heard && !self.is_awaited()
            }
        }
    }

    /// The line has been silent for so long: what has come of a frame is none, and must not hide one that comes next.
    pub(crate) fn silence(&mut self, silent: Duration) {
        for open in &mut self.0 {
            if open.is_awaited() && open.pause().is_some_and(|pause| pause <= silent) && open.hear(None) {
                // It stood amid what is no frame.
                open.doubt();
            }
        }
    }

    /// Shows what came to `own` and to those before it. Gives what `own` makes of it, and whether it is certain that it was
    /// told to no other.
    pub(crate) fn sort<H: Hears>(&mut self, chunk: Option<&[u8]>, own: &mut H) -> Option<(H::Answer, bool)> {
        if !self.is_awaited() {
            return own.hear(chunk).map(|answer| (answer, true));
        }
        let cut = own.cut();
        self.0.iter_mut().for_each(|open| open.mix(&cut));
        match chunk {
            None => self.sort_piece(None, own),
            // One by one: where an answer ends says whose it is.
            Some(bytes) => {
                let mut rest = bytes.iter();
                let found = rest.find_map(|byte| self.sort_piece(Some(slice::from_ref(byte)), own))?;
                self.feed(rest.as_slice());
                Some(found)
            }
        }
    }

    fn sort_piece<H: Hears>(&mut self, piece: Option<&[u8]>, own: &mut H) -> Option<(H::Answer, bool)> {
        let found = own.hear(piece);
        let waited: Vec<Cut> = self.0.iter().filter(|open| open.is_awaited()).map(Open::cut).collect();
        let others = self.offer(piece);
        if found.is_none() && others.is_empty() {
            return None;
        }
        if found.is_some() || own.took_echo() {
            self.doubt(&others);
        }
        let (cut, is_own) = (own.cut(), others.is_empty());
        let alike = waited.iter().all(|other| *other == cut);
        if found.is_none() && alike && !own.took_echo() {
            own.begin_anew();
        }
        found.map(|answer| (answer, is_own && alike))
    }

    /// Shows a piece to all who wait; gives the places of those who found their answer in it, which is kept only where that
    /// is one.
    fn offer(&mut self, piece: Option<&[u8]>) -> Vec<usize> {
        let waiting = self.0.iter_mut().enumerate().filter(|(_, open)| open.is_awaited());
        let found: Vec<usize> =
            waiting.filter_map(|(place, open)| open.hear(piece).then_some(place)).collect();
        if found.len() > 1 {
            self.doubt(&found);
        }
        found
    }

    fn doubt(&mut self, places: &[usize]) {
        for place in places {
            if let Some(open) = self.0.get_mut(*place) {
                open.doubt();
            }
        }
    }
}
