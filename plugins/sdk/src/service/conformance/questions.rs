//! Calls that must not be acted on: too late, of no method, with wrong parameters. As soon as one is acted on, no more of its
//! kind are sent.

use std::time::Duration;

use super::bench::{Bench, Honours};
use super::exchange::{Question, Said, Trouble, now};
use super::report::{Problem, Seen};
use crate::Outcome;
use crate::service::Answer;

/// A method that no plugin has.
pub(super) const NO_METHOD: &str = "nowd_conformance.no_such_method";

/// More questions of one kind are not asked.
const MOST_QUESTIONS: usize = 800;

/// So many questions without an answer are enough.
const MOST_SILENCES: usize = 2;

/// How far a deadline lies ahead that no plugin may take for passed.
const FAR_AHEAD: Duration = Duration::from_secs(60);

/// What an answer means for a call that must not be acted on.
pub(super) enum Meaning {
    /// Nothing was done.
    Nothing(Answer),
    /// It was acted on, or may have been.
    Acted,
    /// No answer.
    None,
}

pub(super) fn meaning(said: &Said) -> Meaning {
    match &said.answer {
        Ok(answer) => {
            let known = answer.completion().unwrap_or_else(|(_, known)| known);
            match known.outcome() {
                Outcome::NotExecuted => Meaning::Nothing(answer.clone()),
                Outcome::Executed | Outcome::Unknown => Meaning::Acted,
            }
        }
        Err(_) => Meaning::None,
    }
}

/// What to mend where no answer came.
pub(super) fn mend_trouble(said: &Said) -> &'static str {
    match &said.answer {
        Err(Trouble::Error { .. }) => {
            "a D-Bus error says that it may have acted (failed, unknown): catch the exception, and answer not_executed"
        }
        Err(Trouble::Silence(_)) => {
            "look at the deadline before all else, and never wait for the device before answering this"
        }
        Err(Trouble::Form(_)) => "answer with three texts",
        Err(Trouble::TooLong(_)) => "a message of more than 512 KiB ends the gateway's connection",
        Err(Trouble::Broken | Trouble::Unsent(_)) | Ok(_) => "",
    }
}

pub(super) async fn not_after(bench: &mut Bench<'_>) -> Seen {
    let contract = "Invoke acts only before not_after_us, in microseconds of CLOCK_BOOTTIME; at it is too late: expired, not_executed";
    let mut seen = Seen::default();
    let (mut asked, mut expired, mut silences, mut unmade) = (0_usize, 0_usize, 0_usize, Vec::new());
    let mut slowest = Duration::ZERO;
    'all: for sample in bench.samples.clone() {
        let Some(params) = &sample.params else {
            unmade.push(sample.method.name.clone());
            continue;
        };
        let mut question = Bench::late(&sample, params);
        for when in ["0", "a second ago", "the moment of sending"] {
            if asked >= MOST_QUESTIONS {
                break 'all;
            }
            question = Question::new(
                &question.method,
                &question.request,
                match when {
                    "0" => 0,
                    "a second ago" => now().saturating_sub(1_000_000),
                    _ => now(),
                },
                when,
            );
            let said = bench.invoke(&question).await;
            asked += 1;
            slowest = slowest.max(said.took);
            bench
                .errors
                .entry(question.method.clone())
                .or_default()
                .extend(said.error_text(&question.method));
            match meaning(&said) {
                Meaning::Nothing(answer) if answer.status == "expired" => expired += 1,
                Meaning::Nothing(_) => seen.add(Problem::note(
                    question.to_string(),
                    said.to_string(),
                    contract,
                    "nothing was done, but it does not show that the deadline is looked at: if the parameters do not suit it, give others with --call",
                )),
                Meaning::Acted => {
                    seen.add(Problem::breach(
                        question.to_string(),
                        said.to_string(),
                        contract,
                        "compare CLOCK_BOOTTIME in microseconds (not milliseconds or seconds, not the wall clock or CLOCK_MONOTONIC) with not_after_us directly before acting: at or after it, answer expired, not_executed, also where a method only reads",
                    ));
                    bench.honours = Honours::Broken;
                    return seen;
                }
                Meaning::None => {
                    seen.add(Problem::breach(question.to_string(), said.to_string(), contract, mend_trouble(&said)));
                    silences += 1;
                    if silences >= MOST_SILENCES {
                        break 'all;
                    }
                }
            }
        }
    }
    if !unmade.is_empty() {
        let came = format!("no parameters could be made for {}", unmade.join(", "));
        let mend = "give some with --call; then they are not only sent too late, but also run";
        seen.add(Problem::note("", came, "", mend));
    }
    bench.honours = if seen.has_failed() {
        Honours::NotShown("calls that come too late are not always answered")
    } else if expired == 0 {
        Honours::NotShown("no call that came too late was answered with expired")
    } else {
        Honours::Shown
    };
    if seen.has_failed() {
        seen
    } else {
        seen.says(format!("{expired} of {asked} expired, the slowest after {slowest:.1?}"))
    }
}

