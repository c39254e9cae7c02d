//! Calls that carry an `Idempotency-Key` and are asked for again and again, through another process of the cloud side, while
//! the daemon dies and comes back with its journal.

use std::collections::HashMap;

use anyhow::Context as _;
use nowd_protocol::Outcome;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Fault;
use super::restart::MIXED;
use crate::act::{self, Act};
use crate::http::Http;
use crate::judge::Call;
use crate::load::{BUDGETS, Caller, PACE, Way};
use crate::stage::Stage;

pub(super) const FAULTS: &[Fault] = &[Fault {
    ways: MIXED,
    more: "[journal]\nenabled = true\n",
    ..Fault::new(
        "keys-repeated",
        "the daemon has a journal and is killed, and calls are asked for again under their keys through another cloud side",
        |stage| Box::pin(keys(stage)),
    )
}];

/// So many keys between two new cloud sides.
const ROUND: u32 = 25;

/// What stands in every request under one key.
type Key = (u64, Way, u64);

/// Requests under way, each of which becomes a [`Call`] of its own.
type Requests = JoinSet<anyhow::Result<Vec<Call>>>;

/// Beside the load, which has no keys, as many calls that have one.
async fn keys(stage: &mut Stage) -> anyhow::Result<()> {
    let mut turns = MIXED.iter().copied().cycle().zip(BUDGETS.iter().copied().cycle());
    let mut requests: HashMap<u64, Vec<Call>> = HashMap::new();
    for _ in 0..stage.load.count.div_ceil(ROUND) {
        let keys: Vec<Key> = turns
            .by_ref()
            .take(ROUND.try_into()?)
            .map(|(way, budget)| (stage.caller.number(), way, budget))
            .collect();
        for request in round(stage, &keys).await? {
            requests.entry(request.number).or_default().push(request);
        }
    }
    let acts = act::read(&stage.bed.book())?;
    let mut done: HashMap<u64, &Act> = HashMap::new();
    for act in &acts {
        done.entry(act.number).or_insert(act);
    }
    // How many were asked for again when what they ask for had been done, and the daemon that did it was gone.
    let after = requests.values().flatten().filter(|request| {
        let Some(act) = done.get(&request.number) else { return false };
        stage.strikes.iter().any(|(from, to)| act.at < *from && request.begun > *to)
    });
    let after = after.count();
    let (keys, all) = (requests.len(), requests.values().flatten().count());
    let silent = requests.values().flatten().filter(|request| request.answers.is_empty()).count();
    let one = |(number, requests): (&u64, &Vec<Call>)| together(requests, done.get(number).copied());
    let calls: Vec<_> = requests.iter().filter_map(one).collect();
    stage.calls.extend(calls);
    stage.note(format!(
        "{all} requests under {keys} keys, {after} of them for what had been actuated before a restart"
    ));
    if after == 0 {
        stage.fail("nothing that had been actuated was asked for after a restart, so that nothing is proved");
    }
    if silent > 0 {
        stage.fail(format!("a cloud side gave no answer to {silent} requests with a key"));
    }
    Ok(())
}

/// All requests under these keys: first through the one cloud side, then through another one that knows nothing of them,
/// while calls run, after a restart, and after one more.
async fn round(stage: &mut Stage, keys: &[Key]) -> anyhow::Result<Vec<Call>> {
    let (second, port) = stage.bed.second_cloud().await?;
    let other = stage.caller.through(Http::new(port));
    let mut requests = Requests::new();
    ask(&mut requests, &stage.caller, keys);
    stage.wait(250).await;
    ask(&mut requests, &other, keys.get(..keys.len() / 2).unwrap_or_default());
    stage.wait(150).await;
    for _ in 0..2 {
        stage.strike();
        stage.bed.restart_daemon().await?;
        stage.mended();
        ask(&mut requests, &other, keys);
        stage.wait(300).await;
    }
    let mut all = Vec::new();
    while let Some(ended) = requests.join_next().await {
        all.extend(ended.context("a caller panicked")??);
    }
    // Now each has been answered, and is asked for a last time.
    ask(&mut requests, &other, keys);
    while let Some(ended) = requests.join_next().await {
        all.extend(ended.context("a caller panicked")??);
    }
    drop(second);
    Ok(all)
}

/// One request under each of these keys, one after another at a steady pace.
fn ask(requests: &mut Requests, caller: &Caller, keys: &[Key]) {
    let (caller, keys) = (caller.clone(), keys.to_vec());
    requests.spawn(async move {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running = JoinSet::new();
        for (number, way, budget) in keys {
            pace.tick().await;
            let caller = caller.clone();
            running.spawn(async move { caller.keyed(number, way, budget).await });
        }
        let mut calls = Vec::new();
        while let Some(ended) = running.join_next().await {
            calls.push(ended.context("a caller panicked")??);
        }
        Ok(calls)
    });
}

/// The requests under one key as the one call that they are.
///
/// What was done was done by a request that began before. So `not_executed` is untrue when all of those were answered so;
/// what a later request was refused says nothing. And the deadline is that of one of those that were not refused: the
/// latest, as it is not known which.
fn together(requests: &[Call], act: Option<&Act>) -> Option<Call> {
    let began = |request: &Call| act.is_none_or(|act| request.begun < act.at);
    let is = |request: &Call, outcome| request.answers.iter().any(|answer| answer.outcome == outcome);
    let refused = |request: &Call| is(request, Outcome::NotExecuted);
    let earlier = || requests.iter().filter(|request| began(request));
    let refusals_needed = earlier().count();
    let open = earlier().filter(|request| !refused(request)).max_by_key(|request| request.deadline);
    let one = open.or_else(|| requests.iter().max_by_key(|request| request.deadline))?;
    let (number, deadline) = (one.number, one.deadline);
    let begun = requests.iter().map(|request| request.begun).min()?;
    let ended = requests.iter().map(|request| request.ended).max()?;
    let counts = |request: &Call| began(request) || !refused(request);
    let answers = requests.iter().filter(|request| counts(request)).flat_map(|request| &request.answers);
    let answers = answers.cloned().collect();
    Some(Call { number, deadline, begun, ended, answers, refusals_needed, answer_needed: false })
}

#[cfg(test)]
mod tests;
