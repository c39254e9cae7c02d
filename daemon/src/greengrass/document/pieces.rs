//! A file in pieces: nucleus lite takes no value of more than 1,024 bytes, and a map may be longer.
//!
//! Whole lines only, so that a mistake is told with its line in the file.

use serde_json::{Map, Value};

/// The pieces in the order of their keys, compared byte by byte. An empty one is one that was taken away; nothing where one is
/// no text.
pub(super) fn joined(pieces: &Map<String, Value>) -> Option<String> {
    let mut sorted: Vec<(&String, &Value)> = pieces.iter().collect();
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
}
