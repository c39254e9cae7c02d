//! Filters of MQTT.

use super::*;

#[test]
fn filters_match_as_brokers_match_them() {
    for (filter, topic, expected) in [
        ("a/b", "a/b", true),
        ("a/b", "a/b/c", false),
        ("a/b/c", "a/b", false),
        ("a/+", "a/b", true),
        ("a/+", "a", false),
        ("+/b", "a/b", true),
        ("+", "a/b", false),
        ("#", "a/b", true),
        ("a/#", "a/b/c", true),
        ("a/#", "a", true),
        ("a/#", "b", false),
        ("#", "$aws/x", false),
        ("+/x", "$aws/x", false),
        ("$aws/#", "$aws/x", true),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}
