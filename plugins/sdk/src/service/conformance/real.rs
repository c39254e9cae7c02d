//! Calls that the plugin's author allows: they may really run.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::bench::Bench;
use super::bus::clip;
use super::exchange::{Question, Said};
use super::harmless::said;
use super::questions::{Meaning, meaning, mend_trouble};
use super::report::{Problem, Seen};
use crate::method::Policy;
use crate::service::INTERFACE;
use crate::{Completion, Outcome};

/// How often each is run in `call`.
const TIMES: usize = 3;

/// How many at once.
const AT_ONCE: u32 = 4;

/// What is quicker than this shows little of what happens meanwhile.
pub(super) const TELLING: Duration = Duration::from_millis(10);

/// Budgets that may or may not suffice.
const SHORT: [u64; 5] = [1, 2, 5, 10, 20];

/// Longer than this no answer is waited for, whatever is described.
const LONGEST: Duration = Duration::from_secs(30);

/// One of the calls that may be run.
pub(super) struct Real {
    pub(super) method: String,
    pub(super) request: String,
    pub(super) policy: Policy,
}

impl Real {
    /// The first of them.
    pub(super) fn first(bench: &Bench<'_>) -> Option<Self> {
        Self::all(bench).into_iter().next()
    }

    pub(super) fn all(bench: &Bench<'_>) -> Vec<Self> {
        let call = |(name, params): &(String, Value)| {
            let described = bench.samples.iter().find(|sample| sample.method.name == *name);
            // With defaults filled in, as the gateway does.
            let filled =
                described.and_then(|sample| sample.method.params.as_ref()?.check(params.clone()).ok());
            Self {
                method: name.clone(),
                request: filled.as_ref().unwrap_or(params).to_string(),
                policy: described.map(|sample| sample.method.policy.clone()).unwrap_or_default(),
            }
        };
        bench.options.calls.iter().map(call).collect()
    }

    pub(super) fn question(&self, budget: Duration) -> Question {
        Question::ahead(&self.method, &self.request, budget)
    }

    /// How long the plugin may hold its resource before a gateway takes it for stuck.
    pub(super) fn limit(&self, budget: Duration) -> Duration {
        budget.saturating_add(self.policy.stuck_after).min(LONGEST)
    }
}

const ANSWERED: &str = "Invoke is answered when the resource is free for the next call; what takes longer than the deadline and stuck_after is taken for stuck";

pub(super) async fn call(bench: &mut Bench<'_>) -> Seen {
    let mut seen = Seen::default();
    let all = Real::all(bench);
    let mut statuses: Vec<Vec<String>> = vec![Vec::new(); all.len()];
    let mut longest = vec![Duration::ZERO; all.len()];
    // In turn: calls that undo each other then have something to do each time.
    'times: for _ in 0..TIMES {
        for ((real, statuses), longest) in all.iter().zip(&mut statuses).zip(&mut longest) {
            let budget = real.policy.timeout;
            let question = real.question(budget);
            let said = bench.invoke_for(&question, real.limit(budget)).await;
            *longest = said.took.max(*longest);
            judge(&question, &said, budget, &mut seen);
            let Ok(answer) = &said.answer else { break 'times };
            statuses.push(clip(&answer.status, 40));
        }
    }
    let mut shown = Vec::new();
    for ((real, mut statuses), longest) in all.iter().zip(statuses).zip(&longest) {
        if statuses.windows(2).any(|pair| pair.first() != pair.last()) {
            let came = format!("answered differently: {}", statuses.join(", "));
            seen.add(Problem::note(
                format!("{} {TIMES} times", real.method),
                came,
                "",
                "see that this is meant",
            ));
        }
        if shown.is_empty() && !statuses.is_empty() && statuses.iter().all(|status| status == "ok") {
            bench.took_alone = Some(*longest);
        }
        statuses.dedup();
        shown.push(format!("{} {} ({longest:.1?} at most)", clip(&real.method, 64), statuses.join("/")));
    }
    seen.says(shown.join(", "))
}

