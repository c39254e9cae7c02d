//! What an entry holds. Never parameters or responses: they may be personal, and nobody asked for them to be kept.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use nowd_core::{Drop as Dropped, Record, RecordKind};
use nowd_plugin::BootInstant;
use nowd_protocol::{Outcome, Uuid};
use serde::Serialize;

use super::chain::{Hash, Head, LONGEST_LINE, seal};
use super::folding::is_cheap;
use crate::clock::WallClock;

/// The longest text that somebody else chose, in bytes as they stand in the line: what a message may say of its caller.
const LONGEST_TEXT: usize = 2_048;

/// The longest other text, and caller of what anybody can cause any number of; in bytes as they stand in the line.
const LONGEST_WORD: usize = 256;

/// When something was heard of: with the records of calls, a moment after it happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) wall_ms: u64,
    /// Whether the wall clock was trusted then.
    pub(crate) trusted: bool,
    pub(crate) steady: BootInstant,
}

impl Moment {
    pub(crate) fn now(clock: &WallClock) -> Self {
        let (wall_ms, trusted) = clock.stamp();
        Self { wall_ms, trusted, steady: BootInstant::now() }
    }

    /// For people: to the millisecond, in UTC.
    pub(crate) fn text(&self) -> String {
        // The last instant that the text can say is at the end of the year 9999.
        let ms = self.wall_ms.min(253_402_300_799_999);
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
    }
}

/// How long what the kernel has said of the wall clock is taken to hold.
const FRESH: Duration = Duration::from_millis(5);

/// Makes moments, one after the other. The kernel is asked once for those that come together.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    clock: WallClock,
    /// When it was asked last.
    asked: Option<Moment>,
}

impl Moments {
    pub(super) const fn new(clock: WallClock) -> Self {
        Self { clock, asked: None }
    }

    pub(super) fn now(&mut self) -> Moment {
        let steady = BootInstant::now();
        if let Some(asked) = self.asked {
            let since = steady.saturating_since(asked.steady);
            if since < FRESH {
                let since_ms = u64::try_from(since.as_millis()).unwrap_or_default();
                return Moment { wall_ms: asked.wall_ms.saturating_add(since_ms), steady, ..asked };
            }
        }
        *self.asked.insert(Moment::now(&self.clock))
    }
}

/// Whatever is recorded.
#[derive(Debug)]
pub(crate) enum Event {
    /// A call, a late result, a repeat or a safe action ended.
    Call(Box<Record>),
    /// A request was dropped without an answer.
    Dropped(Dropped),
    /// A message was no request.
    NoRequest { reason: String },
    /// Locked out on site.
    Locked { reason: String, by: Option<String> },
    /// Not any more.
    Unlocked { by: Option<String> },
    /// Maps were read again, or had a mistake.
    Reloaded { error: Option<String> },
    /// The gateway ends as it should.
    Stopped,
}

