//! Cuts what a device sends into frames and takes off what framing and checksum added, in bounded memory whatever it
//! sends. Reads no port, and knows no clock: it is told when the line has been silent.
//!
//! After garbage it finds the next frame: by terminator, start or end byte; else by trying each byte as the first of a
//! frame until a checksum is right, or by a silence.

use std::sync::Arc;

use super::checksum::Checksum;
use super::kinds::{Between, Framing, LONGEST_FRAME, LengthField};
use super::missed::{Missed, Shown};
use super::wire::Wire;

/// The longest line, in bytes without its terminator; a longer one is dropped whole.
pub const LONGEST_LINE: usize = LONGEST_FRAME;

/// Takes bytes in any chunks and gives the contents of whole frames.
#[derive(Debug)]
pub(crate) struct Reader {
    wire: Arc<Wire>,
    /// The frame so far; of one that is too long only what may be the start of its end.
    buffer: Vec<u8>,
    state: State,
    /// How many frames with a wrong checksum were dropped.
    dropped: u64,
    /// Every byte is tried as the first of a frame, which counts as one frame, until a checksum is right.
    is_lost: bool,
    /// What came since that was asked last.
    missed: Missed,
    /// Bytes came that were no part of a frame, since that was asked last.
    has_lost: bool,
}

/// Where in a frame the next byte stands, where that is not seen in the bytes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a start byte.
    Outside,
    Inside,
    /// Behind an escape byte.
    Escape,
    /// Behind the end byte, where the checksum stands there, with so many bytes of it to come.
    Tail(usize),
    /// In a frame that is dropped, because it is too long or holds what nobody writes.
    TooLong,
}

impl Reader {
    pub(crate) fn new(wire: &Arc<Wire>) -> Self {
        let mut reader = Self {
            wire: Arc::clone(wire),
            buffer: Vec::new(),
            state: State::Inside,
            dropped: 0,
            is_lost: false,
            missed: Missed::default(),
            has_lost: false,
        };
        reader.reset();
        reader
    }

    /// Forgets a frame that has begun.
    pub(crate) fn reset(&mut self) {
        self.buffer.clear();
        self.is_lost = false;
        self.state = match &self.wire.framing {
            // The end of one may be the start of the next.
            Framing::Between(between) if between.start != between.end => State::Outside,
            Framing::Between(_)
            | Framing::Line(_)
            | Framing::Fixed { .. }
            | Framing::Length { .. }
            | Framing::Cobs => State::Inside,
        };
    }

