//! A file in pieces: nucleus lite takes no value of more than 1,024 bytes, and a map may be longer.
//!
//! Whole lines only, so that a mistake is told with its line in the file. `last` names the last piece: nucleus lite forgets no key that a
//! newer version of a component does not have any more, and a shorter file would have the end of the longer one.

use serde_json::{Map, Value};

/// The key that is no piece.
const LAST: &str = "last";

/// The pieces in the order of their keys, compared byte by byte, as far as the last one. An empty one is one that was taken away; nothing
/// where one is no text, or where there is no such last one. Where the last one is the empty text there is no piece.
pub(super) fn joined(pieces: &Map<String, Value>) -> Option<String> {
    let last = match pieces.get(LAST).filter(|last| !last.is_null()) {
        Some(last) => Some(last.as_str()?),
        None => None,
    };
    if last.is_some_and(|last| last == LAST || (!last.is_empty() && !pieces.contains_key(last))) {
        return None;
    }
    let is_piece = |key: &str| key != LAST && last.is_none_or(|last| key <= last);
    let mut sorted: Vec<(&String, &Value)> = pieces.iter().filter(|(key, _)| is_piece(key)).collect();
    sorted.sort_by_key(|(key, _)| *key);
    let mut text = String::new();
    for (_, piece) in sorted {
        let piece = if piece.is_null() { "" } else { piece.as_str()? };
        text.push_str(piece);
        if !piece.is_empty() && !piece.ends_with('\n') {
            text.push('\n');
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_are_joined_in_the_order_of_their_keys() {
        for (pieces, text) in [
            (json!({}), Some("")),
            (json!({"002": "c = 3", "001": "a = 1\nb = 2"}), Some("a = 1\nb = 2\nc = 3\n")),
            (json!({"001": "a = 1\n", "002": "", "003": "b = 2\n", "004": null}), Some("a = 1\nb = 2\n")),
            (json!({"001": "a = 1", "002": 2}), None),
            (json!({"001": {"002": "a"}}), None),
        ] {
            assert_eq!(joined(pieces.as_object().unwrap()).as_deref(), text, "{pieces}");
        }
    }

    #[test]
    fn what_is_behind_the_last_piece_is_of_an_older_version() {
        for (pieces, text) in [
            (json!({"001": "a = 1", "002": "b = 2", "003": "old", "last": "002"}), Some("a = 1\nb = 2\n")),
            (json!({"001": "a = 1", "002": 2, "last": "001"}), Some("a = 1\n")),
            (json!({"001": "a = 1", "last": null}), Some("a = 1\n")),
            (json!({"001": "old", "last": ""}), Some("")),
            // Not all of it has come.
            (json!({"001": "a = 1", "last": "002"}), None),
            (json!({"001": "a = 1", "last": 1}), None),
            (json!({"001": "a = 1", "last": "last"}), None),
        ] {
            assert_eq!(joined(pieces.as_object().unwrap()).as_deref(), text, "{pieces}");
        }
    }
}
