//! `nowd call`: one call over the bus of this machine, in words.

use std::io;
use std::time::Duration;

use nowd_plugin::BootInstant;
use nowd_plugin::clock::boottime_micros;
use nowd_plugin::words::nearest;
use nowd_protocol::{Outcome, Reply, Status, Timing, Uuid};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{AskError, Client, Reach};
use super::words::{flat, ms, outcome};
use super::{Failure, say};
use crate::exit::Exit;

/// How long past the deadline the gateway's word is waited for, as the cloud side does.
const LAST_WORD: Duration = Duration::from_millis(250);

/// The timeout of methods that are not on offer, which is as good as any.
const OTHERWISE: Duration = Duration::from_secs(2);

/// The gateway takes no instant that lies further ahead.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What is called, and how.
pub(super) struct What<'a> {
    pub(super) method: &'a str,
    pub(super) params: &'a str,
    pub(super) timeout: Option<Duration>,
    pub(super) id: Option<Uuid>,
    pub(super) json: bool,
}

/// Of what is on offer.
#[derive(Deserialize)]
struct Listed {
    name: String,
    timeout_ms: u64,
}

pub(super) fn call(reach: &Reach, what: &What<'_>) -> Result<Exit, Failure> {
    let wrong = |message: String| Failure { message, exit: Exit::Usage };
    serde_json::from_str::<Value>(what.params)
        .map_err(|e| wrong(format!("the parameters are not JSON, such as '{{\"percent\":40}}': {e}")))?;
    if let Some(timeout) = what.timeout.filter(|timeout| *timeout > LONGEST) {
        let (found, longest) = (humantime::format_duration(timeout), humantime::format_duration(LONGEST));
        return Err(wrong(format!(
            "`--timeout` is {found}, and no call may take longer than {longest}; most methods allow less (`nowd methods`)"
        )));
    }
    let client = Client::connect(reach)?;
    let timeout = match what.timeout {
        Some(timeout) => timeout,
        None => timeout_of(&client, what.method)?,
    };
    let id = what.id.unwrap_or_else(Uuid::new_v4);
    let before = what.id.and_then(|id| before(&client, id)).filter(|_| !what.json);
    let begun = BootInstant::now();
    let deadline = begun.saturating_add(timeout);
    let until = deadline.saturating_add(LAST_WORD);
    let answer = client.call(id, what.method, what.params, boottime_micros(deadline), until);
    let took = BootInstant::now().saturating_since(begun);
    let text = match answer {
        Ok(text) => text,
        Err(e) => return unanswered(&client, &e, id, what.json),
    };
    let reply = Reply::parse(text.as_bytes()).map_err(|e| Failure {
        message: format!("the answer cannot be read, so the call may have been executed: {e}"),
        exit: Exit::Unknown,
    })?;
    let mut out = io::stdout();
    if what.json {
        say(&mut out, &text);
    } else {
        for line in lines(&reply, took) {
            say(&mut out, &line);
        }
        if let Some(before) = before.filter(|_| reply.status.as_str() != Status::Conflict.as_str()) {
            say(&mut out, &format!("  {before}"));
        }
        if reply.status.as_str() == Status::UnknownMethod.as_str()
            && let Some(meant) = meant(&client, what.method)
        {
            say(&mut out, &format!("  did you mean `{meant}`?"));
        }
    }
    Ok(exit(reply.outcome))
}

/// As declared, or for those who stand in for all names.
fn timeout_of(client: &Client, method: &str) -> Result<Duration, Failure> {
    let listed: Vec<Listed> = serde_json::from_str(&client.methods_json()?).unwrap_or_default();
    let named = |name: &str| listed.iter().find(|listed| listed.name == name);
    let found = named(method).or_else(|| named("*")).filter(|_| !method.starts_with("nowd."));
    Ok(found.map_or(OTHERWISE, |listed| Duration::from_millis(listed.timeout_ms)))
}

/// What became of the call that had this id, if there was one: the same call is answered from memory, and acts only once.
fn before(client: &Client, id: Uuid) -> Option<&'static str> {
    let until = BootInstant::now().saturating_add(OTHERWISE);
    let request = json!({ "id": id }).to_string();
    let not_after = boottime_micros(until);
    let text = client.call(Uuid::new_v4(), "nowd.outcome", &request, not_after, until).ok()?;
    let reply = Reply::parse(text.as_bytes()).ok()?;
    let known: Value = serde_json::from_str(reply.response.get()).ok()?;
    match known.get("state")?.as_str()? {
        "ended" => {
            Some("answered from memory: the call with this id had ended before, and nothing was started now")
        }
        "running" | "waiting" => {
            Some("the call with this id was under way already, and nothing was started now")
        }
        _ => None,
    }
}

/// The method on offer whose name is nearest.
fn meant(client: &Client, method: &str) -> Option<String> {
    let listed: Vec<Listed> = serde_json::from_str(&client.methods_json().ok()?).ok()?;
    nearest(method, listed.iter().map(|listed| listed.name.as_str())).map(str::to_owned)
}

/// Nothing came that says what became of it.
fn unanswered(client: &Client, e: &AskError, id: Uuid, json: bool) -> Result<Exit, Failure> {
    let lost = match e {
        AskError::Said { name, .. } => name.ends_with(".NoReply"),
        AskError::TooLong | AskError::Gone(_) | AskError::Unreadable(_) => true,
    };
    if !lost {
        return Err(client.failure(e));
    }
    let message = match e {
        AskError::TooLong => {
            let ms = LAST_WORD.as_millis();
            format!("the gateway has said nothing until {ms} ms past the deadline")
        }
        AskError::Said { .. } | AskError::Gone(_) | AskError::Unreadable(_) => e.to_string(),
    };
    if json {
        let error = json!({"code": "no_reply", "message": message});
        let reply =
            json!({"id": id, "response": null, "status": "no_reply", "outcome": "unknown", "error": error});
        say(&mut io::stdout(), &reply.to_string());
        return Ok(Exit::Unknown);
    }
    let message = format!("{message}: the call may have been executed; its id is {id}");
    Err(Failure { message, exit: Exit::Unknown })
}

const fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Executed => Exit::Ok,
        Outcome::NotExecuted => Exit::NotExecuted,
        Outcome::Unknown => Exit::Unknown,
    }
}

/// Status and outcome, then what came back or went wrong, then where the time went.
fn lines(reply: &Reply, took: Duration) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", reply.status.as_str(), outcome(reply.outcome.as_str()))];
    if let Some(error) = &reply.error {
        let code =
            if error.code == reply.status.as_str() { String::new() } else { format!(" ({})", error.code) };
        lines.push(format!("  {}{code}", error.message));
    }
    let response: Value = serde_json::from_str(reply.response.get()).unwrap_or_default();
    lines.extend(flat(&response).into_iter().map(|line| format!("  {line}")));
    if reply.outcome == Outcome::Unknown {
        lines.push(format!(
            "  its id: {id}; `nowd call nowd.outcome '{{\"id\":\"{id}\"}}'` says what is known later",
            id = reply.id
        ));
    }
    lines.push(format!("  {}", hops(reply.timing.unwrap_or_default(), took)));
    lines
}

fn hops(timing: Timing, took: Duration) -> String {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let bus = ms(took.saturating_sub(timing.total));
    if timing.total == 0 {
        return format!("bus there and back {bus} ms");
    }
    let (queue, plugin) = (ms(timing.queue), ms(timing.plugin));
    format!("bus there and back {bus} ms, queue {queue} ms, plugin {plugin} ms")
}
