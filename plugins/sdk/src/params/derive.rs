//! What is known of a parameter from the place where it is used: a byte takes 0 to 255, whatever the map says.

use serde_json::{Map, Value};

use super::{Params, SchemaError, types};
use crate::words::nearest;

/// What a place where a lone `$name` is sent as a typed value says of that parameter.
///
/// Where a method has no `params`, this declares them. Where it has, each name must be among them; what the declaration leaves
/// open (type, bounds) is filled in, and what contradicts is a mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// The parameter's name.
    pub param: String,
    /// What the type implies, as a JSON Schema: `{"type": "integer", "minimum": 0, "maximum": 255}`. Of the keywords,
    /// `type`, `minimum`, `maximum`, `minLength` and `maxLength` are compared with a declaration's.
    pub schema: Map<String, Value>,
    /// The place in words: `argument 1 (y)`.
    pub place: String,
    /// The path of its key in the method: `args[0]`.
    pub path: String,
}

/// Bounds, and whether the larger one is the narrower.
const BOUNDS: &[(&str, bool)] =
    &[("minimum", true), ("maximum", false), ("minLength", true), ("maxLength", false)];

impl Params {
    /// The declared parameters, if there are any, with what is `derived` from the places where they are used.
    ///
    /// # Errors
    /// A name that is not declared, or a declaration that contradicts.
    pub fn derive(declared: Option<&Self>, derived: &[Derived]) -> Result<Option<Self>, SchemaError> {
        if derived.is_empty() {
            return Ok(declared.cloned());
        }
        let mut properties = declared.map(Self::properties).unwrap_or_default();
        for place in derived {
            match properties.get_mut(&place.param) {
                // What only places say of it is what all of them take.
                Some(Value::Object(schema)) => place.narrow(schema, declared.is_some())?,
                // `true` allows anything, and `false` nothing.
                Some(Value::Bool(false)) => {}
                Some(other) => *other = Value::Object(place.schema.clone()),
                None if declared.is_none() => {
                    properties.insert(place.param.clone(), Value::Object(place.schema.clone()));
                }
                None => return Err(place.undeclared(&properties)),
            }
        }
        Self::new(&properties).map(Some)
    }
}

impl Derived {
    fn undeclared(&self, properties: &Map<String, Value>) -> SchemaError {
        let name = &self.param;
        let hint = match nearest(name, properties.keys().map(String::as_str)) {
            Some(nearest) => format!("did you mean `${nearest}`?"),
            None => "declare it, or leave `params` out to have it derived".into(),
        };
        SchemaError::new(self.path.as_str(), format!("`${name}` is not declared in `params`; {hint}"))
    }

    /// Fills in what a declaration leaves open, and refuses what contradicts.
    fn narrow(&self, schema: &mut Map<String, Value>, is_declared: bool) -> Result<(), SchemaError> {
        self.narrow_type(schema, is_declared)?;
        for (keyword, larger_is_narrower) in BOUNDS {
            let Some(ours) = self.schema.get(*keyword) else { continue };
            match schema.get(*keyword) {
                None => {
                    schema.insert((*keyword).to_owned(), ours.clone());
                }
                Some(theirs) => {
                    let wider = match (theirs.as_f64(), ours.as_f64()) {
                        (Some(theirs), Some(ours)) if *larger_is_narrower => theirs < ours,
                        (Some(theirs), Some(ours)) => theirs > ours,
                        (None, _) | (_, None) => false,
                    };
                    if wider && !is_declared {
                        schema.insert((*keyword).to_owned(), ours.clone());
                    } else if wider {
                        return Err(self.contradiction(
                            keyword,
                            &format!("is {theirs}"),
                            &format!("{keyword} {ours}"),
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn narrow_type(&self, schema: &mut Map<String, Value>, is_declared: bool) -> Result<(), SchemaError> {
        let Some(ours) = self.schema.get("type") else { return Ok(()) };
        let Some(theirs) = schema.get("type") else {
            // A list of values, or a combination, says by itself what it takes.
            let open = !["enum", "const", "anyOf", "oneOf", "allOf", "$ref"]
                .iter()
                .any(|key| schema.contains_key(*key));
            if open {
                schema.insert("type".into(), ours.clone());
            }
            return Ok(());
        };
        let mut both = taken(theirs, ours);
        if is_declared && !both.is_empty() {
            return Ok(());
        }
        if !is_declared {
            // Whichever of the places says that only whole numbers will do.
            both.extend(taken(ours, theirs).into_iter().filter(|name| !types(theirs).contains(name)));
            if !both.is_empty() {
                let narrowed = if both.len() == 1 { both.remove(0) } else { Value::Array(both) };
                schema.insert("type".into(), narrowed);
                return Ok(());
            }
        }
        Err(self.contradiction("type", &format!("is {theirs}"), &type_words(ours)))
    }

    fn contradiction(&self, keyword: &str, says: &str, takes: &str) -> SchemaError {
        let (param, place) = (&self.param, &self.place);
        SchemaError::new(
            format!("params.{param}.{keyword}"),
            format!("`params.{param}.{keyword}` {says}, but {place} takes {takes}"),
        )
    }
}

/// Those of the types `names` that a place for the types `by` takes.
fn taken(names: &Value, by: &Value) -> Vec<Value> {
    let takes = |name: &&Value| {
        let whole = name.as_str() == Some("integer");
        types(by).iter().any(|known| known == *name || (whole && known.as_str() == Some("number")))
    };
    types(names).iter().filter(takes).cloned().collect()
}

fn type_words(value: &Value) -> String {
    types(value).iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}
