//! The three ways to put load on something: one call after the other, so many at once, so many a second.

mod metronome;

use std::time::Duration;

use anyhow::{bail, ensure};

use crate::calls::{Answer, Caller, Status, Tally, Way};
use crate::measure::{SECOND, Times, float, now};

pub(crate) use metronome::Metronome;

/// How long answers are waited for beyond the last deadline.
const PATIENCE: u64 = 2 * SECOND;

/// How often a method is asked until it works.
const TRIES: u32 = 500;

/// What one measurement brought.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Of those that were executed.
    pub(crate) times: Times,
    /// Of those that were refused as `busy`.
    pub(crate) busy: Times,
    /// How long that took; in nanoseconds.
    lasted: u64,
    pub(crate) tally: Tally,
    /// The longest time by which the load generator itself was late, in nanoseconds.
    pub(crate) behind: u64,
}

impl Measured {
    fn new() -> anyhow::Result<Self> {
        let (times, busy) = (Times::new()?, Times::new()?);
        Ok(Self { times, busy, lasted: 0, tally: Tally::default(), behind: 0 })
    }

    fn take(&mut self, answer: &Answer) {
        let took = answer.heard.saturating_sub(answer.intended);
        match answer.status {
            Status::Ok => self.times.record(took),
            Status::Busy => self.busy.record(took),
            Status::Other => {}
        }
    }

    fn end(mut self, caller: &mut Caller, begun: u64, ended: u64) -> Self {
        caller.settle();
        self.tally = std::mem::take(&mut caller.tally);
        self.lasted = ended.saturating_sub(begun);
        self
    }

    /// Executed, a second.
    pub(crate) fn rate(&self) -> f64 {
        if self.lasted > 0 { float(self.times.len()) * float(SECOND) / float(self.lasted) } else { 0.0 }
    }

    /// Fails unless every call was executed: the times of those that were left are not those of all.
    pub(crate) fn all_executed(&self) -> anyhow::Result<()> {
        let Self { times, tally, .. } = self;
        ensure!(times.len() == tally.sent, "not all calls were executed: {tally:?}");
        Ok(())
    }

    /// Fails if an echo is lost: a floor with fewer under way than there should be is none.
    pub(crate) fn echoes_whole(&self) -> anyhow::Result<()> {
        ensure!(self.tally.echoes_lost == 0, "the floor has lost {} echoes", self.tally.echoes_lost);
        Ok(())
    }

    /// More of the same.
    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.times.add(&other.times)?;
        self.busy.add(&other.busy)?;
        self.lasted += other.lasted;
        self.tally.add(&other.tally);
        self.behind = self.behind.max(other.behind);
        Ok(())
    }
}

/// Says hello to a gateway: after this its clock is known, its plugins are there, and it is warm.
pub(crate) async fn greet(caller: &mut Caller, way: &Way, calls: u32) -> anyhow::Result<()> {
    // The first is answered `resync`; a plugin in a process of its own may need a moment.
    let mut tries = 0;
    while bounded(way, caller.call(way)).await?.status != Status::Ok {
        tries += 1;
        if tries > TRIES {
            bail!("{} of {} does not work: {:?}", way.method, way.target, caller.tally.statuses);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..calls {
        bounded(way, caller.call(way)).await?;
    }
    caller.settle();
    caller.tally = caller.tally.without_calls();
    Ok(())
}

/// One call after the other. Fails if one is not executed.
pub(crate) async fn alone(caller: &mut Caller, way: &Way, calls: u32) -> anyhow::Result<Measured> {
    let mut measured = Measured::new()?;
    let begun = now();
    for _ in 0..calls {
        let answer = bounded(way, caller.call(way)).await?;
        measured.take(&answer);
    }
    let measured = measured.end(caller, begun, now());
    measured.all_executed()?;
    Ok(measured)
}

/// `width` calls under way for so many nanoseconds, and at most `most` in all: each answer brings the next call. They go
/// where `ways` say, in turns.
pub(crate) async fn flight(
    caller: &mut Caller,
    ways: &[Way],
    width: u32,
    lasts: u64,
    most: u64,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::new()?;
    let begun = now();
    let end = begun.saturating_add(lasts);
    let longest = ways.iter().map(|way| way.timeout).max().unwrap_or_default();
    let mut ways = ways.iter().cycle();
    for way in ways.by_ref().take(usize::try_from(width)?) {
        caller.send(way, now())?;
    }
    caller.flush().await?;
    let bound = Duration::from_nanos(lasts.saturating_add(longest + PATIENCE));
    let mut give_up = std::pin::pin!(tokio::time::sleep(bound));
    let mut answers = Vec::new();
    let mut ended = begun;
    while caller.waiting() > 0 {
        tokio::select! {
            biased;
            heard = caller.answers(&mut answers) => heard?,
            () = &mut give_up => break,
        }
        let at = now();
        let goes_on = at < end && caller.tally.sent < most;
        for answer in &answers {
            // What comes in while the others end had more room than the rest.
            if ended == begun || goes_on {
                measured.take(answer);
            }
            if let Some(way) = ways.next().filter(|_| goes_on) {
                caller.send(way, at)?;
            }
        }
        if !goes_on && ended == begun {
            ended = at;
        }
        caller.flush().await?;
    }
    caller.linger().await?;
    Ok(measured.end(caller, begun, ended))
}

/// From when on the time of a call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// When it was to be sent: what makes the load generator late under load counts too.
    Due,
    /// When it was sent: the load generator has to be woken for each call, and late for that alone.
    Sent,
}

/// `rate` calls a second for so many nanoseconds, whatever comes back.
pub(crate) async fn open(
    caller: &mut Caller,
    way: &Way,
    rate: u64,
    lasts: u64,
    since: Since,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::new()?;
    let mut metronome = Metronome::new()?;
    let total = rate.saturating_mul(lasts) / SECOND;
    // A moment to set up.
    let begun = now() + SECOND / 1_000;
    let due = |call: u64| begun + call.saturating_mul(SECOND) / rate.max(1);
    let (mut sent, mut answers) = (0, Vec::new());
    let mut give_up =
        std::pin::pin!(tokio::time::sleep(Duration::from_nanos(lasts + way.timeout + PATIENCE)));
    while sent < total || caller.waiting() > 0 {
        let at = now();
        while sent < total && due(sent) <= at {
            measured.behind = measured.behind.max(at - due(sent));
            caller.send(way, if since == Since::Due { due(sent) } else { at })?;
            sent += 1;
        }
        caller.flush().await?;
        tokio::select! {
            heard = caller.answers(&mut answers) => heard?,
            ticked = metronome.at(due(sent)), if sent < total => {
                ticked?;
                answers.clear();
            }
            () = &mut give_up => break,
        }
        for answer in &answers {
            measured.take(answer);
        }
    }
    ensure!(
        sent == total,
        "the load generator sent {sent} calls of {total}: this machine cannot send as many"
    );
    // What was still under way was not executed within that time.
    let ended = now().max(begun.saturating_add(lasts));
    // Answers have to be acknowledged too.
    caller.flush().await?;
    caller.linger().await?;
    Ok(measured.end(caller, begun, ended))
}

async fn bounded(way: &Way, call: impl Future<Output = anyhow::Result<Answer>>) -> anyhow::Result<Answer> {
    tokio::select! {
        answer = call => answer,
        () = tokio::time::sleep(Duration::from_nanos(way.timeout + PATIENCE)) => {
            bail!("a call of {} was not answered: lost", way.method)
        }
    }
}
