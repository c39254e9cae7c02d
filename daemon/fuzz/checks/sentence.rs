//! What holds for every message to a person: one line that no terminal takes for a command, not empty, no full stop.

use std::fmt::Display;

pub(crate) fn check(message: &impl Display) {
    let text = message.to_string();
    assert!(!text.is_empty());
    assert!(!text.contains(char::is_control), "more than one line: {text:?}");
    assert!(!text.ends_with('.') || text.ends_with(".."), "ends with a full stop: {text:?}");
}
