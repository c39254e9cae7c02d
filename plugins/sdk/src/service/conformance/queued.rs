//! A call that has to wait in the plugin, for longer than it may: it must not run when it is its turn. The usual mistake is to look
//! at the deadline when the call arrives, and not again before acting.
//!
//! Nobody sees from here when a device moves. But what is confirmed so long after its deadline that it would have to take twice the
//! usual time has begun after it.

use std::time::Duration;

use futures_util::future::{join, join_all};

use super::bench::Bench;
use super::exchange::{Question, Said};
use super::real::{Real, TELLING, undo};
use super::report::{Problem, Seen};
use crate::clock::boottime_micros;

/// How many wait behind the first.
const BEHIND: usize = 3;

/// It must be seen so often, one time after the other: a machine may be busy once.
const TIMES: usize = 2;

pub(super) async fn queued(bench: &mut Bench<'_>) -> Seen {
    let Some(real) = Real::first(bench) else { return Seen::skip("no call") };
    let Some(usual) = bench.took_alone else {
        return Seen::skip("only shown with a call that is answered ok: see call");
    };
    if usual < TELLING {
        return Seen::skip(format!(
            "{} takes {usual:.1?}: too short for others to wait behind it",
            real.method
        ));
    }
    let mut seen = Seen::default();
    for _ in 0..TIMES {
        undo(bench).await;
        let Round { head, overtaken, found } = round(bench, &real, usual).await;
        match found {
            Some(problem) => seen = Seen::failed(problem),
            None if overtaken => {
                return Seen::ok(format!("no call waits: a later one ended the first after {head:.1?}"));
            }
            None if head < usual / 2 || head < TELLING => {
                return Seen::skip(format!(
                    "this time {} took only {head:.1?}, so nothing waited: give two --call that undo each other",
                    real.method
                ));
            }
            None => {
                return Seen::ok(format!(
                    "{BEHIND} calls behind one of {usual:.1?}, none of them begun late"
                ));
            }
        }
    }
    seen
}

/// What came of one.
struct Round {
    /// How long the first call took.
    head: Duration,
    /// Whether a later call has ended it: the latest command wins.
    overtaken: bool,
    found: Option<Problem>,
}

/// One call, and some behind it whose deadlines pass while it runs: the one that was begun after its deadline.
async fn round(bench: &mut Bench<'_>, real: &Real, usual: Duration) -> Round {
    let all = Real::all(bench);
    let shared = &*bench;
    let first = real.question(real.policy.timeout);
    // Written in this order, since each is polled for the first time in this order.
    let behind: Vec<Question> =
        all.iter().cycle().skip(1).take(BEHIND).map(|real| real.question(usual / 2)).collect();
    let limit = real.limit(real.policy.timeout.saturating_mul(4));
    let waiting = behind.iter().map(|question| shared.invoke_by(&shared.client, question, limit));
    let (head, tail) = join(shared.invoke_by(&shared.client, &first, limit), join_all(waiting)).await;
    bench.learn(&first, &head);
    let slow = usual.max(head.took).saturating_mul(2);
    let mut found = None;
    let mut later_ran = false;
    for (question, said) in behind.iter().zip(tail) {
        bench.learn(question, &said);
        let late_by = late_by(question, &said);
        later_ran |= is_executed(&said);
        // Told only after its deadline, when it was its turn.
        bench.waited |=
            late_by > Duration::ZERO && said.answer.as_ref().is_ok_and(|answer| answer.status == "expired");
        if late_by > slow && is_executed(&said) {
            let came =
                format!("{said}, which is {late_by:.1?} after its deadline; alone it takes {usual:.1?}");
            found = Some(Problem::breach(
                format!("{question}, behind {BEHIND} others"),
                came,
                "not_after_us is compared directly before acting, after all waiting",
                "look at the clock again when it is the call's turn: behind the lock, the queue, the warm-up; not only when it arrives",
            ));
        }
    }
    let overtaken = head.took < usual / 2 && !is_executed(&head) && later_ran;
    Round { head: head.took, overtaken, found }
}

fn is_executed(said: &Said) -> bool {
    said.answer.as_ref().is_ok_and(|answer| answer.outcome == "executed")
}

fn late_by(question: &Question, said: &Said) -> Duration {
    Duration::from_micros(boottime_micros(said.at).saturating_sub(question.not_after))
}
