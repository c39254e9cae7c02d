//! Configurations: read by a path, merged, and which leaves a merge changes.

use serde_json::{Map, Value};

/// What lies at a path, as `GetConfiguration` says it: an object as itself, a leaf under its name.
pub(super) fn read(configuration: &Value, path: &[String]) -> Option<Value> {
    let found = path.iter().try_fold(configuration, |value, key| value.get(key))?;
    match (found, path.last()) {
        (Value::Object(_), _) | (_, None) => Some(found.clone()),
        (leaf, Some(name)) => Some(Value::Object(Map::from_iter([(name.clone(), leaf.clone())]))),
    }
}

/// Merges `new` into `old`, objects key by key; says the paths of the leaves that have changed.
pub(super) fn merge(old: &mut Value, new: &Value) -> Vec<Vec<String>> {
    let mut changed = Vec::new();
    merge_at(old, new, &mut Vec::new(), &mut changed);
    changed
}

fn merge_at(old: &mut Value, new: &Value, path: &mut Vec<String>, changed: &mut Vec<Vec<String>>) {
    let Value::Object(entries) = new else {
        if old != new {
            *old = new.clone();
            changed.push(path.clone());
        }
        return;
    };
    if !old.is_object() {
        *old = Value::Object(Map::new());
    }
    let Value::Object(into) = old else { return };
    for (key, value) in entries {
        path.push(key.clone());
        // What was not there differs from everything, also from null.
        let missing = !into.contains_key(key);
        let entry = into.entry(key.clone()).or_insert(Value::Null);
        if missing && value.is_null() {
            changed.push(path.clone());
        } else {
            merge_at(entry, value, path, changed);
        }
        path.pop();
    }
}

/// An object with `value` at `path`.
pub(super) fn at(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |value, key| Value::Object(Map::from_iter([(key.clone(), value)])))
}

#[cfg(test)]
mod tests;
