//! Many calls, and how long they took.
//!
//! At a rate, each call has its moment; one that cannot begin before the next one's moment is skipped and counted, never sent
//! late. Without, each begins when the one before has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nowd_cloud::BootInstant;
use nowd_protocol::Outcome;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};

use super::client::{Client, Heard};
use super::words::{ms, say, shown};
use crate::cli::{Exit, Failure};

/// So many calls may be under way at once; more are skipped.
const MOST_AT_ONCE: usize = 64;
/// The most rows of one table; a server that answers with ever new words fills no memory.
const MOST_ROWS: usize = 32;
/// What is shown of a phase's times: the name of the column, and the part of all times that are not above it, in percent.
const COLUMNS: [(&str, usize); 5] = [("min", 0), ("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)];

/// What came of the calls.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<String, u64>,
    outcomes: BTreeMap<&'static str, u64>,
    exits: Vec<Exit>,
    skipped: u64,
    /// In microseconds: the whole, then the server's phases as they were named first.
    times: Vec<(String, Vec<u64>)>,
}

pub(super) async fn many(
    client: &mut Client,
    count: u32,
    rate: Option<u32>,
    json: bool,
) -> Result<Exit, Failure> {
    let internal = |error| Failure::new(Exit::Internal, error);
    let mut interrupt =
        signal(SignalKind::interrupt()).context("cannot listen for SIGINT").map_err(internal)?;
    let mut tally = Tally::default();
    let begun = BootInstant::now();
    let ended = match rate {
        None => in_turn(client, count, &mut interrupt, &mut tally).await,
        Some(rate) => at_rate(client, count, rate, &mut interrupt, &mut tally).await,
    };
    let took = BootInstant::now().saturating_since(begun);
    if tally.exits.is_empty() && tally.skipped == 0 {
        return ended.map(|()| Exit::NotExecuted);
    }
    say(&if json { tally.json(took).to_string() } else { tally.table(took) });
    // What is known of the calls that were made is worth more than why there were no more.
    ended.map_err(|failure| Failure { exit: tally.exit(Some(failure.exit)), ..failure })?;
    Ok(tally.exit(None))
}

/// Each begins when the one before has ended. Ctrl-C ends it after the one that is under way; another at once.
async fn in_turn(
    client: &mut Client,
    count: u32,
    interrupt: &mut Signal,
    tally: &mut Tally,
) -> Result<(), Failure> {
    for number in 0..count {
        let request = client.request().await?;
        let mut call = std::pin::pin!(client.send(request));
        let (heard, stopped) = tokio::select! {
            heard = &mut call => (heard, false),
            _ = interrupt.recv() => tokio::select! {
                heard = &mut call => (heard, true),
                _ = interrupt.recv() => (Heard::abandoned(), true),
            },
        };
        // Where nobody is, nobody is asked ten thousand times.
        if let (0, Err(lost)) = (number, &heard.result)
            && !lost.sent
        {
            return Err(Failure::new(Exit::Unreachable, anyhow!("{}; nothing was sent", lost.why)));
        }
        tally.add(&heard);
        if stopped {
            break;
        }
    }
    Ok(())
}

/// Each begins at its moment, or not at all. Ctrl-C begins no more; another waits for none.
async fn at_rate(
    client: &mut Client,
    count: u32,
    rate: u32,
    interrupt: &mut Signal,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut calls = JoinSet::new();
    let begun = begin(client, count, rate, interrupt, tally, &mut calls).await;
    while !calls.is_empty() {
        tokio::select! {
            Some(ended) = calls.join_next() => tally.ended(ended),
            _ = interrupt.recv() => calls.abort_all(),
        }
    }
    begun
}

async fn begin(
    client: &mut Client,
    count: u32,
    rate: u32,
    interrupt: &mut Signal,
    tally: &mut Tally,
    calls: &mut JoinSet<Heard>,
) -> Result<(), Failure> {
    let begun = BootInstant::now();
    let moment = |number: u32| begun.saturating_add(Duration::from_secs(1) * number / rate);
    for number in 0..count {
        loop {
            let left = moment(number).saturating_since(BootInstant::now());
            if left.is_zero() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                Some(ended) = calls.join_next() => tally.ended(ended),
                _ = interrupt.recv() => return Ok(()),
            }
        }
        let request = client.request().await?;
        let next = moment(number.saturating_add(1));
        if BootInstant::now() >= next || calls.len() >= MOST_AT_ONCE {
            tally.skipped = tally.skipped.saturating_add(1);
        } else {
            calls.spawn(client.send(request));
        }
    }
    Ok(())
}

impl Tally {
    fn ended(&mut self, ended: Result<Heard, JoinError>) {
        self.add(&ended.unwrap_or_else(|_| Heard::abandoned()));
    }