    /// Gives each frame that ends in `bytes` to `judge`, until it makes something of one; what follows is dropped.
    pub(crate) fn feed<T>(
        &mut self,
        bytes: &[u8],
        judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized),
    ) -> Option<T> {
        self.missed.came(bytes);
        let found = self.cut(bytes, judge);
        if found.is_some() {
            self.reset();
        }
        found
    }

    fn cut<T>(&mut self, bytes: &[u8], judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized)) -> Option<T> {
        let wire = Arc::clone(&self.wire);
        match &wire.framing {
            Framing::Line(terminator) => self.feed_line(terminator.as_bytes(), &wire, bytes, judge),
            Framing::Fixed { len, .. } => {
                let len = i64::try_from(*len).unwrap_or_default();
                self.feed_block(&|_| Some(len), &wire, bytes, judge)
            }
            Framing::Length { field, .. } => {
                self.feed_block(&|start| field.whole(start), &wire, bytes, judge)
            }
            Framing::Between(between) => self.feed_between(*between, &wire, bytes, judge),
            Framing::Cobs => self.feed_line(&[0], &wire, bytes, judge),
        }
    }

    /// The line has been silent for [`Framing::pause`]: what has come of a frame is no frame. Where checksums prove it,
    /// frames inside are found.
    pub(crate) fn silence<T>(&mut self, judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized)) -> Option<T> {
        let wire = Arc::clone(&self.wire);
        wire.framing.pause()?;
        let mut found = None;
        self.has_lost |= self.is_amid();
        while wire.checksum.is_some() && found.is_none() && !self.buffer.is_empty() {
            let rest = self.buffer.split_off(1);
            self.buffer.clear();
            found = self.cut(&rest, judge);
        }
        self.reset();
        found
    }

    /// Whether a frame has begun.
    pub(crate) fn is_amid(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// What came since [`Reader::forget_missed`].
    pub(crate) fn missed(&self) -> &Missed {
        &self.missed
    }

    pub(crate) fn forget_missed(&mut self) {
        self.missed = Missed::default();
    }

    /// Whether bytes came that were no part of a frame, since this was asked last.
    pub(crate) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.has_lost)
    }

    /// How many bytes it holds.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests and fuzz targets"))]
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    fn count_dropped(&mut self, frame: &[u8]) {
        self.dropped = self.dropped.saturating_add(1);
        self.has_lost = true;
        self.missed.wrong_checksum(frame);
        tracing::debug!(
            hex = Shown::new(frame).hex(),
            text = Shown::new(frame).text(),
            dropped = self.dropped,
            "a frame with a wrong checksum is dropped"
        );
    }

    /// A frame with this content has ended.
    fn ended<T>(
        &mut self,
        content: &[u8],
        judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized),
    ) -> Option<T> {
        self.missed.frame(content);
        judge(content)
    }

    /// What follows is no frame, until its end.
    fn give_up(&mut self) {
        self.has_lost = true;
        self.state = State::TooLong;
    }

    /// Takes off checksum, and for COBS the stuffing, and asks `judge`.
    fn judge<T>(
        &mut self,
        wire: &Wire,
        frame: &[u8],
        judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized),
    ) -> Option<T> {
        let mut unstuffed;
        let mut content = frame;
        if wire.framing == Framing::Cobs {
            if frame.is_empty() {
                return None;
            }
            unstuffed = vec![0; frame.len()];
            let decoded = cobs::decode(frame, &mut unstuffed).ok();
            self.has_lost |= decoded.is_none();
            content = unstuffed.get(..decoded?.frame_size())?;
        }
        if let Some(checksum) = &wire.checksum {
            let Some(right) = checksum.strip(content, &[], &[]) else {
                self.count_dropped(content);
                return None;
            };
            content = right;
        }
        self.ended(content, judge)
    }

    fn feed_line<T>(
        &mut self,
        terminator: &[u8],
        wire: &Wire,
        bytes: &[u8],
        judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized),
    ) -> Option<T> {
        for byte in bytes {
            self.buffer.push(*byte);
            if self.buffer.ends_with(terminator) {
                let mut line = std::mem::take(&mut self.buffer);
                line.truncate(line.len() - terminator.len());
                let too_long = self.state == State::TooLong;
                self.reset();
                let found = if too_long { None } else { self.judge(wire, &line, judge) };
                if found.is_some() {
                    return found;
                }
            } else if self.state == State::TooLong || self.buffer.len() >= LONGEST_LINE + terminator.len() {
                self.give_up();
                let keep = terminator.len().saturating_sub(1);
                self.buffer.drain(..self.buffer.len().saturating_sub(keep));
            }
        }
        None
    }

    /// Frames whose first bytes say how long they are. `whole` gives that length, as far as the bytes tell it.
    fn feed_block<T>(
        &mut self,
        whole: &impl Fn(&[u8]) -> Option<i64>,
        wire: &Wire,
        bytes: &[u8],
        judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized),
    ) -> Option<T> {
        let least = match &wire.framing {
            Framing::Length { field, .. } => field.at + field.width(),
            Framing::Fixed { .. } | Framing::Line(_) | Framing::Between(_) | Framing::Cobs => 0,
        } + wire.checksum.as_ref().map_or(0, Checksum::len);
        let longest = i64::try_from(LONGEST_FRAME).unwrap_or_default();
        // In pieces, so that what is held stays bounded however much comes at once.
        for piece in bytes.chunks(LONGEST_FRAME) {
            let mut held = std::mem::take(&mut self.buffer);
            held.extend(piece);
            let mut rest = held.as_slice();
            let mut found = None;
            while let Some(len) = whole(rest) {
                let len = usize::try_from(len.min(longest + 1)).unwrap_or_default();
                if len > LONGEST_FRAME || len < least.max(1) {
                    self.has_lost = true;
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
                let Some((frame, after)) = rest.split_at_checked(len) else { break };
                match &wire.checksum {
                    Some(checksum) if checksum.strip(frame, &[], &[]).is_none() => {
                        if !std::mem::replace(&mut self.is_lost, true) {
                            self.count_dropped(frame);
                        }
                        rest = rest.get(1..).unwrap_or_default();
                        continue;
                    }
                    Some(_) | None => {
                        self.is_lost = false;
                        rest = after;
                    }
                }
                let mut content = frame.get(..len - wire.checksum.as_ref().map_or(0, Checksum::len));
                let without;
                if let (Framing::Length { field, .. }, Some(full)) = (&wire.framing, content) {
                    without = without_length(field, full);
                    content = Some(&without);
                }
                found = content.and_then(|content| self.ended(content, judge));
                if found.is_some() {
                    break;
                }
            }
            if found.is_some() {
                return found;
            }
            self.buffer = rest.to_vec();
        }
        None
    }

    fn feed_between<T>(
        &mut self,
        between: Between,
        wire: &Wire,
        bytes: &[u8],
        judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized),
    ) -> Option<T> {
        let tail = wire.checksum.as_ref().filter(|sum| sum.after_end).map_or(0, Checksum::len);
        for byte in bytes {
            let is_escape = between.escape.is_some_and(|escape| escape.byte == *byte);
            let whole = match self.state {
                State::Tail(left) => {
                    self.buffer.push(*byte);
                    self.state = State::Tail(left.saturating_sub(1));
                    left <= 1
                }
                State::Escape => {
                    match between.escape.and_then(|escape| escape.how.meant(*byte)) {
                        Some(meant) => self.put(meant),
                        None => self.give_up(),
                    }
                    false
                }
                State::Inside if is_escape => {
                    self.state = State::Escape;
                    false
                }
                // Where start and end are one byte, the first of two is an end and the second a start.
                State::Inside if *byte == between.end && between.start == between.end && !self.is_amid() => {
                    false
                }
                State::Inside if *byte == between.end => {
                    self.state = State::Tail(tail);
                    tail == 0
                }
                State::TooLong if *byte == between.end => {
                    self.reset();
                    false
                }
                State::Outside | State::TooLong | State::Inside if *byte == between.start => {
                    self.has_lost |= self.is_amid();
                    self.buffer.clear();
                    self.state = State::Inside;
                    false
                }
                State::Inside => {
                    self.put(*byte);
                    false
                }
                State::Outside | State::TooLong => {
                    self.has_lost = true;
                    false
                }
            };
            if whole {
                let frame = std::mem::take(&mut self.buffer);
                self.reset();
                let found = self.judge_between(between, wire, &frame, judge);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn judge_between<T>(
        &mut self,
        between: Between,
        wire: &Wire,
        frame: &[u8],
        judge: &mut (impl FnMut(&[u8]) -> Option<T> + ?Sized),
    ) -> Option<T> {
        let content = match &wire.checksum {
            None => Some(frame),
            Some(sum) => sum.strip(frame, between.covered_start(sum), between.covered_end(sum)),
        };
        let Some(content) = content else {
            self.count_dropped(frame);
            return None;
        };
        self.ended(content, judge)
    }

    fn put(&mut self, byte: u8) {
        if self.buffer.len() >= LONGEST_FRAME {
            self.buffer.clear();
            self.give_up();
        } else {
            self.buffer.push(byte);
            self.state = State::Inside;
        }
    }
}

/// The content of a frame that says its length, without the field that says it.
fn without_length(field: &LengthField, frame: &[u8]) -> Vec<u8> {
    let before = frame.get(..field.at).unwrap_or_default();
    let after = frame.get(field.at + field.width()..).unwrap_or_default();
    [before, after].concat()
}

#[cfg(test)]
mod tests;
