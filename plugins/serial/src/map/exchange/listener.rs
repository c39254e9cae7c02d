//! Looks for the answer to one frame in what comes. Reads no port.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::REPEATS;
use crate::content::pattern::Pattern;
use crate::framing::missed::{Missed, Shown};
use crate::framing::reader::Reader;
use crate::framing::wire::Wire;
use crate::map::method::{SerialMap, Verdict};
use crate::port::Port;
use crate::port::earlier::{Cut, Hears};
use crate::port::echo::Echo;

/// Looks for the answer in what comes.
#[derive(Debug)]
pub(super) struct Listener {
    map: Arc<SerialMap>,
    id: Uuid,
    reader: Reader,
    /// The reply that is waited for, and whether it is the last.
    waiting: Option<(Arc<Pattern>, bool)>,
    /// What was sent, where nobody said whether the line repeats it.
    sent: Option<Echo>,
    /// All that was sent came first of all.
    came_back: bool,
    /// It did with the last that came.
    took_echo: bool,
    /// A frame that was just what had been sent would have been the answer.
    repeated: bool,
}

/// A frame that ends the waiting for a reply.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) frame: Vec<u8>,
}

impl Listener {
    /// For the call `id`. It waits for nothing yet.
    pub(super) fn new(map: &Arc<SerialMap>, id: Uuid) -> Self {
        Self {
            map: Arc::clone(map),
            id,
            reader: Reader::new(&map.wire),
            waiting: None,
            sent: None,
            came_back: false,
            took_echo: false,
            repeated: false,
        }
    }

    /// A frame has been sent, and `reply` is waited for.
    pub(super) fn begin(&mut self, sent: &[u8], reply: &Arc<Pattern>, last: bool) {
        self.reader.reset();
        self.reader.forget_missed();
        self.came_back = false;
        self.took_echo = false;
        self.repeated = false;
        self.waiting = Some((Arc::clone(reply), last));
        self.sent = self.map.echo.is_none().then(|| {
            let mut echo = Echo::default();
            echo.sent(sent);
            echo
        });
    }

    /// Nothing is waited for any more.
    pub(super) fn end(&mut self, port: &Port) {
        self.waiting = None;
        self.tell_repeated(port);
    }

    /// Says once for each port that the line may repeat what is sent, where it does.
    pub(super) fn tell_repeated(&self, port: &Port) {
        if self.repeated && port.is_first_repeat() {
            tracing::warn!(
                see = "port-echoes",
                "{port}: the line may repeat what is sent, which is not taken for an answer; {REPEATS}"
            );
        }
    }

    /// The reply that is waited for, and whether it is the last.
    pub(super) const fn waiting(&self) -> Option<&(Arc<Pattern>, bool)> {
        self.waiting.as_ref()
    }

    pub(super) const fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.map.wire
    }

    /// What came and was no answer.
    pub(super) fn missed(&self) -> &Missed {
        self.reader.missed()
    }

    /// All that was sent came first of all.
    pub(super) const fn came_back(&self) -> bool {
        self.came_back
    }

    /// What came first would have been the answer, and was just what had been sent.
    pub(super) const fn repeated(&self) -> bool {
        self.repeated
    }
}

impl Hears for Listener {
    type Answer = Answer;

    fn hear(&mut self, chunk: Option<&[u8]>) -> Option<Answer> {
        self.took_echo = false;
        let (reply, _) = self.waiting.as_ref()?;
        let (map, id) = (&self.map, self.id);
        let mut judge = |frame: &[u8]| {
            let verdict = map.judge(reply, frame);
            if verdict.is_none() {
                let heard = reply.shown(&Shown::new(frame));
                tracing::debug!(%id, heard, reply = %reply, "a frame that is no answer");
            }
            verdict.map(|verdict| Answer { verdict, frame: frame.to_vec() })
        };
        let Some(mut chunk) = chunk else { return self.reader.silence(&mut judge) };
        // No frame is the beginning of another, so none ends before all that was sent has come.
        if let Some(end) = self.sent.as_mut().and_then(|sent| sent.completes(chunk)) {
            let (echo, rest) = chunk.split_at_checked(end)?;
            self.repeated |= self.reader.feed(echo, &mut judge).is_some();
            self.took_echo = true;
            self.came_back = true;
            self.reader.forget_missed();
            chunk = rest;
        }
        self.reader.feed(chunk, &mut judge)
    }

    fn took_echo(&self) -> bool {
        self.took_echo
    }

    fn begin_anew(&mut self) {
        self.reader.reset();
        // What was sent may come back behind the late answer of another, which an adapter still held.
        if let Some(sent) = &mut self.sent {
            sent.begin_anew();
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.map.wire.framing.pause()
    }

    fn cut(&self) -> Cut {
        Cut::Frames(Arc::clone(&self.map.wire))
    }
}
