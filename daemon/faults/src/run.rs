//! Runs the faults: sets a system up for each, makes calls, lets the script break things, and judges what came of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nowd_protocol::Outcome;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Suite;
use crate::bed::Bed;
use crate::faults::{ALL, Fault};
use crate::http::Http;
use crate::judge::{Call, Tally, judge};
use crate::load::{Caller, GOOD, Way};
use crate::metronome::Metronome;
use crate::raw::Raw;
use crate::report::{self, Row};
use crate::stage::{Stage, struck};
use crate::{act, clock};

/// How long the system may take to serve again after it was mended. Says nothing about speed: links wait up to half a
/// minute before they try again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(100);
/// The budget of calls that must come through in the end, in milliseconds.
const AMPLE: u64 = 3_000;
/// How much of what the daemon said about a call that went wrong is told.
const MOST_SAID: usize = 4;
/// What is still under way after all lanes have served a call has this long to surface.
const SURFACES_WITHIN: Duration = Duration::from_millis(300);

/// Runs all faults that are asked for; says whether all is well.
pub(crate) fn suite(suite: &Suite) -> anyhow::Result<bool> {
    let wanted = |fault: &&Fault| {
        suite.only.is_empty() || suite.only.iter().any(|part| fault.name.contains(part.as_str()))
    };
    let faults: Vec<&'static Fault> = ALL.iter().copied().flatten().filter(wanted).collect();
    ensure!(!faults.is_empty(), "no fault has such a name; --list shows them");
    if suite.list {
        report::list(&faults);
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(all(suite, &faults))
}

async fn all(suite: &Suite, faults: &[&'static Fault]) -> anyhow::Result<bool> {
    let begun = clock::now();
    let metronome = Metronome::start()?;
    let room = Arc::new(Semaphore::new(suite.jobs.into()));
    let mut tasks = JoinSet::new();
    for (index, fault) in faults.iter().enumerate() {
        let (fault, room, count, places) = (*fault, Arc::clone(&room), suite.calls, u32::from(suite.jobs));
        let metronome = metronome.clone();
        tasks.spawn(async move {
            // A fault that compares times has the machine for itself.
            let places = if fault.alone { places } else { 1 };
            let _place = room.acquire_many(places).await;
            // In a task of its own, so that a part that does not come ends this fault and no other.
            let mut task = JoinSet::new();
            task.spawn(async move { one(fault, count, &metronome).await });
            let row = match task.join_next().await {
                Some(Ok(Ok(row))) => row,
                Some(Ok(Err(error))) => Row::broken(fault, format!("{error:#}")),
                Some(Err(_)) | None => {
                    Row::broken(fault, "a part of it did not do as it should; see above".into())
                }
            };
            (index, row)
        });
    }
    let mut rows = Vec::new();
    while let Some(row) = tasks.join_next().await {
        let (index, row) = row.context("the suite panicked")?;
        if !suite.json {
            report::progress(&row);
        }
        rows.push((index, row));
    }
    rows.sort_by_key(|(index, _)| *index);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    if suite.json {
        report::json(&rows)?;
    } else {
        report::table(&rows, clock::now().saturating_sub(begun));
    }
    Ok(rows.iter().all(Row::is_well))
}

async fn one(fault: &'static Fault, count: u32, metronome: &Metronome) -> anyhow::Result<Row> {
    let started = clock::now();
    let bed = Bed::start(fault.clock, fault.more).await?;
    let raw = Raw::connect(bed.client("raw-1")?).await?;
    let caller = Caller::new(Http::new(bed.http_port));
    let mut before = Vec::new();
    serves(&caller, &mut before).await?;
    let load = caller.load(count, fault.ways);
    let mut stage = Stage::new(bed, caller, raw, load);
    (fault.script)(&mut stage).await?;
    let Stage { bed, caller, raw, load, mut calls, strikes, notes, mut failures, .. } = stage;
    let during = load.calls().await?;
    let struck = struck(&during, &strikes) + struck(&calls, &strikes);
    calls.extend(during);
    let executed = calls.iter().filter(|call| is_executed(call)).count();
    calls.append(&mut before);
    if let Err(error) = serves(&caller, &mut calls).await {
        failures.push(format!("{error:#}"));
    }
    tokio::time::sleep(SURFACES_WITHIN).await;
    let acts = act::read(&bed.book())?;
    let mut tally = judge(&calls, &acts, fault.judged, metronome.worst(started));
    add_evidence(&mut tally, &calls, &bed);
    drop(raw);
    if executed == 0 {
        failures.push("no call was executed, so that nothing is proved".into());
    }
    if struck == 0 && fault.must_strike {
        failures.push("no call was under way when things were broken, so that nothing is proved".into());
    }
    if tally.unanswered > 0 {
        failures.push(format!("the cloud side gave no answer to {} calls", tally.unanswered));
    }
    Ok(Row { fault, tally, struck, notes, failures })
}

/// Makes calls by each way until each has served one: the system works, and what waited before them has been dealt with.
async fn serves(caller: &Caller, calls: &mut Vec<Call>) -> anyhow::Result<()> {
    let given_up = clock::now() + clock::micros(RECOVERS_WITHIN);
    for way in GOOD {
        while !serves_by(caller, *way, calls).await? {
            ensure!(clock::now() < given_up, "{} is not served any more: it did not come back", way.0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

async fn serves_by(caller: &Caller, way: Way, calls: &mut Vec<Call>) -> anyhow::Result<bool> {
    let call = caller.call(way, AMPLE).await?;
    let served = is_executed(&call);
    calls.push(call);
    Ok(served)
}

fn is_executed(call: &Call) -> bool {
    call.answers.iter().any(|answer| answer.outcome == Outcome::Executed)
}

/// What the daemon said about the calls that went wrong.
fn add_evidence(tally: &mut Tally, calls: &[Call], bed: &Bed) {
    let ids = |number: u64| calls.iter().filter(move |call| call.number == number).flat_map(|c| &c.answers);
    let said: Vec<_> = tally
        .wrong
        .iter()
        .take(report::MOST_WRONG)
        .flat_map(|(number, _)| ids(*number).map(move |answer| (*number, answer.id.clone())))
        .flat_map(|(number, id)| bed.said_of(&id).into_iter().take(MOST_SAID).map(move |line| (number, line)))
        .collect();
    tally.wrong.extend(said);
}
