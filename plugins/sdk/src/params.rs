//! The schema of a method's parameters, and its check before anything moves.

use std::sync::Arc;

use jsonschema::PatternOptions;
use serde_json::{Map, Value, json};

pub use self::derive::Derived;
use self::lint::lint;
use crate::map::{MapError, MapOrigin};

mod derive;
mod lint;

/// The room that a compiled pattern may take, in bytes.
const LARGEST_PATTERN: usize = 1024 * 1024;

/// Named parameters, each with a JSON Schema.
///
/// Every declared parameter is required unless its schema has a `default`; others are refused.
#[derive(Debug, Clone)]
pub struct Params {
    /// As they were declared.
    properties: Arc<Map<String, Value>>,
    schema: Arc<Value>,
    validator: Arc<jsonschema::Validator>,
    defaults: Map<String, Value>,
}

/// The parameters of a call are not what the method's schema allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ParamsError {
    /// Where: `request` or `request.percent`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// The declaration of parameters is not right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// The path of the key in the method: `params.percent.type`.
    pub path: String,
    /// Whether it is the key that is wrong, and not its value.
    pub of_key: bool,
    /// What is wrong, what was expected, and what to do.
    pub message: String,
}

impl SchemaError {
    fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), of_key: false, message: message.into() }
    }

    /// The same in a map: `method` is where the method stands.
    pub(crate) fn at(&self, method: &MapOrigin) -> MapError {
        let place = if self.of_key { method.at_key(&self.path) } else { method.at(&self.path) };
        place.error(self)
    }
}

impl Params {
    /// Compiles declarations such as `{"percent": {"type": "integer", "minimum": 0, "maximum": 100}}`.
    ///
    /// # Errors
    /// What is no JSON Schema, a keyword that does not exist, or a default that the schema itself refuses.
    pub fn new(properties: &Map<String, Value>) -> Result<Self, SchemaError> {
        for (name, schema) in properties {
            lint(schema, &format!("params.{name}"), 0)?;
        }
        let has_default = |schema: &Value| schema.get("default").is_some();
        let required: Vec<&String> =
            properties.iter().filter(|(_, schema)| !has_default(schema)).map(|(name, _)| name).collect();
        let mut placed = properties.clone();
        for (name, schema) in &mut placed {
            place(schema, &format!("#/properties/{}", name.replace('~', "~0").replace('/', "~1")));
        }
        let schema = json!({
            "type": "object", "properties": placed, "required": required, "additionalProperties": false,
        });
        let mut defaults = Map::new();
        for (name, schema) in properties {
            let path = format!("params.{name}");
            let validator = compile(schema).map_err(|e| {
                let inside = e.instance_path().as_str().replace('/', ".");
                let message = format!("`{path}{inside}`: {}", shorten(&e.to_string()));
                SchemaError::new(format!("{path}{inside}"), message)
            })?;
            let Some(default) = schema.get("default") else { continue };
            if let Err(e) = validator.validate(default) {
                let message = format!(
                    "the default of `{path}` is not what it allows itself: {}",
                    shorten(&e.to_string())
                );
                return Err(SchemaError::new(format!("{path}.default"), message));
            }
            defaults.insert(name.clone(), default.clone());
        }
        let validator = compile(&schema).map_err(|e| SchemaError::new("params", shorten(&e.to_string())))?;
        let properties = Arc::new(properties.clone());
        Ok(Self { properties, schema: Arc::new(schema), validator: Arc::new(validator), defaults })
    }

    /// The declarations that it was made of, with what was derived.
    #[must_use]
    pub fn properties(&self) -> Map<String, Value> {
        (*self.properties).clone()
    }

    /// The whole as one JSON Schema of an object.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The names of the declared parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.properties.keys().map(String::as_str)
    }

    /// The names of those that have no default.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| !self.defaults.contains_key(*name))
    }

    /// The parameters of another method's call, as far as they are declared here too.
    #[must_use]
    pub fn select(&self, params: &Value) -> Value {
        let pair = |name: &str| Some((name.to_owned(), params.get(name)?.clone()));
        Value::Object(self.names().filter_map(pair).collect())
    }

    /// Fills in defaults and checks. `null` counts as an empty object.
    pub fn check(&self, request: Value) -> Result<Value, ParamsError> {
        let request = match request {
            Value::Null => Value::Object(self.defaults.clone()),
            Value::Object(mut given) => {
                for (name, default) in &self.defaults {
                    given.entry(name.as_str()).or_insert_with(|| default.clone());
                }
                Value::Object(given)
            }
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => other,
        };
        match self.validator.validate(&request) {
            Ok(()) => Ok(request),
            Err(e) => {
                let inside = e.instance_path().as_str().replace('/', ".");
                Err(ParamsError { path: format!("request{inside}"), message: shorten(&e.to_string()) })
            }
        }
    }
}