/// An entry's own fields.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum What<'a> {
    /// The first entry of a file.
    Segment {
        form: u8,
        after: String,
    },
    Start {
        version: &'a str,
        target: &'a str,
    },
    Stop,
    Call(Call<'a>),
    Late(Call<'a>),
    Repeat(Call<'a>),
    SafeAction(Call<'a>),
    Dropped {
        reason: &'a str,
    },
    Lockout {
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a str>,
    },
    Unlock {
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a str>,
    },
    Reload {
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    /// So many of one return address were counted instead of written.
    Folded {
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<&'a str>,
        since: String,
        count: u64,
        statuses: &'a BTreeMap<&'static str, u64>,
    },
    /// So many entries are not there.
    Lost {
        count: u64,
        why: &'a str,
    },
    /// The file of these entries was removed to keep within `max_size`.
    Pruned {
        first: u64,
        last: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_hash: Option<String>,
    },
    /// What stood at the end and was no whole entry was taken off.
    Mended {
        bytes: u64,
        sha256: String,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Call<'a> {
    id: Uuid,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    attempt: u32,
    status: &'static str,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    queue_us: u64,
    plugin_us: u64,
    total_us: u64,
}

impl<'a> What<'a> {
    /// `reason` is the place for words that have to be made.
    pub(super) fn of(event: &'a Event, reason: &'a mut String) -> Self {
        match event {
            Event::Call(record) => {
                let call = Call::of(record);
                match record.kind {
                    RecordKind::Answered => Self::Call(call),
                    RecordKind::Late => Self::Late(call),
                    RecordKind::Repeated => Self::Repeat(call),
                    RecordKind::SafeAction => Self::SafeAction(call),
                }
            }
            Event::Dropped(dropped) => {
                *reason = dropped.to_string();
                Self::Dropped { reason: cut(reason, LONGEST_WORD) }
            }
            Event::NoRequest { reason } => Self::Dropped { reason: cut(reason, LONGEST_WORD) },
            Event::Locked { reason, by } => {
                Self::Lockout { reason: cut(reason, LONGEST_TEXT), by: by.as_deref().map(word) }
            }
            Event::Unlocked { by } => Self::Unlock { by: by.as_deref().map(word) },
            Event::Reloaded { error } => {
                Self::Reload { error: error.as_deref().map(|error| cut(error, LONGEST_TEXT)) }
            }
            Event::Stopped => Self::Stop,
        }
    }
}

impl<'a> Call<'a> {
    fn of(record: &'a Record) -> Self {
        let longest = if is_cheap(record) { LONGEST_WORD } else { LONGEST_TEXT };
        Self {
            id: record.id,
            method: word(&record.method),
            client: record.client.as_ref().map(|client| word(client.as_str())),
            caller: record.caller.as_deref().map(|caller| cut(caller, longest)),
            attempt: record.attempt,
            status: record.status.as_str(),
            outcome: record.outcome,
            code: record.error.as_ref().map(|error| word(&error.code)),
            queue_us: record.timing.queue,
            plugin_us: record.timing.plugin,
            total_us: record.timing.total,
        }
    }
}

/// Who writes, for the entries of one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealer {
    pub(super) incarnation: Uuid,
}

#[derive(Serialize)]
struct Body<'a> {
    n: u64,
    time: String,
    trusted: bool,
    steady_us: u64,
    incarnation: Uuid,
    #[serde(flatten)]
    what: &'a What<'a>,
}

impl Sealer {
    /// The line after `head`, with its end, and the new head.
    pub(super) fn line(self, head: Option<Head>, moment: Moment, what: &What<'_>) -> (String, Head) {
        let (number, before) =
            head.map_or((1, Hash::NONE), |head| (head.number.saturating_add(1), head.hash));
        let body = Body {
            n: number,
            time: moment.text(),
            trusted: moment.trusted,
            steady_us: moment.steady.as_micros(),
            incarnation: self.incarnation,
            what,
        };
        // Texts and numbers can always be written, and all texts are cut so that they fit.
        let object = serde_json::to_string(&body).unwrap_or_default();
        let (mut line, hash) = seal(&object, &before);
        debug_assert!(line.len() <= LONGEST_LINE, "{line}");
        line.push('\n');
        (line, Head { number, hash })
    }
}

fn word(text: &str) -> &str {
    cut(text, LONGEST_WORD)
}

/// So many bytes at most as it stands in the line, and whole characters.
fn cut(text: &str, most: usize) -> &str {
    let mut len = 0_usize;
    let end = text.char_indices().find(|(_, char)| {
        len = len.saturating_add(match char {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => r"\u0000".len(),
            _ => char.len_utf8(),
        });
        len > most
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::WallReading;
    use crate::config::ClockTrust;

    #[test]
    fn the_kernel_is_asked_once_for_what_comes_together() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let clock = WallClock::new(ClockTrust::Auto, move || {
            let now_ms = 1_000_000 * (1 + count.fetch_add(1, Ordering::Relaxed));
            WallReading { now_ms, max_error: Some(Duration::from_millis(1)) }
        });
        let mut moments = Moments::new(clock);
        let first = moments.now();
        assert!((first.wall_ms, first.trusted) == (1_000_000, true));
        let second = moments.now();
        let since = second.steady.saturating_since(first.steady);
        // On a machine that is busy more than that may lie between the two.
        if since < FRESH {
            assert_eq!(second.wall_ms, 1_000_000 + u64::try_from(since.as_millis()).unwrap());
            assert_eq!(asked.load(Ordering::Relaxed), 1);
        }
        while moments.asked.unwrap().steady == first.steady {
            moments.now();
        }
        let later = moments.asked.unwrap();
        assert!(later.steady.saturating_since(first.steady) >= FRESH);
        assert_eq!(later.wall_ms, 1_000_000 * asked.load(Ordering::Relaxed));
    }
}
