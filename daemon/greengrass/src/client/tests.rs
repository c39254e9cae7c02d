//! How a leaf is unwrapped.

use super::*;

#[test]
fn a_leaf_comes_out_of_its_wrapping_and_nothing_else_does() {
    for (value, leaf, expected) in [
        (json!({"leaf": 7}), Some("leaf"), json!(7)),
        (json!({"leaf": "x"}), Some("leaf"), json!("x")),
        (json!({"leaf": [1]}), Some("leaf"), json!([1])),
        (json!({"leaf": null}), Some("leaf"), json!(null)),
        (json!({"leaf": {"a": 1}}), Some("leaf"), json!({"leaf": {"a": 1}})),
        (json!({"other": 7}), Some("leaf"), json!({"other": 7})),
        (json!({"leaf": 7, "other": 7}), Some("leaf"), json!({"leaf": 7, "other": 7})),
        (json!({"leaf": 7}), None, json!({"leaf": 7})),
        (json!(7), Some("leaf"), json!(7)),
    ] {
        assert_eq!(unwrapped(value, leaf), expected);
    }
}
