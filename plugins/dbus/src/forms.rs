//! The keys of a map as they are read: what is of another kind than it must be gets a sentence with an example. Pure.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::done::DoneKeys;
use crate::json::clip;

/// One reader for each key, and what is said of the key where the reader of values finds something else.
macro_rules! forms {
    ($($key:ident: $kind:ty = $form:literal,)*) => {
        $(pub(crate) fn $key<'de, D: Deserializer<'de>>(reader: D) -> Result<$kind, D::Error> {
            read(reader, $form)
        })*
    };
}

forms! {
    bus: String = r#"`bus` must be a text, such as `bus = "system"`"#,
    destination: String = r#"`destination` must be a text, such as `destination = "com.example.Window1"`"#,
    path: String = r#"`path` must be a text, such as `path = "/com/example/window"`"#,
    interface: String = r#"`interface` must be a text, such as `interface = "com.example.Window1"`"#,
    call: Option<String> = r#"`call` must be a text, such as `call = "MoveTo"`"#,
    get: Option<String> = r#"`get` must be a text, such as `get = "Position"`"#,
    set: Option<String> = r#"`set` must be a text, such as `set = "Position"`"#,
    args: Option<Vec<toml::Value>> = r#"`args` must be an array, such as `args = ["$percent"]`"#,
    signature: Option<String> = r#"`signature` must be a text, such as `signature = "us"`"#,
    refused: Vec<String> = r#"`refused` must be an array of texts, such as `refused = ["com.example.Error.Interlock"]`"#,
    failed: BTreeMap<String, String> = r#"`failed` must be a table of texts, such as `failed = { "com.example.Error.Jammed" = "executed" }`"#,
    done: Option<DoneKeys> = r#"`done` must be a table, such as `done = { signal = "Moved" }`"#,
    done_signal: String = r#"`done.signal` must be a text, such as `signal = "Moved"`"#,
    done_interface: Option<String> = r#"`done.interface` must be a text, such as `interface = "com.example.Window1"`"#,
    done_path: Option<String> = r#"`done.path` must be a text, such as `path = "/com/example/window"`"#,
    done_match: Vec<toml::Value> = r#"`done.match` must be an array, such as `match = ["$call.id"]`"#,
    done_success: Vec<toml::Value> = r#"`done.success` must be an array, such as `success = ["$*", "done"]`"#,
}

fn read<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D, form: &str) -> Result<T, D::Error> {
    T::deserialize(reader).map_err(|error| match found(&error.to_string()) {
        Some(found) => D::Error::custom(format!("{form}, not {found}")),
        None => error,
    })
}

/// What stands there, by the words of the reader of values; `None` if it complains of something else.
fn found(error: &str) -> Option<String> {
    let (found, _) = error.strip_prefix("invalid type: ")?.split_once(", expected")?;
    Some(match found {
        "map" => "a table".into(),
        "sequence" => "an array".into(),
        value => clip(&format!("the {}", value.replace('`', "")), 100),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_is_told() {
        for (error, expected) in [
            ("invalid type: string \"Dosed\", expected struct DoneKeys\n", Some("the string \"Dosed\"")),
            ("invalid type: integer `5`, expected a string", Some("the integer 5")),
            ("invalid type: map, expected a sequence", Some("a table")),
            ("invalid type: sequence, expected a map", Some("an array")),
            ("missing field `signal`", None),
        ] {
            assert_eq!(found(error).as_deref(), expected, "{error}");
        }
    }
}