    fn add(&mut self, heard: &Heard) {
        let (status, outcome, times) = match &heard.result {
            Ok(answer) => (answer.status(), answer.outcome(), answer.times.as_slice()),
            Err(lost) if lost.sent => ("no_reply".to_owned(), Outcome::Unknown, [].as_slice()),
            Err(_) => ("unreachable".to_owned(), Outcome::NotExecuted, [].as_slice()),
        };
        let known = self.statuses.len() < MOST_ROWS || self.statuses.contains_key(&status);
        *self.statuses.entry(if known { shown(&status) } else { "others".to_owned() }).or_default() += 1;
        *self.outcomes.entry(outcome.as_str()).or_default() += 1;
        self.exits.push(heard.exit());
        if heard.result.is_ok() {
            let whole = u64::try_from(heard.took.as_micros()).unwrap_or(u64::MAX);
            self.time("whole", whole);
            for (name, micros) in times {
                self.time(name, *micros);
            }
        }
    }

    fn time(&mut self, name: &str, micros: u64) {
        if let Some((_, times)) = self.times.iter_mut().find(|(found, _)| found == name) {
            times.push(micros);
        } else if self.times.len() < MOST_ROWS {
            self.times.push((name.to_owned(), vec![micros]));
        }
    }

    /// What is true of all calls, and of why there were no more; else the worst that may be true of one.
    fn exit(&self, also: Option<Exit>) -> Exit {
        let mut exits = self.exits.iter().copied().chain(also);
        let first = exits.next().unwrap_or(Exit::NotExecuted);
        if exits.all(|exit| exit == first) {
            first
        } else if self.exits.contains(&Exit::Unknown) {
            Exit::Unknown
        } else {
            Exit::NotExecuted
        }
    }

    fn sorted(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.times.iter().map(|(name, times)| {
            let mut times = times.clone();
            times.sort_unstable();
            (name.as_str(), times)
        })
    }

    fn table(&self, took: Duration) -> String {
        let count = |outcome: Outcome| self.outcomes.get(outcome.as_str()).copied().unwrap_or_default();
        let mut lines = vec![format!(
            "{} calls in {} s: {} executed, {} not executed, {} unknown; {} skipped",
            self.exits.len(),
            seconds(took),
            count(Outcome::Executed),
            count(Outcome::NotExecuted),
            count(Outcome::Unknown),
            self.skipped,
        )];
        lines.extend(self.statuses.iter().map(|(status, count)| format!("  {status:<16}{count:>8}")));
        let row = |name: &str, calls: &str, [a, b, c, d, e]: [String; COLUMNS.len()]| {
            format!("{name:<17}{calls:>9}{a:>9}{b:>9}{c:>9}{d:>9}{e:>9}")
        };
        lines.push(row("ms", "calls", COLUMNS.map(|(name, _)| name.to_owned())));
        lines.extend(self.sorted().map(|(name, times)| {
            row(name, &times.len().to_string(), COLUMNS.map(|(_, percent)| ms(at(&times, percent))))
        }));
        lines.join("\n")
    }

    /// Times in microseconds.
    fn json(&self, took: Duration) -> Value {
        let row = |times: &[u64]| -> Value {
            let columns =
                COLUMNS.iter().map(|(name, percent)| ((*name).to_owned(), json!(at(times, *percent))));
            columns.chain([("calls".to_owned(), json!(times.len()))]).collect()
        };
        let micros: Value = self.sorted().map(|(name, times)| (name.to_owned(), row(&times))).collect();
        json!({
            "calls": self.exits.len(),
            "skipped": self.skipped,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "outcomes": self.outcomes,
            "statuses": self.statuses,
            "micros": micros,
        })
    }
}

/// The least of these sorted times that so many percent are not above.
fn at(sorted: &[u64], percent: usize) -> u64 {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

fn seconds(took: Duration) -> String {
    format!("{}.{}", took.as_secs(), took.subsec_millis() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let hundred: Vec<u64> = (1..=100).collect();
        for (times, expected) in [
            (&[][..], [0, 0, 0, 0, 0]),
            (&[7], [7, 7, 7, 7, 7]),
            (&[1, 2], [1, 1, 2, 2, 2]),
            (&hundred, [1, 50, 90, 99, 100]),
        ] {
            assert_eq!(COLUMNS.map(|(_, percent)| at(times, percent)), expected, "{times:?}");
        }
    }

    #[test]
    fn one_exit_code_for_many_calls() {
        use Exit::{Denied, NotExecuted, Ok, Unknown, Unreachable};
        for (exits, also, expected) in [
            (&[][..], None, NotExecuted),
            (&[Ok, Ok], None, Ok),
            (&[Denied, Denied], None, Denied),
            (&[Ok, NotExecuted], None, NotExecuted),
            (&[NotExecuted, Ok, Unknown], None, Unknown),
            (&[Ok, Unreachable], None, NotExecuted),
            (&[Ok, Ok], Some(Denied), NotExecuted),
            (&[Ok, Unknown], Some(Denied), Unknown),
            (&[], Some(Denied), Denied),
        ] {
            let tally = Tally { exits: exits.to_vec(), ..Tally::default() };
            assert_eq!(tally.exit(also), expected, "{exits:?} {also:?}");
        }
    }
}
