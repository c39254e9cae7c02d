//! What this process has told in its log, so that maps that are read again do not make it say the same again.
//!
//! What it never does: grow without end. When it is full it forgets everything, and some is told twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::address::BusAddress;

/// How many subjects are remembered.
const MAX_SUBJECTS: usize = 4096;

/// What was told last, by the bus and what it is about.
type Told = BTreeMap<(BusAddress, String), Vec<String>>;

/// It has to outlive the maps, and whatever is made of them.
static TOLD: Mutex<Told> = Mutex::new(BTreeMap::new());

/// Which of these sentences are news; they are all that is wrong with `subject` now.
pub(super) fn news(bus: &BusAddress, subject: String, wrong: &[String]) -> Vec<String> {
    // Only ever changed in whole steps.
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() >= MAX_SUBJECTS {
        told.clear();
    }
    let subject = (bus.clone(), subject);
    let before = if wrong.is_empty() { told.remove(&subject) } else { told.insert(subject, wrong.to_vec()) };
    let before = before.unwrap_or_default();
    wrong.iter().filter(|sentence| !before.contains(sentence)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_news() {
        let bus = BusAddress::At("unix:path=/run/told".into());
        let news = |wrong: &[&str]| {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            super::news(&bus, "com.example.Window1/left".into(), &wrong).join(" ")
        };
        for (wrong, expected) in [
            (&["a", "b"][..], "a b"),
            // The same maps again.
            (&["a", "b"], ""),
            (&["b", "c"], "c"),
            // Mended, and broken again.
            (&[], ""),
            (&["c"], "c"),
        ] {
            assert_eq!(news(wrong), expected, "{wrong:?}");
        }
        let elsewhere = super::news(&BusAddress::System, "com.example.Window1/left".into(), &["c".into()]);
        assert_eq!(elsewhere, ["c"]);
    }
}
