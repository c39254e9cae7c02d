//! What a device says without being asked: the last frame of each kind, kept for the methods with `hears`. Writes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nowd_plugin::map::{MapError, MapMethod};
use nowd_plugin::{BootInstant, Call, CallError, Completion};
use serde_json::{Value, json};

use super::method::{Keys, printable};
use crate::content::pattern::Pattern;
use crate::content::value::Values;
use crate::framing::missed::Shown;
use crate::framing::reader::Reader;
use crate::framing::wire::Wire;
use crate::keys::Mistake;
use crate::port::Port;

/// A method with `hears`, and what was heard for it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) wire: Arc<Wire>,
    pattern: Pattern,
    values: Values,
    last: Mutex<Last>,
}

/// What was heard for a method.
#[derive(Debug, Default)]
struct Last {
    read: Option<(BootInstant, Value)>,
    /// Why the frames since then cannot be read, if any came.
    unread: Option<String>,
    /// Whether that was ever told, so that a device that talks does not fill the log.
    told: bool,
}

/// The methods of one map file that listen.
#[derive(Debug, Clone)]
pub(crate) struct Hearing {
    pub(crate) wire: Arc<Wire>,
    pub(crate) methods: Vec<Arc<Heard>>,
}

/// All that listen at one port. Those of several generations of maps may listen at once.
#[derive(Debug, Default)]
pub(crate) struct Ears(Mutex<Vec<Ear>>);

#[derive(Debug)]
struct Ear {
    hearing: Hearing,
    reader: Reader,
    /// What the last bytes brought, until it is known that it was no answer to a call.
    pending: Vec<Pending>,
    /// A frame came that nobody listens for, since [`Ears::talk`] told.
    has_other: bool,
}

/// What the bytes were that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Whole frames that somebody listens for, and nothing else.
    Known,
    /// The same and the beginning of a frame, which may become another one.
    Open,
    /// Something else.
    Noise,
}

#[derive(Debug)]
struct Pending {
    heard: Arc<Heard>,
    frame: Vec<u8>,
    value: Result<Value, String>,
    at: BootInstant,
}

impl Heard {
    /// Reads a method with `hears`.
    pub(crate) fn new(method: &MapMethod<Keys>, wire: &Arc<Wire>) -> Result<Self, MapError> {
        let origin = &method.origin;
        let place = |e: Mistake| origin.at(&e.at).error(e);
        let values = Values::parse(method.keys.values.as_ref()).map_err(place)?;
        if let Some(key) = method.keys.beside_hears() {
            let message = "stands beside `hears`, which only listens; make two methods of it";
            return Err(place(Mistake::new(key, message)));
        }
        if method.params.is_some() {
            return Err(place(Mistake::new("params", "`hears` takes no parameters")));
        }
        if method.policy.poll.is_some() {
            let message = "reads something every so often; what is heard comes by itself, leave it out";
            return Err(place(Mistake::new("poll", message)));
        }
        if method.policy.stop {
            let message =
                "clears the lane of what moves something, in which `hears` does not stand; leave it out";
            return Err(place(Mistake::new("stop", message)));
        }
        let pattern = method.keys.hears.as_ref().map(|value| Pattern::parse(value, "hears", wire, &values));
        let Some(pattern) = pattern.transpose().map_err(place)? else {
            return Err(origin.error("the method has no `hears`"));
        };
        values.check_used(&pattern.names()).map_err(place)?;
        Ok(Self { wire: Arc::clone(wire), pattern, values, last: Mutex::default() })
    }

    /// The last frame, and its age.
    pub(crate) fn answer(&self, call: &Call, port: &Port) -> Completion {
        if let Err(expired) = call.deadline.check() {
            return expired.into();
        }
        let last = lock(&self.last);
        let unread = last.unread.as_ref().map(|why| format!("{port} was heard, and {why}"));
        let Some((at, value)) = &last.read else {
            return port.unavailable().unwrap_or_else(|| {
                Completion::Unavailable(unread.map_or_else(
                    || {
                        let message =
                            format!("{port} has sent nothing by itself yet that matches {}", self.pattern);
                        CallError::new("nothing_heard", message)
                    },
                    |message| CallError::new("bad_response", message),
                ))
            });
        };
        let age = BootInstant::now().saturating_since(*at).as_millis();
        let mut response = json!({"value": value, "age_ms": u64::try_from(age).unwrap_or(u64::MAX)});
        let error =
            if let Some(Completion::Unavailable(e)) = port.unavailable() { Some(e.message) } else { unread };
        if let (Some(error), Some(response)) = (error, response.as_object_mut()) {
            response.insert("error".into(), error.into());
        }
        Completion::Ok(response)
    }

    /// A frame came that was no answer to a call.
    fn take(&self, at: BootInstant, value: Result<Value, String>) {
        let mut last = lock(&self.last);
        match value {
            Ok(value) => {
                last.read = Some((at, value));
                last.unread = None;
            }
            Err(why) => {
                if !std::mem::replace(&mut last.told, true) {
                    tracing::warn!(
                        see = "frame-unreadable",
                        hears = %self.pattern, why, "a frame that was heard cannot be read; this is told once for the method"
                    );
                }
                last.unread = Some(why);
            }
        }
    }

