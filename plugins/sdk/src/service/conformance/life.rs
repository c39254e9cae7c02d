//! The plugin's process: frozen, killed, terminated, left without a bus. Only where the author has said so.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::bench::{Bench, LOOK_EVERY, Question, arrival};
use super::bus::Client;
use super::harmless::{said, same_json};
use super::process::{stands_still, until};
use super::questions::{Meaning, meaning, mend_trouble};
use super::report::{Problem, Seen};
use super::sample::Sample;
use crate::BootInstant;
use crate::service::INTERFACE;

/// What a call has left when it is sent to a frozen process, and how long that stays frozen.
const LEFT: Duration = Duration::from_millis(100);
const FROZEN_FOR: Duration = Duration::from_millis(300);

/// How often.
const TIMES: usize = 3;

/// How long freezing may take.
const STANDS_WITHIN: Duration = Duration::from_secs(2);

/// How long a process may take to end when it is asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// How long a plugin may take after its bus is there again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

fn known(bench: &Bench<'_>) -> Option<(Sample, Value)> {
    bench.sample().map(|(sample, params)| (sample.clone(), params.clone()))
}

/// Sends a signal to the plugin's process.
async fn signal(bench: &mut Bench<'_>, signal: Signal) -> Result<(), String> {
    let process = bench.process_id().await;
    match &mut bench.subject {
        Some(subject) => subject.signal(process, signal),
        None => Err("it has no process of the test's own".into()),
    }
}

/// Stops the process, until it stands still.
async fn freeze(bench: &mut Bench<'_>) -> Result<(), String> {
    let process = bench.process_id().await.ok_or("the bus does not say which process it is")?;
    signal(bench, Signal::STOP).await?;
    if until(STANDS_WITHIN, || stands_still(process)).await {
        return Ok(());
    }
    thaw(bench);
    Err("its process could not be frozen".into())
}

/// Goes on, whatever it was.
fn thaw(bench: &mut Bench<'_>) {
    if let Some(subject) = &mut bench.subject {
        subject.thaw();
    }
}

pub(super) async fn frozen(bench: &mut Bench<'_>) -> Seen {
    let Some((sample, params)) = known(bench) else {
        return Seen::skip("no parameters could be made: give some with --call");
    };
    let mut seen = Seen::default();
    for _ in 0..TIMES {
        if let Err(reason) = freeze(bench).await {
            return Seen::skip(reason);
        }
        let question = Question::ahead(&sample.method.name, &params.to_string(), LEFT);
        let limit = FROZEN_FOR.saturating_add(bench.options.answer_within);
        let mut subject = bench.subject.take();
        let going_on = async {
            tokio::time::sleep(FROZEN_FOR).await;
            if let Some(subject) = &mut subject {
                subject.thaw();
            }
        };
        let (said, ()) = tokio::join!(bench.invoke_by(&bench.client, &question, limit), going_on);
        bench.subject = subject;
        bench.learn(&question, &said);
        let sent = format!("frozen, {question}; {FROZEN_FOR:?} later it went on");
        match meaning(&said) {
            Meaning::Nothing(_) => {}
            Meaning::Acted => {
                seen.add(Problem::breach(
                    sent,
                    said.to_string(),
                    "not_after_us is compared directly before acting, however long the process stood still",
                    "compare CLOCK_BOOTTIME with not_after_us as the last thing before acting; do not turn it into a time that is left, and start no timeout of your own from it",
                ));
                return seen;
            }
            Meaning::None => {
                let contract = "each Invoke is answered";
                seen.add(Problem::breach(sent, said.to_string(), contract, mend_trouble(&said)));
            }
        }
    }
    if seen.is_ok() { seen.says(format!("{TIMES} of {TIMES} not acted on")) } else { seen }
}

pub(super) async fn killed(bench: &mut Bench<'_>) -> Seen {
    let Some((sample, params)) = known(bench) else {
        return Seen::skip("no parameters could be made: give some with --call");
    };
    if let Err(reason) = freeze(bench).await {
        return Seen::skip(reason);
    }
    let question = Bench::late(&sample, &params);
    let limit = bench.options.answer_within;
    let process = bench.process_id().await;
    let mut subject = bench.subject.take();
    let killing = async {
        tokio::time::sleep(LOOK_EVERY).await;
        subject.as_mut().map_or(Ok(()), |subject| subject.signal(process, Signal::KILL))
    };
    let (said_of_it, killed) = tokio::join!(bench.invoke_by(&bench.client, &question, limit), killing);
    bench.subject = subject;
    if let Err(reason) = killed {
        return Seen::skip(reason);
    }
    let mut seen = Seen::default();
    if said_of_it.answer.is_ok() || said_of_it.is_silence() {
        let contract = "the bus answers for a process that ends in mid-call";
        let mend = "the process that the bus names must be the one that serves the call";
        seen.add(Problem::note("an Invoke, then SIGKILL", said_of_it.to_string(), contract, mend));
    }
    let begun = BootInstant::now();
    if let Err(e) = bench.start_again().await {
        let contract = "a plugin can be started again after any end";
        let mend = "leave nothing behind that a new start trips over: lock files, sockets, the device";
        return Seen::failed(Problem::breach("SIGKILL", format!("it went{e}"), contract, mend));
    }
    let back = BootInstant::now().saturating_since(begun);
    same_as_before(bench, &mut seen).await;
    let late = bench.invoke(&Bench::late(&sample, &params)).await;
    if !matches!(meaning(&late), Meaning::Nothing(_)) {
        let sent = "an Invoke that comes too late, after SIGKILL and a new start";
        seen.add(Problem::breach(sent, late.to_string(), "expired, not_executed", mend_trouble(&late)));
    }
    if seen.is_ok() { seen.says(format!("back after {back:.1?}, and as before")) } else { seen }
}

