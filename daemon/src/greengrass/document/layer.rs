//! The keys of `nowd.toml` in a component configuration, as a layer of the configuration. Judges no value: the reader of layers does.

use config::{Map as Table, Source, Value as Entry, ValueKind};
use serde_json::{Map, Value};

use super::{DROP_INS, MAPS, Whose};
use crate::config::ConfigError;

/// A layer of the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer(Table<String, Entry>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table<String, Entry>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

pub(super) fn layer(nowd: &Map<String, Value>) -> Result<Layer, ConfigError> {
    let own = Whose::Own;
    if nowd.contains_key("state_dir") {
        let message = "`nowd.state_dir`: the recipe gives it on the command line (`--state-dir`), so that it \
                       belongs to this component; leave it out";
        return Err(own.error(message));
    }
    // The reader of layers would take them for paths.
    if let Some(key) = nowd.keys().find(|key| key.contains(['.', '[', ']'])) {
        if [MAPS, DROP_INS].contains(&key.as_str()) {
            return Err(own.error(format!("`nowd`: `{key}` belongs beside `nowd`, not into it")));
        }
        let message = format!(
            "`nowd`: {key:?} is no key; write keys inside one another, {{\"link\": {{\"endpoint\": ..}}}}"
        );
        return Err(own.error(message));
    }
    let table = |object: &Map<String, Value>| {
        object.iter().filter_map(|(key, value)| Some((key.clone(), entry(value)?))).collect()
    };
    Ok(Layer(table(nowd)))
}

/// Null is what was taken away: a merge cannot do that.
fn entry(value: &Value) -> Option<Entry> {
    let kind = match value {
        Value::Null => return None,
        Value::Bool(value) => ValueKind::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::Float(number),
            (None, None) => ValueKind::String(number.to_string()),
        },
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(items) => ValueKind::Array(items.iter().filter_map(entry).collect()),
        Value::Object(object) => ValueKind::Table(
            object.iter().filter_map(|(key, value)| Some((key.clone(), entry(value)?))).collect(),
        ),
    };
    Some(Entry::new(None, kind))
}
