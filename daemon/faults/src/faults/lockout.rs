//! Somebody on site locks the gateway while calls stream in: nothing may move until it is unlocked.

use super::Fault;
use super::restart::MIXED;
use crate::act::{self, Act};
use crate::clock;
use crate::judge::Call;
use crate::stage::Stage;

pub(super) const FAULTS: &[Fault] = &[Fault {
    ways: MIXED,
    ..Fault::new(
        "lockout",
        "the gateway is locked while calls stream in, killed and started again meanwhile, and unlocked",
        |stage| Box::pin(lockout(stage)),
    )
}];

const PAUSE: u64 = 400;
/// How often `nowd lock` is tried: calls that run, or a busy machine, may make it say that it waited in vain.
const TRIES: usize = 5;
/// How many calls stream in while it is locked, before the daemon is killed and after it is back.
const STREAM: u32 = 30;
/// How long a port is held after a call without an answer, in microseconds: `silence` of the daemon's ports. A device that
/// has stood still for longer may act on what it was sent long before. The column *late* judges that.
const PORT_SILENCE: u64 = 1_000_000;

async fn lockout(stage: &mut Stage) -> anyhow::Result<()> {
    let mut locked = Vec::new();
    let (mut streamed, mut told) = (0, 0);
    while stage.goes_on() {
        stage.wait(PAUSE).await;
        stage.strike();
        if !lock(stage).await? {
            stage.fail(format!("`nowd lock` did not succeed in {TRIES} tries"));
            stage.bed.nowd(&["unlock"]).await?;
            break;
        }
        let from = clock::now();
        let before = stage.caller.load(STREAM, MIXED);
        stage.wait(PAUSE).await;
        stage.bed.restart_daemon().await?;
        let after = stage.caller.load(STREAM, MIXED);
        for load in [before, after] {
            let calls = load.calls().await?;
            let found = calls.iter().filter(|call| is_locked(call)).count();
            if found == 0 {
                stage.fail("no call was answered `locked`");
            }
            streamed += calls.len();
            told += found;
            stage.calls.extend(calls);
        }
        locked.push((from, clock::now()));
        let ended = stage.bed.nowd(&["unlock"]).await?;
        stage.mended();
        if ended != Some(0) {
            stage.fail(format!("`nowd unlock` ended with {ended:?}"));
        }
    }
    let acts = act::read(&stage.bed.book())?;
    let since = |act: &Act| {
        let (from, _) = locked.iter().find(|(from, to)| (*from..*to).contains(&act.at))?;
        Some(act.at - from).filter(|_| !was_sent_long_before(act))
    };
    let mut moved = acts.iter().filter_map(|act| Some((act, since(act)?)));
    if let Some((Act { number, way, .. }, after)) = moved.next() {
        let more = moved.count();
        stage.fail(format!(
            "call {number} was actuated ({way}) {after} us after `nowd lock` had succeeded, and {more} more were while it held"
        ));
    }
    let times = locked.len();
    stage
        .note(format!("locked {times} times; of {streamed} calls made meanwhile, {told} were told `locked`"));
    Ok(())
}

/// Locks, and waits until nothing runs.
async fn lock(stage: &Stage) -> anyhow::Result<bool> {
    for _ in 0..TRIES {
        if stage.bed.nowd(&["lock", "--reason", "a hand is in the gate"]).await? == Some(0) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_locked(call: &Call) -> bool {
    call.answers.iter().any(|answer| answer.status == "locked")
}

fn was_sent_long_before(act: &Act) -> bool {
    act.way == "serial" && act.at >= act.not_after.saturating_add(PORT_SILENCE)
}
