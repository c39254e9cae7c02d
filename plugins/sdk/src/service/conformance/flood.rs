//! Many calls at once, all of them too late: each must be answered, in whatever order.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use super::bench::{Bench, Question, Said};
use super::bus::Client;
use super::questions::{Meaning, meaning};
use super::report::{Problem, Seen};
use crate::BootInstant;

/// How many calls.
const CALLS: usize = 500;

/// How many of one connection wait for their answers: fewer than the system's bus allows.
const AT_ONCE: usize = 100;

const CONNECTIONS: usize = 4;
const CALLS_EACH: usize = 16;

/// How many times longer than one answer all of them may take.
const TIMES_LONGER: u32 = 5;

const CONTRACT: &str =
    "each Invoke is answered; a call that comes too late needs no device, and waits for none";

fn late(bench: &Bench<'_>) -> Option<Question> {
    let (sample, params) = bench.sample()?;
    Some(Bench::late(sample, params))
}

/// The same with an id of its own.
fn again(question: &Question) -> Question {
    Question { id: uuid::Uuid::new_v4().to_string(), ..question.clone() }
}

pub(super) async fn flood(bench: &mut Bench<'_>) -> Seen {
    let Some(question) = late(bench) else {
        return Seen::skip("no parameters could be made: give some with --call");
    };
    let limit = bench.options.answer_within * TIMES_LONGER;
    let begun = BootInstant::now();
    let shared = &*bench;
    let questions = (0..CALLS).map(|_| again(&question));
    let asked = questions.map(|question| async move {
        // What is left of the time for all: it is not counted afresh for each.
        let left = limit.saturating_sub(BootInstant::now().saturating_since(begun));
        let said = shared.invoke_by(&shared.client, &question, left).await;
        (question, said)
    });
    let all: Vec<(Question, Said)> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    judge(bench, &all, begun, limit)
}

pub(super) async fn concurrent(bench: &mut Bench<'_>) -> Seen {
    let Some(question) = late(bench) else {
        return Seen::skip("no parameters could be made: give some with --call");
    };
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        match Client::connect(&bench.bus).await {
            Ok(client) => clients.push(client),
            Err(e) => return Seen::skip(format!("the bus takes no more connections: {e}")),
        }
    }
    let limit = bench.options.answer_within * TIMES_LONGER;
    let begun = BootInstant::now();
    let shared = &*bench;
    let asked = clients.iter().flat_map(|client| (0..CALLS_EACH).map(move |_| client)).map(|client| {
        let question = again(&question);
        async move {
            let said = shared.invoke_by(client, &question, limit).await;
            (question, said)
        }
    });
    let all = join_all(asked).await;
    judge(bench, &all, begun, limit)
}

fn judge(bench: &mut Bench<'_>, all: &[(Question, Said)], begun: BootInstant, limit: Duration) -> Seen {
    let took = BootInstant::now().saturating_since(begun);
    let mut seen = Seen::default();
    let mut answered = 0_usize;
    for (question, said) in all {
        bench.learn(question, said);
        let mend = match meaning(said) {
            Meaning::Nothing(_) => {
                answered += 1;
                continue;
            }
            Meaning::Acted => "look at the deadline of each call by itself, directly before acting",
            Meaning::None => {
                "answer what is too late at once, and do not let calls wait behind each other for it"
            }
        };
        seen.add(Problem::breach(question.to_string(), said.to_string(), CONTRACT, mend));
    }
    seen.says(format!("{answered} of {} answered as too late within {took:.1?} (of {limit:?})", all.len()))
}