/// Patterns take a time that is bounded by the length of what they look at, and a bounded room.
fn compile(schema: &Value) -> Result<jsonschema::Validator, jsonschema::ValidationError<'static>> {
    let patterns = PatternOptions::regex().size_limit(LARGEST_PATTERN).dfa_size_limit(LARGEST_PATTERN);
    jsonschema::options().with_pattern_options(patterns).build(schema)
}

/// The references of a parameter's schema count from that schema, which is now a part of another one.
fn place(schema: &mut Value, root: &str) {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match (keyword.as_str(), value) {
                    ("$ref", Value::String(to)) => {
                        if let Some(inside) = to.strip_prefix('#') {
                            *to = format!("{root}{inside}");
                        }
                    }
                    // Values, not schemas.
                    ("const" | "enum" | "default" | "examples", _) => {}
                    (_, value) => place(value, root),
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(|schema| place(schema, root)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The value of `type`: one name, or several.
fn types(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// A message may quote a value: keep it to one short line.
pub(crate) fn shorten(message: &str) -> String {
    const LONGEST: usize = 200;
    let mut line: String =
        message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if message.chars().nth(LONGEST).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: Value) -> Result<Value, String> {
        let properties = json!({
            "percent": {"type": "integer", "minimum": 0, "maximum": 100},
            "speed": {"type": "string", "enum": ["slow", "fast"], "default": "slow"},
        });
        let Value::Object(properties) = properties else { unreachable!() };
        Params::new(&properties).unwrap().check(request).map_err(|e| e.to_string())
    }

    #[test]
    fn checks_ranges_names_and_fills_defaults() {
        assert_eq!(check(json!({"percent": 40})), Ok(json!({"percent": 40, "speed": "slow"})));
        for (request, expected) in [
            (json!({"percent": 101}), "request.percent: 101 is greater than the maximum of 100"),
            (json!({"percent": "x"}), "request.percent: \"x\" is not of type \"integer\""),
            (json!({}), "request: \"percent\" is a required property"),
            (Value::Null, "request: \"percent\" is a required property"),
            (json!("open"), "request: \"open\" is not of type \"object\""),
        ] {
            assert_eq!(check(request), Err(expected.into()));
        }
        assert!(check(json!({"percent": 1, "other": 2})).unwrap_err().contains("other"));
        assert!(check(json!("x".repeat(1_000))).unwrap_err().len() < 250);
    }

    #[test]
    fn a_bad_declaration_is_refused() {
        let Value::Object(properties) = json!({"percent": {"type": "integr"}}) else { unreachable!() };
        assert!(Params::new(&properties).is_err());
    }

    #[test]
    fn a_pattern_cannot_hold_up_the_gateway() {
        let declared = |pattern: &str| {
            let properties = json!({"x": {"type": "string", "pattern": pattern}});
            Params::new(properties.as_object().unwrap())
        };
        let evil = declared("^(a+)+$").unwrap();
        assert!(evil.check(json!({"x": format!("{}!", "a".repeat(50_000))})).is_err());
        assert!(declared("(a{1000}){1000}").is_err(), "too large");
        assert!(declared("a(?=b)").is_err(), "takes more than linear time");
        for usual in ["^\\d{3}$", "^\\w{1,64}$", "^[a-zA-Z0-9 ,.]{0,200}$", "^\\p{L}{1,8}$"] {
            assert!(declared(usual).is_ok(), "{usual}");
        }
    }

    #[test]
    fn keywords_of_json_schema_are_right() {
        for schema in [
            json!({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}),
            json!({"type": "object", "properties": {"default": {"type": "boolean"}}}),
        ] {
            let made = Params::new(json!({ "x": schema }).as_object().unwrap());
            assert!(made.is_ok(), "{schema}: {made:?}");
        }
        let misspelt = json!({"x": {"type": "array", "unevaluatedItems": {"tipe": "integer"}}});
        assert!(Params::new(misspelt.as_object().unwrap()).is_err());
    }

    #[test]
    fn a_reference_counts_from_its_parameter() {
        let declared = json!({"x": {
            "$defs": {"half": {"type": "integer", "maximum": 50}},
            "type": "array",
            "items": {"$ref": "#/$defs/half"},
            "default": [{"$ref": "#"}, 1],
            "anyOf": [true],
        }, "y": {"enum": ["#", {"$ref": "#/$defs/half"}]}});
        let mut declared = declared.as_object().unwrap().clone();
        assert!(Params::new(&declared).unwrap_err().message.starts_with("the default of `params.x`"));
        declared["x"]["default"] = json!([1]);
        let params = Params::new(&declared).unwrap();
        assert_eq!(params.properties(), declared, "as it was declared");
        let ends = |x: Value, y: Value| params.check(json!({"x": x, "y": y})).map(drop).map_err(|e| e.path);
        assert_eq!(ends(json!([50]), json!({"$ref": "#/$defs/half"})), Ok(()));
        assert_eq!(ends(json!([1, 51]), json!("#")), Err("request.x.1".into()));
        let again = Params::new(&params.properties()).unwrap();
        assert_eq!(again.schema(), params.schema());
    }
}
