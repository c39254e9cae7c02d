//! Words for people: what was probably meant, and the messages of the TOML reader in the words of the other ones.

/// The candidate that is spelt most like `word`, if it is near enough to have been meant.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = word.to_lowercase();
    let near = candidates.into_iter().map(|candidate| {
        // Another case is no mistake worth counting.
        (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate)
    });
    let longest = 1 + word.chars().count() / 4;
    near.min().filter(|(distance, _)| *distance <= longest.min(3)).map(|(_, candidate)| candidate)
}

/// `; did you mean ...?`, where something is near, else what there is.
pub fn hint<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> String {
    if let Some(candidate) = nearest(word, candidates.clone()) {
        return format!("; did you mean `{candidate}`?");
    }
    let all: Vec<&str> = candidates.into_iter().collect();
    if all.is_empty() { String::new() } else { format!("; there are {}", all.join(", ")) }
}

/// A message of the TOML reader on one line, with the nearest right name where a name is wrong.
#[must_use]
pub fn plain(message: &str) -> String {
    let line = message.trim().replace('\n', ", ");
    let named = |prefix: &str| {
        let rest = line.strip_prefix(prefix)?.strip_prefix('`')?;
        rest.split_once('`')
    };
    // Between backquotes; the reader says `expected one of ...`, or `there are no fields`.
    let known = |rest: &str| rest.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    if let Some((name, rest)) = named("unknown field ") {
        return format!("unknown key `{name}`{}", hint(name, known(rest).iter().map(String::as_str)));
    }
    if let Some((name, rest)) = named("unknown variant ") {
        return format!("{name:?} is not known{}", hint(name, known(rest).iter().map(String::as_str)));
    }
    if let Some((name, "")) = named("missing field ") {
        return format!("the key `{name}` is missing");
    }
    if line.starts_with("missing escaped value") {
        return format!(
            "{line}; between double quotes a backslash begins an escape: write patterns between single quotes"
        );
    }
    match line.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => {
            format!("{found}, expected {}", kind(expected))
        }
        Some(_) | None => line,
    }
}

/// What the reader calls a kind of value, in the words of TOML.
fn kind(expected: &str) -> &str {
    match expected {
        "a map" => "a table",
        "a sequence" => "a list, such as [\"a\", \"b\"]",
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "u32" | "u64" => "a whole number, without quotes",
        "i64" => "a whole number",
        "f64" => "a number",
        structure if structure.starts_with("struct ") => "a table",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_near() {
        let keys = ["timeout", "max_timeout", "allow", "reply"];
        for (word, expected) in [
            ("timout", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("max-timeout", Some("max_timeout")),
            ("relpy", Some("reply")),
            ("x", None),
            ("frobnicate", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }

    #[test]
    fn messages_of_the_reader() {
        for (message, expected) in [
            (
                "unknown field `prot`, expected `port` or `framing`",
                "unknown key `prot`; did you mean `port`?",
            ),
            ("unknown field `x`, expected one of `a1`, `b2`, `c3`", "unknown key `x`; there are a1, b2, c3"),
            ("unknown field `x`, there are no fields", "unknown key `x`"),
            (
                "unknown variant `hardwar`, expected `none` or `hardware`",
                "\"hardwar\" is not known; did you mean `hardware`?",
            ),
            ("missing field `port`", "the key `port` is missing"),
            (
                "invalid type: integer `2`, expected a string\n",
                "invalid type: integer `2`, expected a text in quotes",
            ),
        ] {
            assert_eq!(plain(message), expected);
        }
    }
}
