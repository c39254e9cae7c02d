//! `nowd watch`: a line for each call as it ends.

use std::io::{self, IsTerminal};

use futures_util::StreamExt;
use tokio::signal::ctrl_c;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream};

use super::client::{Client, Reach};
use super::words::{ms, outcome, printable};
use super::{Failure, internal, say};
use crate::exit::Exit;
use crate::local::{CallEnded, NAME};

/// Widths of the columns.
const METHOD: usize = 20;
const STATUS: usize = 15;
const OUTCOME: usize = 12;
const CALLER: usize = 20;

pub(super) fn watch(reach: &Reach, json: bool) -> Result<(), Failure> {
    let client = Client::connect(reach)?;
    // Before anything can be told.
    let stream = MessageStream::from(&client.connection);
    client.run(follow(&client.connection)).map_err(|e| gone(&e))?;
    client.watch()?;
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    if !json {
        say(&mut io::stdout(), &head());
    }
    client.run(async {
        tokio::select! {
            interrupted = ctrl_c() => interrupted.map_err(|e| internal(&e)),
            () = tell(stream, json, colours) => Err(gone(&"the gateway has left the bus")),
        }
    })
}

fn gone(why: &dyn std::fmt::Display) -> Failure {
    Failure { message: format!("nothing is told any more: {why}"), exit: Exit::Unreachable }
}

/// Has the bus say when the gateway leaves it.
async fn follow(connection: &Connection) -> Result<(), zbus::Error> {
    const BUS: &str = "org.freedesktop.DBus";
    let path = "/org/freedesktop/DBus";
    let rule =
        format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{NAME}'");
    connection.call_method(Some(BUS), path, Some(BUS), "AddMatch", &rule).await.map(drop)
}

/// Until the gateway is gone.
async fn tell(mut stream: MessageStream, json: bool, colours: bool) {
    let mut out = io::stdout();
    while let Some(Ok(message)) = stream.next().await {
        if message.message_type() != Type::Signal {
            continue;
        }
        match member(&message).as_str() {
            "NameOwnerChanged" => return,
            "CallEnded" => {
                let Ok((text, lost)) = message.body().deserialize::<(String, u64)>() else { continue };
                if lost > 0 && json {
                    say(&mut out, &format!(r#"{{"lost":{lost}}}"#));
                } else if lost > 0 {
                    say(&mut out, &format!("({lost} calls ended that could not be told in time)"));
                }
                if json {
                    say(&mut out, &text);
                } else if let Ok(ended) = serde_json::from_str::<CallEnded>(&text) {
                    say(&mut out, &line(&ended, colours));
                }
            }
            _ => {}
        }
    }
}

fn member(message: &Message) -> String {
    message.header().member().map(ToString::to_string).unwrap_or_default()
}

fn head() -> String {
    format!(
        "{:13}  {:METHOD$}  {:STATUS$}  {:OUTCOME$}  {:CALLER$}  {:>8}  {:>8}  {:>8}",
        "TIME (UTC)", "METHOD", "STATUS", "OUTCOME", "CALLER", "QUEUE MS", "PLUGIN", "TOTAL"
    )
}

fn line(ended: &CallEnded, colours: bool) -> String {
    let CallEnded { timing, .. } = ended;
    let caller = ended.caller.as_deref().or(ended.client.as_deref()).unwrap_or("the gateway");
    let note = match ended.kind.as_str() {
        "late" => "  late result",
        "repeat" => "  repeat",
        "safe_action" => "  safe action",
        _ => "",
    };
    let error =
        ended.error.as_ref().map(|error| format!("  {}", printable(&error.message))).unwrap_or_default();
    let status = format!("{:STATUS$}", ended.status);
    let status = match ended.outcome.as_str() {
        _ if !colours => status,
        "executed" => format!("\x1b[32m{status}\x1b[0m"),
        "not_executed" => format!("\x1b[33m{status}\x1b[0m"),
        _ => format!("\x1b[31m{status}\x1b[0m"),
    };
    let text = format!(
        "{:13}  {:METHOD$}  {status}  {:OUTCOME$}  {:CALLER$}  {:>8}  {:>8}  {:>8}{note}{error}",
        time(ended.timestamp),
        begin(&printable(&ended.method)),
        outcome(&ended.outcome),
        end(&printable(caller)),
        ms(timing.queue),
        ms(timing.plugin),
        ms(timing.total),
    );
    text.trim_end().to_owned()
}

/// What fits of a text, from its beginning.
fn begin(text: &str) -> String {
    match text.char_indices().nth(METHOD) {
        None => text.to_owned(),
        Some(_) => text.chars().take(METHOD - 3).chain("...".chars()).collect(),
    }
}

/// What fits of a text, from its end: that is where principals have their own names.
fn end(text: &str) -> String {
    let length = text.chars().count();
    if length <= CALLER {
        return text.to_owned();
    }
    "...".chars().chain(text.chars().skip(length - CALLER + 3)).collect()
}

/// The time of day, as the log has it.
fn time(timestamp: u64) -> String {
    let (ms, seconds) = (timestamp % 1_000, timestamp / 1_000);
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_its_column() {
        let arn = "arn:aws:sts::123456789012:assumed-role/operator";
        assert_eq!(end(arn), "...med-role/operator");
        assert_eq!(begin(arn), "arn:aws:sts::1234...");
        let fits = "x".repeat(20);
        assert_eq!((begin(&fits), end(&fits)), (fits.clone(), fits));
    }

    #[test]
    fn a_time_of_day() {
        assert_eq!(time(1_795_289_952_102), "19:39:12.102");
        assert_eq!(time(0), "00:00:00.000");
    }
}
