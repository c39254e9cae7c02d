//! One structured record per call, written off the path of the calls.
//!
//! Putting a record into words must not delay a command, so records go to a thread of their own through a bounded queue.
//! When it is full they are dropped and counted. (That the log itself never waits is seen to in `log`.) The same thread
//! counts how calls end, and tells those who watch; and it hands on to the audit record what that is about.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use nowd_core::{Drop as Dropped, Record, RecordKind};
use nowd_plugin::BootInstant;
use nowd_protocol::{ErrorBody, Status};
use tracing::{error, info, warn};

use crate::audit::{Audit, Event, Shared};
use crate::cli::words::ms;
use crate::local::{Feed, kind};
use crate::stats::{FailedSafeAction, Stats};

/// How many records may wait to be written.
const QUEUE: usize = 1_024;

/// How long the thread rests when it has dealt with everything: it, and those that it hands on to, are then woken once for many calls, not
/// for each. A call after a pause is told at once.
const REST: Duration = Duration::from_millis(5);

/// How long the end of the process waits for records that are still to be written, at least.
const FAREWELL: Duration = Duration::from_millis(100);

/// What is written about calls.
#[derive(Debug)]
pub(crate) enum Line {
    /// A call ended.
    Call(Box<Record>),
    /// A request was dropped without an answer.
    Dropped(Dropped),
    /// A message was not a request.
    Refused { topic: String, reason: String },
    /// Reads of a polled method fail from now on, or work again.
    Polled { method: String, error: Option<ErrorBody> },
    /// For the audit record alone.
    Audit(Event),
    /// An answer could not be sent.
    Unsent { id: nowd_protocol::Uuid, reason: String },
    /// Nothing: only that the thread moves is of interest.
    Asked,
}

/// Nothing is ever sent: only the end of the thread is heard.
#[derive(Debug)]
enum Never {}

/// The queue to the writing thread.
#[derive(Debug)]
pub(crate) struct Records {
    sender: Option<SyncSender<Line>>,
    done: Receiver<Never>,
    lost: Arc<AtomicU64>,
    stats: Arc<Stats>,
    /// How many lines the thread has dealt with.
    moves: Arc<AtomicU64>,
    audit: Option<Audit>,
    farewell: Duration,
}

impl Records {
    /// Starts the thread, which tells `feed` and `audit` of each call that ends.
    pub(crate) fn start(mut feed: Feed, audit: Option<Audit>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (tell_done, done) = sync_channel(0);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let stats = Arc::<Stats>::default();
        let counted = Arc::clone(&stats);
        let moves = Arc::<AtomicU64>::default();
        let moved = Arc::clone(&moves);
        let mut entries = audit.as_ref().and_then(Audit::entries);
        std::thread::Builder::new().name("nowd-records".into()).spawn(move || {
            let mut deal_with = |line: Line| {
                let lost = counter.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    feed.lost(lost);
                    counted.lost(lost);
                    if let Some(entries) = &entries {
                        entries.lost(lost);
                    }
                    warn!(
                        see = "records-lost",
                        lost,
                        "records of calls were lost, because they came faster than they could be written"
                    );
                }
                count(&counted, &line);
                if let Line::Call(record) = &line {
                    feed.tell(record);
                }
                write(&line);
                if let (Some(entries), Some(event)) = (&mut entries, event(line)) {
                    entries.push(event);
                }
                moved.fetch_add(1, Ordering::Relaxed);
            };
            while let Ok(line) = receiver.recv() {
                deal_with(line);
                receiver.try_iter().for_each(&mut deal_with);
                std::thread::sleep(REST);
            }
            // The record ends when nothing can go in any more.
            drop(entries);
            // Ends the wait of `drop`, by its own end.
            drop(tell_done);
        })?;
        Ok(Self { sender: Some(sender), done, lost, stats, moves, audit, farewell: FAREWELL })
    }

    /// How many lines the thread has dealt with; one more of them before it is asked again, however few calls there are.
    pub(crate) fn ask(&self) -> u64 {
        if let Some(sender) = &self.sender {
            // Where there is no room it has enough to do.
            drop(sender.try_send(Line::Asked));
        }
        self.moves.load(Ordering::Relaxed)
    }

    /// What was counted so far.
    pub(crate) const fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// How the audit record is, where there is one.
    pub(crate) fn audit(&self) -> Option<&Arc<Shared>> {
        self.audit.as_ref().map(Audit::shared)
    }

    /// Ends, and waits about so long for what is still to be written: on a busy machine an orderly end should not look like another.
    pub(crate) fn end(mut self, within: Duration) {
        self.farewell = within.max(FAREWELL);
    }

    /// Takes a line if there is room; never waits.
    pub(crate) fn push(&self, line: Line) {
        if self.sender.as_ref().is_none_or(|sender| sender.try_send(line).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.sender = None;
        let begun = BootInstant::now();
        // Waits for the thread's end; a log that is wedged has had its time.
        if let Ok(never) = self.done.recv_timeout(self.farewell) {
            match never {}
        }
        if let Some(audit) = self.audit.take() {
            audit.end(self.farewell.saturating_sub(BootInstant::now().saturating_since(begun)));
        }
    }
}