pub(super) async fn unknown_method(bench: &mut Bench<'_>) -> Seen {
    let contract =
        "a method that the plugin does not have moves nothing: not_executed, with invalid_request or refused";
    let passed = Question::new(NO_METHOD, "{}", now().saturating_sub(1_000_000), "a second ago");
    let mut seen = Seen::default();
    let mut last = String::new();
    for question in [passed, Question::ahead(NO_METHOD, "{}", FAR_AHEAD)] {
        let said = bench.invoke(&question).await;
        bench.unknown.extend(said.error_text(NO_METHOD));
        match meaning(&said) {
            Meaning::Nothing(_) => {}
            Meaning::Acted => {
                let mend = "look the method up before all else, and answer invalid_request, not_executed";
                seen.add(Problem::breach(question.to_string(), said.to_string(), contract, mend));
            }
            Meaning::None => {
                seen.add(Problem::breach(
                    question.to_string(),
                    said.to_string(),
                    contract,
                    mend_trouble(&said),
                ));
            }
        }
        last = said.to_string();
    }
    if seen.is_ok() { seen.says(last) } else { seen }
}

pub(super) async fn wrong_params(bench: &mut Bench<'_>) -> Seen {
    let contract =
        "what the described parameters do not allow is answered invalid_request or refused, not_executed";
    let mut seen = Seen::default();
    let (mut asked, mut refused, mut silences) = (0_usize, 0_usize, 0_usize);
    'all: for sample in bench.samples.clone() {
        for wrong in sample.wrong() {
            if asked >= MOST_QUESTIONS {
                break 'all;
            }
            let mut question =
                Question::ahead(&sample.method.name, &wrong.request.to_string(), bench.options.answer_within);
            question.when = format!("{}; {}", question.when, wrong.what);
            let said = bench.invoke(&question).await;
            asked += 1;
            bench
                .errors
                .entry(question.method.clone())
                .or_default()
                .extend(said.error_text(&question.method));
            match meaning(&said) {
                // A deadline that lies ahead, taken for passed: that is told by `clock`.
                Meaning::Nothing(answer) => refused += usize::from(answer.status != "expired"),
                Meaning::Acted => {
                    let mend = format!("check the parameters before acting: {}", wrong.what);
                    seen.add(Problem::breach(question.to_string(), said.to_string(), contract, mend));
                    break 'all;
                }
                Meaning::None => {
                    seen.add(Problem::breach(
                        question.to_string(),
                        said.to_string(),
                        contract,
                        mend_trouble(&said),
                    ));
                    silences += usize::from(said.is_silence());
                    if silences >= MOST_SILENCES {
                        break 'all;
                    }
                }
            }
        }
    }
    if seen.is_ok() { seen.says(format!("{refused} of {asked} refused")) } else { seen }
}

pub(super) fn has_methods(bench: &Bench<'_>) -> Seen {
    if bench.unknown.is_empty() {
        return Seen::skip(
            "a method that does not exist is answered too briefly to tell it from one that does",
        );
    }
    let mut seen = Seen::default();
    for (method, texts) in &bench.errors {
        if let Some(text) = texts.iter().find(|text| bench.unknown.contains(*text)) {
            seen.add(Problem::breach(
                format!("Invoke of {method:?}"),
                format!("the same as for a method that does not exist: {}", super::bus::clip(text, 160)),
                "what Describe tells of is on offer to callers",
                "describe what is there, and nothing else",
            ));
        }
    }
    if seen.is_ok() { seen.says(format!("{} methods", bench.samples.len())) } else { seen }
}

pub(super) fn clock(bench: &Bench<'_>) -> Seen {
    let mut seen = Seen::default();
    for problem in &bench.early {
        seen.add(problem.clone());
    }
    if seen.has_failed() {
        return seen;
    }
    if bench.ahead == 0 {
        return Seen::skip("nothing was answered before a deadline that lay ahead");
    }
    seen.says(format!("{} answers before their deadlines, none of them expired", bench.ahead))
}

pub(super) fn answers(bench: &Bench<'_>) -> Seen {
    if bench.answers == 0 {
        return Seen::skip("there was no answer");
    }
    let mut seen = Seen::default();
    for problem in &bench.bad_answers {
        seen.add(problem.clone());
    }
    let count = bench.bad_answers.len();
    seen.says(format!("{} answers, {count} of which break it", bench.answers))
}