    pub(crate) fn explain(&self) -> Vec<String> {
        vec![
            format!("hears       {}", self.pattern),
            format!("            of {}; writes nothing", self.wire),
            "answers     at once, with the last such frame and its age; unavailable before the first".into(),
        ]
    }
}

impl Ears {
    /// Begins to listen for `hearing`.
    pub(crate) fn add(&self, hearing: &[Hearing]) {
        let ear = |hearing: &Hearing| Ear {
            reader: Reader::new(&hearing.wire),
            hearing: hearing.clone(),
            pending: Vec::new(),
            has_other: false,
        };
        lock(&self.0).extend(hearing.iter().map(ear));
    }

    /// Listens for it no more.
    pub(crate) fn remove(&self, hearing: &[Hearing]) {
        lock(&self.0).retain(|ear| !hearing.iter().any(|other| Arc::ptr_eq(&other.wire, &ear.hearing.wire)));
    }

    /// Takes bytes of the device. What they bring is told when [`Ears::commit`] follows.
    pub(crate) fn hear(&self, bytes: &[u8], at: BootInstant) {
        for ear in lock(&self.0).iter_mut() {
            ear.take(at, |reader, judge| {
                reader.feed(bytes, judge);
            });
        }
    }

    /// The line has been silent for `pause`, which ends the frames of those who wait no longer.
    pub(crate) fn silence(&self, at: BootInstant, pause: Duration) {
        let over = |ear: &&mut Ear| ear.hearing.wire.framing.pause().is_some_and(|own| own <= pause);
        for ear in lock(&self.0).iter_mut().filter(over) {
            ear.take(at, |reader, judge| {
                reader.silence(judge);
            });
        }
    }

    /// The frame with this content was a call's answer: the device did not send it by itself. Who cuts frames in another
    /// way than `wire` does cannot tell it from others that came with it.
    pub(crate) fn answered(&self, wire: &Wire, frame: &[u8]) {
        for ear in lock(&self.0).iter_mut() {
            let alike = *ear.hearing.wire == *wire;
            ear.pending.retain(|pending| alike && pending.frame != frame);
        }
    }

    /// [`Ears::talk`] begins anew.
    pub(crate) fn forget_talk(&self) {
        for ear in lock(&self.0).iter_mut() {
            ear.reader.take_lost();
            ear.has_other = false;
        }
    }

    /// What came since it was last known to be this or that.
    pub(crate) fn talk(&self) -> Talk {
        let mut talk = Talk::Noise;
        for ear in lock(&self.0).iter_mut() {
            ear.has_other |= ear.reader.take_lost();
            talk = match (ear.has_other, ear.reader.is_amid()) {
                (false, false) => Talk::Known,
                (false, true) if talk == Talk::Noise => Talk::Open,
                (_, _) => talk,
            };
        }
        if talk != Talk::Open {
            self.forget_talk();
        }
        talk
    }

    /// What is pending came with an answer.
    pub(crate) fn discard(&self) {
        lock(&self.0).iter_mut().for_each(|ear| ear.pending.clear());
    }

    /// What is pending was no answer.
    pub(crate) fn commit(&self) {
        for ear in lock(&self.0).iter_mut() {
            for pending in ear.pending.drain(..) {
                pending.heard.take(pending.at, pending.value);
            }
        }
    }

    /// The device is gone: a frame that had begun will not be finished.
    pub(crate) fn reset(&self) {
        self.commit();
        for ear in lock(&self.0).iter_mut() {
            ear.reader.reset();
        }
    }

    /// How long the line must be silent until [`Ears::silence`] is wanted, if it is.
    pub(crate) fn pause(&self) -> Option<Duration> {
        lock(&self.0)
            .iter()
            .filter(|ear| ear.reader.is_amid())
            .filter_map(|ear| ear.hearing.wire.framing.pause())
            .max()
    }
}

impl Ear {
    fn take(&mut self, at: BootInstant, read: impl FnOnce(&mut Reader, &mut dyn FnMut(&[u8]) -> Option<()>)) {
        let (hearing, pending, has_other) = (&self.hearing, &mut self.pending, &mut self.has_other);
        read(&mut self.reader, &mut |frame| {
            let mut is_known = false;
            for heard in &hearing.methods {
                let Some(captures) = heard.pattern.captures(frame, &heard.values) else { continue };
                is_known = true;
                let value = captures.map(Value::from).map_err(|why| {
                    let shown = heard.pattern.shown(&Shown::new(frame));
                    format!("it said {shown}, of which {}", printable(&why))
                });
                // Only the last of each kind is kept, so what is pending stays bounded.
                let is_read = value.is_ok();
                pending
                    .retain(|other| !Arc::ptr_eq(&other.heard, heard) || (!is_read && other.value.is_ok()));
                // Of those that cannot be read one is enough, and it stays behind the last that can.
                let (heard, frame) = (Arc::clone(heard), frame.to_vec());
                pending.push(Pending { heard, frame, value, at });
            }
            *has_other |= !is_known;
            None
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
