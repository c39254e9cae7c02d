//! Signals of the right name that were not the one: what is told of them when the right one does not come. Pure.

use std::fmt;

use serde_json::Value;

use super::{Match, Wanted};
use crate::json::{clip, listed, write_list, write_table};

/// The longest text of a signal's values that is told, in characters.
pub(crate) const MAX_VALUES: usize = 300;

/// How many came, and what was wrong with the last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Missed {
    count: u64,
    last: String,
}

impl Missed {
    /// Some more have come.
    pub(crate) fn note(&mut self, count: u64, last: String) {
        self.count = self.count.saturating_add(count);
        self.last = last;
    }

    /// That the signal did not come, and what came in its place.
    pub(crate) fn told(&self, signal: &str, before: &str) -> String {
        let last = &self.last;
        match self.count {
            0 => format!("the signal {signal:?} did not come before {before}"),
            1 => format!("before {before} the signal {signal:?} came only {last}"),
            count => {
                format!(
                    "before {before} the signal {signal:?} came only otherwise, {count} times, last {last}"
                )
            }
        }
    }
}

/// Values as they are told.
pub(crate) fn shown(values: &[Value]) -> String {
    let values: Vec<String> = values.iter().map(|value| clip(&value.to_string(), MAX_VALUES)).collect();
    clip(&format!("[{}]", values.join(",")), MAX_VALUES)
}

impl Wanted {
    /// Why a signal from `path` with these values is not the one.
    pub(crate) fn why_not(&self, path: &str, shown: &str) -> String {
        if self.path.fits(&path.into()) {
            let wanted = clip(&listed(&self.values), MAX_VALUES);
            format!("with {shown}, which `match = [{wanted}]` does not fit")
        } else {
            let (path, wanted) = (clip(path, MAX_VALUES), clip(&self.path.to_string(), MAX_VALUES));
            format!("from {path:?}, and not from {wanted}")
        }
    }
}

/// As it could stand in the map.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("\"$*\""),
            Self::Reply(path) => write!(f, "\"{path}\""),
            Self::Equal(value) => value.fmt(f),
            Self::OneOf(items) => {
                f.write_str("{\"$any\": ")?;
                write_list(f, items)?;
                f.write_str("}")
            }
            Self::Array(items) => write_list(f, items),
            Self::Object(entries) => write_table(f, entries),
        }
    }
}
