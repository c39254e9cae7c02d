//! Reads a policy file, strictly: what is not understood is an error with its place, never left out.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Pattern, Policy, Rule};

/// The largest file, in bytes. It also bounds how many patterns a request is compared with.
const MAX_LEN: u64 = 256 * 1024;
/// The most `[[allow]]` tables, and patterns in one list.
const MAX_ITEMS: usize = 1_000;
/// The longest pattern, in bytes: callers are no longer.
const MAX_PATTERN: usize = nowd_protocol::MAX_CALLER_LEN;

/// A policy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("{file}: the policy cannot be read")]
    Read {
        /// As it was named.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is above 256 KiB.
    #[error("{file}: the policy is above {MAX_LEN} bytes")]
    TooLarge {
        /// As it was named.
        file: String,
    },
    /// It says something that no policy says.
    #[error("{file}:{line}: {message}")]
    Wrong {
        /// As it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key, and what is expected.
        message: String,
    },
}

/// What is wrong, and where: a byte of the text.
struct Fault {
    at: usize,
    message: String,
}

type Value<'a> = Spanned<DeValue<'a>>;

pub(super) fn load(path: &Path) -> Result<Policy, PolicyError> {
    let file = path.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes));
    if let Err(source) = read {
        return Err(PolicyError::Read { file, source });
    }
    if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_LEN) {
        return Err(PolicyError::TooLarge { file });
    }
    parse(&file, &bytes)
}

pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Policy, PolicyError> {
    let read = std::str::from_utf8(bytes)
        .map_err(|error| Fault { at: error.valid_up_to(), message: "the policy is not UTF-8".to_owned() })
        .and_then(rules);
    read.map(|rules| Policy { rules: rules.into() }).map_err(|Fault { at, message }| {
        let line = bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        PolicyError::Wrong { file: file.to_owned(), line, message }
    })
}

fn rules(text: &str) -> Result<Vec<Rule>, Fault> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Fault { at, message: error.message().lines().collect::<Vec<_>>().join(", ") }
    })?;
    let mut rules = Vec::new();
    for (key, value) in table.get_ref() {
        if key.get_ref() != "allow" {
            return Err(unknown_key(key, "`[[allow]]` tables are all that a policy has"));
        }
        for rule in list(value, "allow", "written as `[[allow]]` tables")? {
            rules.push(rule_of(rule)?);
        }
    }
    Ok(rules)
}

fn rule_of(value: &Value<'_>) -> Result<Rule, Fault> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(fault(value, "`allow` must be written as `[[allow]]` tables".to_owned()));
    };
    let [mut caller, mut target, mut method] = [const { None }; 3];
    for (key, value) in table {
        let place = match key.get_ref().as_ref() {
            "caller" => &mut caller,
            "target" => &mut target,
            "method" => &mut method,
            _ => return Err(unknown_key(key, "`allow` has `caller`, `target` and `method`")),
        };
        *place = Some(patterns(value, key.get_ref())?);
    }
    let needed = |list: Option<Vec<Pattern>>, key: &str| {
        let message = || format!("`allow` has no `{key}`; who means all of them writes `{key} = [\"*\"]`");
        list.ok_or_else(|| fault(value, message()))
    };
    Ok(Rule {
        caller: needed(caller, "caller")?,
        target: needed(target, "target")?,
        method: needed(method, "method")?,
    })
}

fn patterns(value: &Value<'_>, key: &str) -> Result<Vec<Pattern>, Fault> {
    let items = list(value, key, "a list of patterns, such as [\"vehicle-*\"]")?;
    if items.is_empty() {
        return Err(fault(
            value,
            format!("`{key}` is empty, so its table allows nothing; leave the table out"),
        ));
    }
    let pattern = |item: &Value<'_>| {
        let DeValue::String(text) = item.get_ref() else {
            let message =
                format!("`{key}` holds something that is no text; patterns are written in quotation marks");
            return Err(fault(item, message));
        };
        if !(1..=MAX_PATTERN).contains(&text.len()) {
            let message =
                format!("a pattern of `{key}` is {} bytes long; 1 to {MAX_PATTERN} are allowed", text.len());
            return Err(fault(item, message));
        }
        Ok(Pattern::new(text))
    };
    items.iter().map(pattern).collect()
}

fn list<'a, 'b>(value: &'a Value<'b>, key: &str, expected: &str) -> Result<&'a [Value<'b>], Fault> {
    let DeValue::Array(items) = value.get_ref() else {
        return Err(fault(value, format!("`{key}` must be {expected}")));
    };
    if items.len() > MAX_ITEMS {
        return Err(fault(
            value,
            format!("`{key}` stands for {} items; at most {MAX_ITEMS} are allowed", items.len()),
        ));
    }
    Ok(items)
}

fn unknown_key(key: &Spanned<std::borrow::Cow<'_, str>>, known: &str) -> Fault {
    let shown: String = key.get_ref().chars().take(40).collect();
    Fault { at: key.span().start, message: format!("unknown key `{shown}`; {known}") }
}

fn fault(value: &Value<'_>, message: String) -> Fault {
    Fault { at: value.span().start, message }
}
