//! Parameters for a method, right and wrong, made of its schema. Pure; what it makes has been checked against the schema.

use serde_json::{Map, Value, json};

use crate::method::Method;
use crate::params::Params;

/// How deep schemas are followed.
const MAX_DEPTH: usize = 6;

/// How many values are tried for one parameter.
const MAX_CANDIDATES: usize = 64;

/// Longer texts and lists are not made.
const MAX_LEN: u64 = 1_000;

/// A method, and parameters that it takes.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) method: Method,
    /// `None` where none could be made.
    pub(super) params: Option<Value>,
    /// Whether the author has given them.
    pub(super) own: bool,
}

/// Parameters that a method does not take, and what is wrong with them.
#[derive(Debug, Clone)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) request: Value,
}

impl Sample {
    pub(super) fn new(method: &Method, calls: &[(String, Value)]) -> Self {
        let own = calls.iter().find(|(name, _)| *name == method.name).map(|(_, params)| params.clone());
        let checked = |params| match &method.params {
            Some(known) => known.check(params).ok(),
            None => Some(params),
        };
        let is_own = own.is_some();
        let params = own.or_else(|| generate(method.params.as_ref())).and_then(checked);
        Self { method: method.clone(), params, own: is_own }
    }

    /// Wrong parameters of each kind. The kinds that a careless plugin is most likely to notice come first.
    pub(super) fn wrong(&self) -> Vec<Wrong> {
        let Some(known) = &self.method.params else { return Vec::new() };
        let base = self.params.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        let mut all =
            vec![Wrong { what: "a list in place of the parameters".into(), request: json!([1, 2]) }];
        for (name, schema) in known.properties() {
            let mut with = |what: String, value: Value| {
                let mut request = base.clone();
                request.insert(name.clone(), value);
                all.push(Wrong { what, request: Value::Object(request) });
            };
            for value in [json!({"x": []}), json!([[]]), json!("x"), json!(true), Value::Null] {
                if !fits(&schema, &value) {
                    with(format!("`{name}` of another type"), value);
                    break;
                }
            }
            for value in beyond(&schema) {
                if !fits(&schema, &value) {
                    with(format!("`{name}` out of range"), value);
                }
            }
        }
        if let Some(name) = known.required().next() {
            let mut request = base.clone();
            request.remove(name);
            all.push(Wrong { what: format!("`{name}` missing"), request: Value::Object(request) });
        }
        let mut request = base;
        request.insert("nowd_conformance".into(), Value::Bool(true));
        all.push(Wrong { what: "a parameter too many".into(), request: Value::Object(request) });
        all.retain(|wrong| known.check(wrong.request.clone()).is_err());
        all
    }
}

/// Parameters that the schema takes; those with a default are left to it.
fn generate(params: Option<&Params>) -> Option<Value> {
    let Some(params) = params else { return Some(json!({})) };
    let properties = params.properties();
    let mut made = Map::new();
    for name in params.required() {
        let schema = properties.get(name)?;
        made.insert(name.to_owned(), fitting(schema, 0)?);
    }
    Some(Value::Object(made))
}

/// A value that the schema takes.
fn fitting(schema: &Value, depth: usize) -> Option<Value> {
    candidates(schema, depth).into_iter().take(MAX_CANDIDATES).find(|value| fits(schema, value))
}

fn fits(schema: &Value, value: &Value) -> bool {
    let one = Map::from_iter([("x".to_owned(), schema.clone())]);
    Params::new(&one).is_ok_and(|params| params.check(json!({ "x": value })).is_ok())
}