/// Runs the last of the calls, where there are several, so that the first has something to do: the gate is closed before it is
/// opened.
pub(super) async fn undo(bench: &mut Bench<'_>) {
    let all = Real::all(bench);
    let Some(real) = all.last().filter(|_| all.len() > 1) else { return };
    let question = real.question(real.policy.timeout);
    let said = bench.invoke_for(&question, real.limit(real.policy.timeout)).await;
    tracing::debug!(%question, %said, "so that the next has something to do");
}

/// How long the call ran; and that it was too short to tell much, where it was.
fn ran_for(real: &Real, took: Duration) -> String {
    let ran = format!("{} ran for {took:.1?}", clip(&real.method, 64));
    if took >= TELLING {
        return ran;
    }
    format!("{ran}, too short to show much: give two --call that undo each other")
}

fn judge(question: &Question, said: &Said, budget: Duration, seen: &mut Seen) {
    let (sent, came) = (question.to_string(), said.to_string());
    let breach = |contract: &str, mend: &str| Problem::breach(sent.clone(), came.clone(), contract, mend);
    let note = |contract: &str, mend: &str| Problem::note(sent.clone(), came.clone(), contract, mend);
    let Ok(answer) = &said.answer else {
        seen.add(breach(ANSWERED, mend_trouble(said)));
        return;
    };
    match answer.completion() {
        Ok(_) if !answer.knows_status() => seen.add(breach("status is one of the words of the specification (section 13.1)", "see answers")),
        Err(_) => seen.add(breach("status and outcome belong together, and the response is JSON", "see answers")),
        Ok(Completion::Ok(_) | Completion::Sent(_)) if said.took > budget => seen.add(note(
            "who called has heard timeout, unknown by then",
            "describe a longer timeout, or be quicker",
        )),
        Ok(Completion::Ok(_) | Completion::Sent(_)) => {}
        Ok(Completion::Expired(_)) if said.took < budget => seen.add(breach(
            "the deadline lay ahead",
            "compare CLOCK_BOOTTIME in microseconds with not_after_us, not the wall clock and not another unit",
        )),
        Ok(Completion::Internal(_)) => seen.add(breach("internal is a bug in the plugin", "mend it")),
        Ok(
            Completion::Failed { .. }
            | Completion::Refused(_)
            | Completion::Timeout(_)
            | Completion::Expired(_)
            | Completion::InvalidRequest(_)
            | Completion::Unavailable(_),
        ) => seen.add(note("", "a call that may be run and works would show more")),
    }
}

pub(super) async fn late(bench: &mut Bench<'_>) -> Seen {
    let mut seen = Seen::default();
    let (mut ran, mut too_late) = (0, 0);
    let all = Real::all(bench);
    for budget in SHORT.map(Duration::from_millis) {
        for real in &all {
            let question = real.question(budget);
            let limit = real.limit(real.policy.timeout);
            let said = bench.invoke_for(&question, limit).await;
            let Ok(answer) = &said.answer else {
                let sent = question.to_string();
                seen.add(Problem::breach(sent, said.to_string(), ANSWERED, mend_trouble(&said)));
                return seen;
            };
            let known = answer.completion().unwrap_or_else(|(_, known)| known);
            if known.outcome() == Outcome::NotExecuted {
                too_late += 1;
            } else {
                ran += 1;
            }
        }
    }
    // From here nobody sees when the device moved; `frozen` and `not-after` show what can be shown.
    seen.says(format!("{ran} ran or may have, {too_late} were too late, all answered"))
}

