//! What a method sends and what the answers mean, in words. Pure.

use nowd_plugin::Outcome;

use crate::errors::Meaning;
use crate::json::{clip, listed};
use crate::map::{Action, Mapped};
use crate::message;

/// Some lines for people.
pub(crate) fn explain(mapped: &Mapped) -> Vec<String> {
    let mut lines = vec![message::pattern(mapped)];
    lines.extend(unknown_types(mapped));
    if let Some(done) = &mapped.done {
        let (wanted, success) = (listed(&done.values), listed(&done.success));
        let path = done.path.literal_text().map_or_else(|| done.path.to_string(), str::to_owned);
        let (interface, signal) = (&done.interface, &done.signal);
        lines.push(format!("done when the signal {interface}.{signal}({wanted}) comes from {path}"));
        if !done.success.is_empty() {
            lines.push(format!(
                "... and it went well if that signal carries ({success}); else failed, unknown"
            ));
        }
    }
    for (name, meaning) in mapped.errors.iter() {
        let meaning = match meaning {
            Meaning::Refused => "refused: it did nothing",
            Meaning::Failed(Outcome::Executed) => "failed: it was done all the same (executed)",
            Meaning::Failed(Outcome::NotExecuted) => "failed: it was not done (not_executed)",
            Meaning::Failed(Outcome::Unknown) => "failed: it may have been done (unknown)",
        };
        lines.push(format!("the error {name} means {meaning}"));
    }
    lines.into_iter().map(|line| clip(&line, message::MAX_LINE)).collect()
}

/// Where the types come from, if the map does not say them.
pub(crate) fn unknown_types(mapped: &Mapped) -> Option<String> {
    let sends = match &mapped.action {
        Action::Call { .. } | Action::Set { .. } => true,
        Action::Get { .. } => false,
    };
    let destination = &mapped.target.destination;
    (sends && mapped.signature.is_none()).then(|| {
        format!("types: not declared; {destination} is asked when the gateway and it have started (`signature` declares them)")
    })
}