/// Values that a schema may take, the likeliest first.
fn candidates(schema: &Value, depth: usize) -> Vec<Value> {
    let Value::Object(keywords) = schema else { return vec![json!(0)] };
    if depth > MAX_DEPTH {
        return Vec::new();
    }
    let mut all: Vec<Value> =
        ["default", "const"].iter().filter_map(|key| keywords.get(*key)).cloned().collect();
    for key in ["enum", "examples"] {
        all.extend(keywords.get(key).and_then(Value::as_array).into_iter().flatten().take(8).cloned());
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        let some = keywords.get(key).and_then(Value::as_array).into_iter().flatten().take(8);
        all.extend(some.flat_map(|schema| candidates(schema, depth + 1)));
    }
    let types: Vec<&str> = match keywords.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(_) | None => vec!["integer", "string", "boolean", "object", "array"],
    };
    for name in types {
        match name {
            "integer" | "number" => all.extend(numbers(keywords)),
            "string" => all.extend(texts(keywords)),
            "boolean" => all.extend([json!(false), json!(true)]),
            "null" => all.push(Value::Null),
            "array" => all.extend(list(keywords, depth)),
            "object" => all.extend(object(keywords, depth)),
            _ => {}
        }
    }
    all
}

fn numbers(keywords: &Map<String, Value>) -> Vec<Value> {
    let whole = |key: &str| keywords.get(key).and_then(Value::as_i64);
    let real = |key: &str| keywords.get(key).and_then(Value::as_f64);
    let mut all = Vec::new();
    for (key, by) in [("minimum", 0), ("exclusiveMinimum", 1), ("maximum", 0), ("exclusiveMaximum", -1)] {
        if let Some(bound) = whole(key) {
            all.push(json!(bound.saturating_add(by)));
            if let Some(step) = whole("multipleOf").filter(|step| *step > 0) {
                // The multiples on both sides of the bound.
                let below = bound.saturating_sub(bound.rem_euclid(step));
                all.extend([json!(below), json!(below.saturating_add(step))]);
            }
        } else if let Some(bound) = real(key) {
            all.extend([json!(bound), json!(bound.ceil()), json!(bound.floor())]);
        }
    }
    if let (Some(least), Some(most)) = (
        real("minimum").or_else(|| real("exclusiveMinimum")),
        real("maximum").or_else(|| real("exclusiveMaximum")),
    ) {
        all.push(json!(f64::midpoint(least, most)));
    }
    all.extend([json!(0), json!(1)]);
    all.extend(keywords.get("multipleOf").cloned());
    all
}

fn texts(keywords: &Map<String, Value>) -> Vec<Value> {
    let least = keywords.get("minLength").and_then(Value::as_u64).unwrap_or(1).min(MAX_LEN);
    let repeat = |text: &str| text.repeat(usize::try_from(least.max(1)).unwrap_or(1));
    let formats = [
        "00000000-0000-4000-8000-000000000000",
        "2026-01-01T00:00:00Z",
        "2026-01-01",
        "00:00:00Z",
        "gate@example.com",
        "192.0.2.1",
        "2001:db8::1",
        "https://example.com/",
        "example.com",
        "on",
        "ABC",
        "0x00",
    ];
    let patterned = ["a", "A", "0", "a0", "A1"].map(|text| Value::String(repeat(text)));
    let more = (keywords.contains_key("pattern") || keywords.contains_key("format"))
        .then(|| formats.map(Value::from))
        .into_iter()
        .flatten();
    let empty = (least == 0).then(|| json!(""));
    patterned.into_iter().chain(empty).chain(more).collect()
}

fn list(keywords: &Map<String, Value>, depth: usize) -> Option<Value> {
    let least = keywords.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    let least = usize::try_from(least.min(MAX_LEN)).ok()?;
    let first = keywords.get("prefixItems").and_then(Value::as_array).cloned().unwrap_or_default();
    let rest = keywords.get("items").cloned().unwrap_or(Value::Bool(true));
    let distinct = keywords.get("uniqueItems") == Some(&Value::Bool(true));
    let mut made: Vec<Value> = Vec::new();
    for index in 0..least.max(first.len()) {
        let schema = first.get(index).unwrap_or(&rest);
        let mut possible = candidates(schema, depth + 1).into_iter().take(MAX_CANDIDATES);
        let value = possible.find(|value| fits(schema, value) && !(distinct && made.contains(value)))?;
        made.push(value);
    }
    Some(Value::Array(made))
}