/// Whether it describes the same.
async fn same_as_before(bench: &Bench<'_>, seen: &mut Seen) {
    let Some((before, _)) = &bench.described else { return };
    let came = match said::<String>(&bench.ask("Describe").await) {
        Ok(now) if same_json(before, &now) => return,
        Ok(_) => "another description than before".into(),
        Err(came) => came,
    };
    let contract = "the same plugin describes the same methods";
    seen.add(Problem::breach(
        "Describe(), after a new start",
        came,
        contract,
        "take the name only when all else is ready",
    ));
}

pub(super) async fn terminated(bench: &mut Bench<'_>) -> Seen {
    let before = bench.owner.clone();
    let begun = BootInstant::now();
    if let Err(reason) = signal(bench, Signal::TERM).await {
        return Seen::skip(reason);
    }
    let mut left = false;
    while !left && BootInstant::now().saturating_since(begun) < ENDS_WITHIN {
        left = bench.current_owner().await.is_none_or(|owner| owner != before);
        if !left {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let took = BootInstant::now().saturating_since(begun);
    let contract = "supervisors ask with SIGTERM, and kill after some seconds";
    let mut seen = Seen::default();
    let mut end = String::new();
    if !left {
        let came = format!("still on the bus after {ENDS_WITHIN:?}");
        seen.add(Problem::breach(
            "SIGTERM",
            came,
            contract,
            "end at SIGTERM: let what runs end, and leave the bus",
        ));
    } else if let Some(subject) = bench.subject.as_mut().filter(|subject| subject.is_own()) {
        until(ENDS_WITHIN.saturating_sub(took), || subject.exit_status().is_some()).await;
        match subject.exit_status() {
            Some(status) if status.success() || status.signal() == Some(Signal::TERM.as_raw()) => {
                end = format!(", {status}");
            }
            Some(status) => seen.add(Problem::note(
                "SIGTERM",
                format!("it ended with {status}"),
                "",
                "a supervisor takes this for a failure: end with 0",
            )),
            None => {
                let came = "it left the bus, and its process goes on";
                seen.add(Problem::breach("SIGTERM", came, contract, "end the process at SIGTERM"));
            }
        }
    }
    if let Err(e) = bench.start_again().await {
        let came = format!("it went{e}");
        seen.add(Problem::breach("SIGTERM, and a new start", came, contract, "leave nothing behind"));
    }
    if seen.is_ok() { seen.says(format!("it left after {took:.1?}{end}")) } else { seen }
}

pub(super) async fn bus_gone(bench: &mut Bench<'_>) -> Seen {
    let Some(private) = &mut bench.private else { return Seen::skip("needs a bus of the test's own") };
    if let Err(e) = private.restart().await {
        return Seen::skip(format!("the bus cannot be started again: {e}"));
    }
    match Client::connect(&bench.bus).await {
        Ok(client) => bench.client = client,
        Err(e) => return Seen::skip(format!("the bus cannot be reached again: {e}")),
    }
    let begun = BootInstant::now();
    loop {
        if let Some(owner) = arrival(&bench.client, &bench.options.name, "", Duration::ZERO).await {
            bench.owner = owner;
            let back = BootInstant::now().saturating_since(begun);
            let asked = bench.ask_at(INTERFACE, "Health", &(), bench.options.answer_within).await;
            return match said::<(String, String)>(&asked) {
                Ok(_) => Seen::ok(format!("it came back by itself after {back:.1?}")),
                Err(came) => Seen::failed(Problem::breach(
                    "Health(), after the bus was started again",
                    came,
                    "a plugin that comes back serves its object",
                    "export the object before taking the name, also the second time",
                )),
            };
        }
        if let Some(status) = bench.subject.as_mut().and_then(super::process::Subject::exit_status) {
            return Seen::ok(format!(
                "it ended ({status}): its supervisor must start it again, whatever the status"
            ));
        }
        if BootInstant::now().saturating_since(begun) >= BACK_WITHIN {
            return Seen::failed(Problem::breach(
                "the bus was killed and started again",
                format!("after {BACK_WITHIN:?} the process still runs, and is not on the bus"),
                "a plugin whose bus goes away comes back, or ends so that its supervisor starts it again",
                "end the process when the connection to the bus is lost",
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