pub(super) async fn concurrent_calls(bench: &mut Bench<'_>) -> Seen {
    let mut seen = Seen::default();
    let mut answered = 0;
    for real in Real::all(bench) {
        let budget = real.policy.timeout.saturating_mul(AT_ONCE).min(real.policy.max_timeout);
        let shared = &*bench;
        let asked = (0..AT_ONCE).map(|_| async {
            let question = real.question(budget);
            let said = shared.invoke_by(&shared.client, &question, real.limit(budget)).await;
            (question, said)
        });
        for (question, said) in join_all(asked).await {
            bench.learn(&question, &said);
            if said.answer.is_ok() {
                answered += 1;
            } else {
                let mend =
                    "answer every call: run it, let it wait before its deadline check, or answer unavailable";
                seen.add(Problem::breach(question.to_string(), said.to_string(), ANSWERED, mend));
            }
        }
    }
    seen.says(format!("{answered} answered"))
}

pub(super) async fn meanwhile(bench: &mut Bench<'_>) -> Seen {
    const CONTRACT: &str =
        "a call may take long; Health, Cancel and calls that come too late need no device, and wait for none";
    let Some(real) = Real::first(bench) else { return Seen::skip("no call") };
    undo(bench).await;
    let budget = real.policy.timeout;
    let question = real.question(budget);
    let limit = bench.options.answer_within;
    let late = bench.sample().map(|(sample, params)| Bench::late(sample, params));
    let shared = &*bench;
    let running = shared.invoke_by(&shared.client, &question, real.limit(budget));
    let others = async {
        // The call goes first.
        tokio::task::yield_now().await;
        let mut came = vec![("Health()", shared.ask("Health").await.silent())];
        let id = "6d2a3d54-0000-4000-8000-000000000000";
        let cancelled = shared.ask_at(INTERFACE, "Cancel", &id, limit).await;
        came.push(("Cancel of an id that is not known", cancelled.silent()));
        if let Some(late) = &late {
            let said = shared.invoke_by(&shared.client, late, limit).await;
            let wrong = (!matches!(meaning(&said), Meaning::Nothing(_))).then(|| said.to_string());
            came.push(("an Invoke that comes too late", wrong));
        }
        came
    };
    let (ran, others) = tokio::join!(running, others);
    bench.learn(&question, &ran);
    bench.longest_meanwhile = ran.took;
    let mut seen = Seen::default();
    for (what, came) in others {
        if let Some(came) = came {
            let sent = format!("{what}, while {} ran", real.method);
            seen.add(Problem::breach(
                sent,
                came,
                CONTRACT,
                "do not hold up the bus while the device works: a thread or a task for each call",
            ));
        }
    }
    seen.says(ran_for(&real, ran.took))
}

pub(super) async fn cancel(bench: &mut Bench<'_>) -> Seen {
    const CONTRACT: &str = "Cancel is answered at once; what can be stopped safely is stopped, and Invoke is answered all the same";
    let Some(real) = Real::first(bench) else { return Seen::skip("no call") };
    undo(bench).await;
    let budget = real.policy.max_timeout.min(LONGEST / 2);
    let question = real.question(budget);
    let limit = bench.options.answer_within;
    let shared = &*bench;
    let running = shared.invoke_by(&shared.client, &question, real.limit(budget));
    let cancelling = async {
        tokio::task::yield_now().await;
        said::<()>(&shared.ask_at(INTERFACE, "Cancel", &question.id, limit).await)
    };
    let (ran, cancelled) = tokio::join!(running, cancelling);
    bench.learn(&question, &ran);
    let mut seen = Seen::default();
    if let Err(came) = cancelled {
        let mend = "implement Cancel, and answer it while the call still runs";
        seen.add(Problem::breach(format!("Cancel of a running {}", real.method), came, CONTRACT, mend));
    }
    if ran.answer.is_err() {
        seen.add(Problem::breach(
            format!("{question}, then Cancel"),
            ran.to_string(),
            CONTRACT,
            "answer a call that was cancelled, too",
        ));
    }
    let after = bench.invoke_for(&real.question(Duration::ZERO), limit).await;
    if !matches!(meaning(&after), Meaning::Nothing(_)) {
        seen.add(Problem::breach(
            "an Invoke that comes too late, after the Cancel",
            after.to_string(),
            CONTRACT,
            mend_trouble(&after),
        ));
    }
    seen.says(format!("the cancelled call was answered: {ran}"))
}
