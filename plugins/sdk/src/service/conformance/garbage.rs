//! Nonsense, all of it too late or of no method: it must be answered, and the plugin must be there afterwards.

use super::bench::{Bench, Honours, Question, Trouble, now};
use super::bus::Heard;
use super::questions::{Meaning, NO_METHOD, meaning, mend_trouble};
use super::report::{Problem, Seen};
use crate::service::INTERFACE;

const CONTRACT: &str = "whatever is asked, a plugin answers, moves nothing, and goes on";

/// What is sent: in words, the id if not a fresh one, the method if not a described one, the request.
struct Nonsense(&'static str, Option<String>, Option<String>, String);

fn nonsense() -> Vec<Nonsense> {
    let request = |what, text: &str| Nonsense(what, None, None, text.to_owned());
    let id = |what, id: &str| Nonsense(what, Some(id.to_owned()), None, "{}".into());
    let method = |what, method: &str| Nonsense(what, None, Some(method.to_owned()), "{}".into());
    vec![
        request("a request that is no JSON", "{oops"),
        request("an empty request", ""),
        request("a request that is no object", "[null, 1e999, -0]"),
        request("a request with NUL in it", "{\"a\\u0000b\": \"\\u0000\"}"),
        request("a request with half a surrogate", "{\"x\": \"\\ud800\"}"),
        request("a request that is 100 levels deep", &format!("{}{}", "[".repeat(100), "]".repeat(100))),
        request("a request of 128 KiB", &format!("{{\"x\": \"{}\"}}", "x".repeat(128 * 1024 - 9))),
        request("a request that says a key twice", "{\"x\": 1, \"x\": {}}"),
        id("an empty id", ""),
        id("an id that is no UUID", "../../etc/\u{1f6a7} id"),
        id("an id of 10,000 characters", &"i".repeat(10_000)),
        method("a method without a name", ""),
        method("a method with a name of 10,000 characters", &"m".repeat(10_000)),
        method("a method with a strange name", "../%s\n{}\u{1f6a7}"),
    ]
}

pub(super) async fn garbage(bench: &mut Bench<'_>) -> Seen {
    let mut seen = Seen::default();
    // One that is known to look at the deadline.
    let shown = bench.honours == Honours::Shown;
    let described = bench.sample().filter(|_| shown).map(|(sample, _)| sample.method.name.clone());
    let before = bench.owner.clone();
    let mut silences = 0;
    let all = nonsense();
    let count = all.len() + 3;
    for Nonsense(what, id, method, request) in all {
        let method = method.or_else(|| described.clone()).unwrap_or_else(|| NO_METHOD.into());
        let mut question = Question::new(&method, &request, now().saturating_sub(1_000_000), "a second ago");
        question.when = format!("{}; {what}", question.when);
        if let Some(id) = id {
            question.id = id;
        }
        let said = bench.invoke(&question).await;
        let (sent, came) = (question.to_string(), said.to_string());
        match meaning(&said) {
            Meaning::Nothing(_) => {}
            Meaning::Acted => {
                seen.add(Problem::breach(sent, came, CONTRACT, "refuse it: invalid_request, not_executed"));
            }
            Meaning::None
                if matches!(said.answer, Err(Trouble::Error { .. })) && still_there(bench, &before).await =>
            {
                let mend = "the caller hears that it may have acted: invalid_request, not_executed lets him try again";
                seen.add(Problem::note(sent, came, "a D-Bus error counts as failed, unknown", mend));
            }
            Meaning::None => {
                silences += 1;
                seen.add(Problem::breach(sent, came, CONTRACT, mend_trouble(&said)));
            }
        }
        if silences >= 2 || !still_there(bench, &before).await {
            break;
        }
    }
    if !seen.has_failed() {
        no_such_thing(bench, &mut seen).await;
    }
    if !still_there(bench, &before).await {
        let came = "the plugin left the bus; the last that was sent stands above, or was of a form that the interface does not have";
        let mend = "catch what goes wrong with one call, and never end the process for it";
        seen.add(Problem::breach("all of the above", came, CONTRACT, mend));
    }
    if seen.is_ok() { seen.says(format!("{count} kinds of nonsense, all answered")) } else { seen }
}

/// The same connection as before still owns the name.
async fn still_there(bench: &Bench<'_>, before: &str) -> bool {
    bench.current_owner().await.is_some_and(|owner| owner == before)
}

/// Members, interfaces and arguments that the contract does not have.
async fn no_such_thing(bench: &mut Bench<'_>, seen: &mut Seen) {
    let limit = bench.options.answer_within;
    let id = "6d2a3d54-0000-4000-8000-000000000000";
    let full = (id, NO_METHOD, "{}", 0_u64);
    let asked = [
        // Of no method, so that nothing moves even where the missing deadline is made up.
        (
            "Invoke with three texts and no deadline",
            bench.ask_at(INTERFACE, "Invoke", &(id, NO_METHOD, "{}"), limit).await,
        ),
        ("the member Invok", bench.ask_at(INTERFACE, "Invok", &full, limit).await),
        ("the interface io.nowd.NoPlugin1", bench.ask_at("io.nowd.NoPlugin1", "Invoke", &full, limit).await),
    ];
    for (what, asked) in asked {
        let came = match &asked.heard {
            Heard::Error { .. } => continue,
            Heard::Return(_) => "an answer as if it existed".to_owned(),
            Heard::TooLong(len) => format!("a message of {len} bytes"),
            Heard::Silence(limit) => format!("no answer within {limit:?}"),
            Heard::Broken => "the connection to the bus broke".to_owned(),
        };
        let contract = "what the interface does not have is answered with a D-Bus error";
        seen.add(Problem::breach(
            what,
            came,
            contract,
            "answer org.freedesktop.DBus.Error.UnknownMethod or InvalidArgs",
        ));
    }
}
