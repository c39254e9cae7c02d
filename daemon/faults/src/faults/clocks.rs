//! The daemon's wall clock is wrong, or is set during calls. The caller's clock is right.
//!
//! nowd-cloud's own calls carry their deadline in the daemon's steady clock, and must not care. Beside them go requests
//! that carry only a timestamp and a budget: they are judged by the wall clock where it is trusted. Promised is what
//! section 3.1 of the specification says: nothing where the clock is not trusted, nothing from the future, and nothing
//! late while the clock is within the error that it admits to, or wrong by more than any message is under way.

use std::time::Duration;

use nowd_testkit::Way;

use super::Fault;
use crate::judge::Judged;
use crate::raw::Own;
use crate::stage::Stage;

const HOUR: i64 = 3_600_000;
/// The error that the clock admits to, in milliseconds.
const ERROR: i64 = 100;

pub(super) const FAULTS: &[Fault] = &[
    trusted("clock-right", "a trusted clock is right", |stage| Box::pin(wrong(stage, &[0], 10))),
    trusted(
        "clock-read-slowly",
        "the daemon stands still for 60 ms after it has read a trusted clock",
        |stage| Box::pin(read_slowly(stage)),
    ),
    trusted("clock-within-error", "a trusted clock is wrong by less than it admits to", |stage| {
        Box::pin(wrong(stage, &[-80, 80], ERROR))
    }),
    trusted("clock-ahead", "a trusted clock is hours ahead", |stage| Box::pin(wrong(stage, &[3 * HOUR], 10))),
    trusted("clock-behind", "a trusted clock is hours behind", |stage| {
        Box::pin(wrong(stage, &[-3 * HOUR], 10))
    }),
    trusted("clock-stepped", "a trusted clock is set hours ahead and back during calls", |stage| {
        Box::pin(wrong(stage, &[3 * HOUR, 0, -3 * HOUR, 0], 10))
    }),
    Fault::new("clock-untrusted-stepped", "a clock that is not trusted is set during calls", |stage| {
        Box::pin(wrong(stage, &[-400, 3 * HOUR, 0, -3 * HOUR, 400], 10))
    }),
    Fault {
        judged: Judged::Nothing,
        ..trusted(
            "clock-lies",
            "NOT PROMISED: a trusted clock is 400 ms behind and admits to 10 ms",
            |stage| Box::pin(wrong(stage, &[-400], 10)),
        )
    },
];

const fn trusted(
    name: &'static str,
    about: &'static str,
    script: fn(&mut Stage) -> super::Script<'_>,
) -> Fault {
    Fault { clock: "trusted", ..Fault::new(name, about, script) }
}

/// The budgets of calls by timestamp, in milliseconds.
const BUDGETS: [u64; 4] = [250, 450, 650, 900];

/// Sets the clock wrong by each of these in turn, while requests are under way for longer and shorter.
async fn wrong(stage: &mut Stage, by_ms: &[i64], error_ms: i64) -> anyhow::Result<()> {
    let mut own = Vec::new();
    let error = Duration::from_millis(error_ms.unsigned_abs());
    stage.wait(100).await;
    while stage.goes_on() {
        stage.strike();
        for wrong_ms in by_ms {
            ask(stage, &mut own);
            stage.bed.clock.set(*wrong_ms, error)?;
            ask(stage, &mut own);
            // Some of these are too old when they come in, and some are not.
            stage.bed.daemon_link.hold(Way::Down);
            ask(stage, &mut own);
            stage.wait(300).await;
            ask(stage, &mut own);
            stage.wait(100).await;
            stage.bed.daemon_link.pass();
            ask(stage, &mut own);
            stage.wait(50).await;
        }
        stage.bed.clock.set(0, error)?;
        stage.mended();
    }
    stage.wait(BUDGETS.iter().copied().max().unwrap_or_default()).await;
    let calls: Vec<_> = own.iter().map(|own| stage.raw.call(own, 1)).collect();
    let answered = |word: &str| calls.iter().filter(|c| c.answers.iter().any(|a| a.status == word)).count();
    let (ok, resync, expired) = (answered("ok"), answered("resync"), answered("expired"));
    stage.note(format!("{} calls by timestamp: {ok} ok, {resync} resync, {expired} expired", calls.len()));
    stage.calls.extend(calls);
    Ok(())
}

async fn read_slowly(stage: &mut Stage) -> anyhow::Result<()> {
    let mut own = Vec::new();
    let error = Duration::from_millis(10);
    stage.bed.clock.set_slow(0, error, 60)?;
    while stage.goes_on() {
        stage.strike();
        ask(stage, &mut own);
        stage.wait(250).await;
        stage.mended();
    }
    stage.bed.clock.set(0, error)?;
    stage.wait(BUDGETS.iter().copied().max().unwrap_or_default()).await;
    let calls: Vec<_> = own.iter().map(|own| stage.raw.call(own, 1)).collect();
    stage.calls.extend(calls);
    Ok(())
}

/// One call by timestamp for each budget.
fn ask(stage: &Stage, own: &mut Vec<Own>) {
    for budget in BUDGETS {
        let call = Own::new(stage.caller.number(), ("checked", "now"), budget, None);
        if stage.raw.say(&call.topic, call.bytes()) {
            own.push(call);
        }
    }
}