fn object(keywords: &Map<String, Value>, depth: usize) -> Option<Value> {
    let none = Map::new();
    let properties = keywords.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let mut made = Map::new();
    for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten() {
        let name = name.as_str()?;
        made.insert(name.to_owned(), fitting(properties.get(name).unwrap_or(&Value::Bool(true)), depth + 1)?);
    }
    Some(Value::Object(made))
}

/// Values just outside of what a schema takes.
fn beyond(schema: &Value) -> Vec<Value> {
    let step = |key: &str, by: i32| {
        let bound = schema.get(key)?;
        match bound.as_i64() {
            Some(whole) => whole.checked_add(by.into()).map(Value::from),
            None => bound.as_f64().map(|real| json!(real + f64::from(by))),
        }
    };
    let mut all: Vec<Value> =
        [("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)]
            .into_iter()
            .filter_map(|(key, by)| step(key, by))
            .collect();
    if let Some(most) = schema.get("maxLength").and_then(Value::as_u64).filter(|most| *most < MAX_LEN) {
        all.push(Value::String("a".repeat(usize::try_from(most).unwrap_or_default().saturating_add(1))));
    }
    if schema.get("enum").is_some() {
        all.push(json!("nowd_conformance"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(schema: Value) -> Option<Value> {
        fitting(&schema, 0)
    }

    #[test]
    fn values_fit_their_schemas() {
        for schema in [
            json!({"type": "integer", "minimum": 5, "maximum": 6}),
            json!({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7}),
            json!({"type": "integer", "minimum": 5, "multipleOf": 4}),
            json!({"type": "number", "exclusiveMinimum": 0.25, "exclusiveMaximum": 0.75}),
            json!({"type": "string", "minLength": 3, "maxLength": 3}),
            json!({"type": "string", "pattern": "^[A-Z]{3}$"}),
            json!({"enum": ["slow", "fast"]}),
            json!({"const": 7}),
            json!({"type": "boolean"}),
            json!({"type": ["null", "integer"], "maximum": -3}),
            json!({"anyOf": [{"type": "string", "minLength": 2}, {"type": "null"}]}),
            json!({"type": "array", "minItems": 2, "uniqueItems": true, "items": {"type": "integer", "minimum": 1}}),
            json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "boolean"}}}),
            json!(true),
            json!({}),
        ] {
            assert!(made(schema.clone()).is_some(), "{schema}");
        }
        assert_eq!(made(json!({"type": "string", "pattern": "^gate-[0-9]{7}$"})), None);
    }

    #[test]
    fn wrong_parameters_are_wrong_in_one_way_each() {
        let params = json!({"percent": {"type": "integer", "minimum": 0, "maximum": 100}, "speed": {"enum": ["slow"], "default": "slow"}});
        let method = Method {
            params: Some(Params::new(params.as_object().unwrap()).unwrap()),
            ..crate::service::Description::parse(r#"{"methods": {"gate.open": {}}}"#, "com.example.Gate")
                .unwrap()
                .methods[0]
                .clone()
        };
        let sample = Sample::new(&method, &[]);
        assert_eq!(sample.params, Some(json!({"percent": 0, "speed": "slow"})));
        let wrong = sample.wrong();
        let what: Vec<&str> = wrong.iter().map(|wrong| wrong.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "a list in place of the parameters",
                "`percent` of another type",
                "`percent` out of range",
                "`percent` out of range",
                "`speed` of another type",
                "`speed` out of range",
                "`percent` missing",
                "a parameter too many",
            ]
        );
        let given = Sample::new(&method, &[("gate.open".into(), json!({"percent": 40}))]);
        assert_eq!((given.params, given.own), (Some(json!({"percent": 40, "speed": "slow"})), true));
    }
}
