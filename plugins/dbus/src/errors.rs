//! What a map says of the errors of its service: which mean that nothing was done, and what others mean. Pure.

use std::collections::BTreeMap;

use nowd_plugin::Outcome;
use nowd_plugin::map::{MapError, MapOrigin};
use nowd_plugin::words::nearest;
use zbus::names::ErrorName;

use crate::json::clip;

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The service did nothing.
    Refused,
    /// This is what is known.
    Failed(Outcome),
}

/// The errors that a map names, alone or as a whole family: `com.example.Error.*`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errors(BTreeMap<String, Meaning>);

impl Errors {
    /// Reads `refused` and `failed` of a method.
    pub(crate) fn read(
        origin: &MapOrigin,
        refused: &[String],
        failed: &BTreeMap<String, String>,
    ) -> Result<Self, MapError> {
        let mut read = BTreeMap::new();
        for (index, name) in refused.iter().enumerate() {
            let place = origin.at(&format!("refused[{index}]"));
            check_name(&place, "refused", name)?;
            read.insert(name.clone(), Meaning::Refused);
        }
        for (name, outcome) in failed {
            let place = origin.at("failed");
            check_name(&place, "failed", name)?;
            let outcome = match outcome.as_str() {
                "executed" => Outcome::Executed,
                "not_executed" => Outcome::NotExecuted,
                "unknown" => Outcome::Unknown,
                other => {
                    let hint = match nearest(other, ["executed", "not_executed", "unknown"]) {
                        Some(nearest) => format!("did you mean {nearest:?}?"),
                        None => "there are \"executed\", \"not_executed\" and \"unknown\"".into(),
                    };
                    let other = clip(other, 40);
                    return Err(place.error(format!("`failed`: {other:?} is not an outcome; {hint}")));
                }
            };
            if read.insert(name.clone(), Meaning::Failed(outcome)).is_some() {
                return Err(place.error(format!("{name:?} stands in `refused` too; choose one of them")));
            }
        }
        Ok(Self(read))
    }

    /// What the map says of an error; its own name goes before its family, and a narrow family before a wide one.
    pub(crate) fn meaning(&self, name: &str) -> Option<Meaning> {
        if let Some(meaning) = self.0.get(name) {
            return Some(*meaning);
        }
        let mut family = name;
        while let Some((wider, _)) = family.rsplit_once('.') {
            if let Some(meaning) = self.0.get(&format!("{wider}.*")) {
                return Some(*meaning);
            }
            family = wider;
        }
        None
    }

    /// What the map says, in the order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Meaning)> {
        self.0.iter().map(|(name, meaning)| (name.as_str(), *meaning))
    }
}

fn check_name(place: &MapOrigin, key: &str, name: &str) -> Result<(), MapError> {
    // A family is what has one element more.
    let whole = name.strip_suffix(".*").map_or_else(|| name.to_owned(), |family| format!("{family}.Any"));
    ErrorName::try_from(whole.as_str()).map(|_| ()).map_err(|_| {
        place.error(format!(
            "`{key}`: {:?} is not a D-Bus error name, such as \"com.example.Error.Interlock\" or \"com.example.Error.*\"",
            clip(name, 100)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_name_counts() {
        let failed = [("com.example.*", "executed"), ("com.example.Error.Jam", "unknown")];
        let failed = failed.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).into();
        let source = nowd_plugin::map::MapSource { file: "m.toml".into(), text: String::new() };
        let origin = MapOrigin::start(&source);
        let errors = Errors::read(&origin, &["com.example.Error.*".into()], &failed).unwrap();
        for (name, expected) in [
            ("com.example.Error.Jam", Some(Meaning::Failed(Outcome::Unknown))),
            ("com.example.Error.Other", Some(Meaning::Refused)),
            ("com.example.Error.Other.More", Some(Meaning::Refused)),
            ("com.example.Error", Some(Meaning::Failed(Outcome::Executed))),
            ("com.example", None),
            ("com.examples.Error", None),
            ("", None),
        ] {
            assert_eq!(errors.meaning(name), expected, "{name}");
        }
    }
}
