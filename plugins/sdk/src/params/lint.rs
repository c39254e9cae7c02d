//! Mistakes in schemas that JSON Schema itself lets pass: a misspelt keyword, which would leave a range open.

use serde_json::{Map, Value};

use super::{SchemaError, types};
use crate::words::{hint, nearest};

/// The keywords of JSON Schema 2020-12 that a parameter may have.
const KEYWORDS: &[&str] = &[
    "$comment",
    "$defs",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "writeOnly",
];

/// The ones that most maps do with.
const USUAL: &[&str] =
    &["type", "minimum", "maximum", "enum", "maxLength", "pattern", "default", "description"];

/// Words for them that other languages have.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("len", "maxLength"),
    ("length", "maxLength"),
    ("max", "maximum"),
    ("min", "minimum"),
    ("range", "minimum` and `maximum"),
    ("regex", "pattern"),
    ("step", "multipleOf"),
    ("values", "enum"),
];

const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];

/// Keywords whose value is a schema; several; or several by name.
const ONE: &[&str] = &[
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const MANY: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: &[&str] = &["$defs", "dependentSchemas", "patternProperties", "properties"];

/// How deep schemas are looked into.
const MAX_DEPTH: usize = 16;

/// Looks for keywords and types that do not exist, and for ranges that hold nothing. `path` is the schema's own.
pub(super) fn lint(schema: &Value, path: &str, depth: usize) -> Result<(), SchemaError> {
    let error = |path: String, message: String| Err(SchemaError::new(path, message));
    let Value::Object(schema) = schema else {
        if schema.is_boolean() {
            return Ok(());
        }
        let message =
            format!("`{path}` must be a JSON Schema, such as {{ type = \"integer\", minimum = 0 }}");
        return error(path.into(), message);
    };
    if depth > MAX_DEPTH {
        return error(path.into(), format!("`{path}` nests deeper than {MAX_DEPTH} levels"));
    }
    for (keyword, value) in schema {
        let at = format!("{path}.{keyword}");
        if !KEYWORDS.contains(&keyword.as_str()) {
            let message = format!("`{keyword}` is no keyword of JSON Schema; {}", meant(keyword));
            return Err(SchemaError { of_key: true, ..SchemaError::new(at, message) });
        }
        if keyword == "type" {
            for name in types(value) {
                let text = name.as_str().unwrap_or_default();
                if !TYPES.contains(&text) {
                    return error(
                        at,
                        format!("{name} is no type of JSON Schema{}", hint(text, TYPES.iter().copied())),
                    );
                }
            }
        }
        for (path, inner) in inside(keyword, value, &at) {
            lint(inner, &path, depth + 1)?;
        }
    }
    empty_range(schema, path)
}

/// What was probably meant by a keyword that is none.
fn meant(keyword: &str) -> String {
    let other = OTHER_WORDS.iter().find(|(word, _)| *word == keyword).map(|(_, meant)| *meant);
    let near = || nearest(keyword, KEYWORDS.iter().copied().filter(|known| !known.starts_with('$')));
    match other.or_else(near) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("usual ones are {}", USUAL.join(", ")),
    }
}

fn inside<'v>(keyword: &str, value: &'v Value, at: &str) -> Vec<(String, &'v Value)> {
    match value {
        inner if ONE.contains(&keyword) => vec![(at.to_owned(), inner)],
        Value::Array(items) if MANY.contains(&keyword) => {
            items.iter().enumerate().map(|(index, item)| (format!("{at}[{index}]"), item)).collect()
        }
        Value::Object(named) if NAMED.contains(&keyword) => {
            named.iter().map(|(name, item)| (format!("{at}.{name}"), item)).collect()
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Vec::new(),
    }
}

fn empty_range(schema: &Map<String, Value>, path: &str) -> Result<(), SchemaError> {
    for (least, most) in [("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")] {
        let number = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
        if let (Some(from), Some(to)) = (number(least), number(most))
            && from > to
        {
            return Err(SchemaError::new(
                format!("{path}.{least}"),
                format!(
                    "`{path}.{least}` ({from}) is greater than `{most}` ({to}), so nothing would be allowed"
                ),
            ));
        }
    }
    Ok(())
}