/// What the audit record has of it.
fn event(line: Line) -> Option<Event> {
    match line {
        Line::Call(record) => Some(Event::Call(record)),
        Line::Dropped(reason) => Some(Event::Dropped(reason)),
        // Its topic may be anything.
        Line::Refused { reason, .. } => Some(Event::NoRequest { reason }),
        Line::Audit(event) => Some(event),
        Line::Polled { .. } | Line::Unsent { .. } | Line::Asked => None,
    }
}

fn count(stats: &Stats, line: &Line) {
    match line {
        Line::Call(record) => stats.count(record),
        Line::Dropped(Dropped::ForeignTarget(_)) => stats.dropped("foreign_target"),
        Line::Dropped(Dropped::Loop) => stats.dropped("loop"),
        Line::Dropped(Dropped::Retained) => stats.dropped("retained"),
        Line::Dropped(Dropped::NotLocal) => stats.dropped("not_local"),
        Line::Refused { .. } => stats.dropped("not_a_request"),
        Line::Polled { method, error } => stats.unreadable(method, error.is_some()),
        Line::Unsent { .. } => stats.unsent(),
        Line::Audit(_) | Line::Asked => {}
    }
}

fn write(line: &Line) {
    match line {
        Line::Call(record) => write_call(record),
        Line::Dropped(reason) => warn!(see = "message-dropped", "a request was dropped: {reason}"),
        Line::Refused { topic, reason } => {
            warn!(
                see = "message-dropped",
                topic = printable(topic, LONGEST_TOPIC),
                "a message was dropped: {reason}"
            );
        }
        Line::Polled { method, error: Some(ErrorBody { code, message }) } => {
            warn!(
                see = "poll-failing",
                method, code, "the method cannot be read: {message}; callers get the last value with its age"
            );
        }
        Line::Polled { method, error: None } => info!(method, "the method can be read again"),
        Line::Unsent { id, reason } => warn!(see = "answer-unsent", %id, "an answer was not sent: {reason}"),
        // For others than the log.
        Line::Audit(_) | Line::Asked => {}
    }
}

fn write_call(record: &Record) {
    let what = words(record);
    let error = record.error.as_ref();
    info!(
        target: "nowd::call",
        kind = kind(record),
        id = %record.id,
        method = &*record.method,
        client = record.client.as_ref().map(nowd_protocol::Level::as_str),
        caller = record.caller.as_deref(),
        traceparent = record.traceparent.as_deref(),
        attempt = record.attempt,
        status = record.status.as_str(),
        outcome = record.outcome.as_str(),
        code = error.map(|error| error.code.as_str()),
        error = error.map(|error| error.message.as_str()),
        queue_us = record.timing.queue,
        plugin_us = record.timing.plugin,
        total_us = record.timing.total,
        "{what}"
    );
    if let Some(FailedSafeAction { status, why, .. }) = FailedSafeAction::of(record) {
        error!(
            see = "safe-action-failed",
            id = %record.id,
            "the safe action {} failed: {}: {}; the device may not be as its map wants it",
            record.method,
            status.as_str(),
            printable(&why, LONGEST_ERROR)
        );
    }
}

/// A call in one line: of which method, how it ended, how long it took, and why where that is not all well.
fn words(record: &Record) -> String {
    let Record { method, status, outcome, timing, .. } = record;
    let what = match record.kind {
        RecordKind::Answered => format!("call {method}"),
        RecordKind::Late => format!("late result of {method}"),
        RecordKind::Repeated => format!("repeat of {method} answered"),
        RecordKind::SafeAction => format!("safe action {method}"),
    };
    let mut text = format!("{what}: {}", status.as_str());
    if *status != Status::Ok {
        text.push_str(", ");
        text.push_str(&outcome.as_str().replace('_', " "));
    }
    // What was refused at once has taken no time.
    if timing.total > 0 {
        text.extend([" in ", &ms(timing.total), " ms"]);
    }
    if let Some(error) = &record.error {
        text.push_str(": ");
        text.push_str(&printable(&error.message, LONGEST_ERROR));
    }
    text
}

/// How much of a topic is logged, and of an error in a call's line, in characters; the error's field has all of it.
const LONGEST_TOPIC: usize = 120;
const LONGEST_ERROR: usize = 200;

/// A text that anybody may have chosen, safe to be logged.
fn printable(text: &str, longest: usize) -> String {
    let mut printable = String::new();
    for c in text.chars().take(longest) {
        // Quotes are harmless, and `escape_debug` would put a backslash before each.
        if c.is_control() { printable.extend(c.escape_debug()) } else { printable.push(c) }
    }
    if text.chars().nth(longest).is_some() {
        printable.push_str("...");
    }
    printable
}

#[cfg(test)]
mod tests;
