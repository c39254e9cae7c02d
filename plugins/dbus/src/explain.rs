//! What a method sends and what the answers mean, in words. Pure.

use nowd_plugin::Outcome;

use crate::errors::Meaning;
use crate::json::{clip, listed};
use crate::map::{Action, Mapped};
use crate::message;

/// Some lines for people.
pub(crate) fn explain(mapped: &Mapped) -> Vec<String> {
    let mut lines = vec![clip(&message::pattern(mapped), message::MAX_LINE)];
    lines.extend(unknown_types(mapped).map(|line| clip(&line, message::MAX_LINE)));
    let mut say = |what: &str, text: &str| lines.push(clip(&format!("{what:<12}{text}"), message::MAX_LINE));
    if let Some(done) = &mapped.done {
        let (wanted, success) = (listed(&done.values), listed(&done.success));
        let path = done.path.literal_text().map_or_else(|| done.path.to_string(), str::to_owned);
        let (interface, signal) = (&done.interface, &done.signal);
        say("done", &format!("when the signal {interface}.{signal}({wanted}) comes from {path}"));
        if !done.success.is_empty() {
            say("", &format!("and well if that signal carries ({success}); else failed, unknown"));
        }
    }
    for (name, meaning) in mapped.errors.iter() {
        match meaning {
            Meaning::Refused => say("refused", &format!("{name}: it did nothing")),
            Meaning::Failed(Outcome::Executed) => say("failed", &format!("{name}: it was done all the same")),
            Meaning::Failed(Outcome::NotExecuted) => say("failed", &format!("{name}: it was not done")),
            Meaning::Failed(Outcome::Unknown) => say("failed", &format!("{name}: it may have been done")),
        }
    }
    lines
}

/// Where the types come from, if the map does not say them.
pub(crate) fn unknown_types(mapped: &Mapped) -> Option<String> {
    let sends = match &mapped.action {
        Action::Call { .. } | Action::Set { .. } => true,
        Action::Get { .. } => false,
    };
    let destination = &mapped.target.destination;
    (sends && mapped.signature.is_none()).then(|| {
        format!("types       not declared; the service {destination} is asked for them (`signature` declares them)")
    })
}
