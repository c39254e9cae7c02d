//! Merges and reads.

use serde_json::json;

use super::*;

fn path(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

#[test]
fn a_merge_changes_leaves_and_says_which() {
    let mut value = json!({"a": {"b": 1, "c": [1]}, "d": "x"});
    let changed = merge(&mut value, &json!({"a": {"b": 2, "c": [1], "n": null}, "d": {"e": 3}}));
    assert_eq!(value, json!({"a": {"b": 2, "c": [1], "n": null}, "d": {"e": 3}}));
    assert_eq!(changed, [path(&["a", "b"]), path(&["a", "n"]), path(&["d", "e"])]);
}

#[test]
fn a_leaf_is_read_under_its_name() {
    let value = json!({"a": {"b": [1]}});
    assert_eq!(read(&value, &path(&["a", "b"])), Some(json!({"b": [1]})));
    assert_eq!(read(&value, &path(&["a"])), Some(json!({"b": [1]})));
    assert_eq!(read(&value, &[]), Some(value.clone()));
    assert_eq!(read(&value, &path(&["a", "x"])), None);
    assert_eq!(at(&path(&["a", "b"]), json!([1])), value);
}
