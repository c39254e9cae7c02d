//! Names in paths, each written in one way, so that what was authorised on the path is what is called.
//!
//! Whoever judged the path before us, such as IAM, compared its text. A name that can be written in many ways could be
//! one thing there and another one here, so only the plain spelling is taken: unreserved characters as they are, everything
//! else percent-encoded once, in upper case.

use nowd_protocol::Level;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::query::shown;

/// What a name's plain spelling encodes.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What may stand as it is, too: signers and proxies differ in whether they encode these. `;` begins parameters for some
/// and `+` is a space for some, so both are encoded always.
const EITHER_WAY: &[u8] = b"!$&'()*,=:@";

/// A name as the plain spelling has it.
pub(super) fn encode(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

/// The path's segment at `index`, from 0, as the name of a `what`.
pub(super) fn level(path: &str, index: usize, what: &str) -> Result<Level, String> {
    let (raw, text) = decoded(path, index)?;
    let level = name(what, text)?;
    check_spelling(raw, level.as_str(), what)?;
    Ok(level)
}

/// The path's segment at `index`, as the text of a `what`.
pub(super) fn segment(path: &str, index: usize, what: &str) -> Result<String, String> {
    let (raw, text) = decoded(path, index)?;
    check_spelling(raw, &text, what)?;
    Ok(text)
}

/// A name that will stand in topics, and in paths.
pub(super) fn name(what: &str, text: String) -> Result<Level, String> {
    // Somewhere on the way somebody would take them for steps in a path.
    if text == "." || text.contains("..") {
        return Err(format!("the {what} cannot be used: it is `.` or holds `..`"));
    }
    Level::new(text).map_err(|error| format!("the {what} cannot be used: {error}"))
}

fn decoded(path: &str, index: usize) -> Result<(&str, String), String> {
    let raw = path.split('/').skip(1).nth(index).unwrap_or_default();
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => Ok((raw, text.into_owned())),
        Err(_) => Err("the path is not UTF-8 after percent-decoding".to_owned()),
    }
}

fn check_spelling(raw: &str, text: &str, what: &str) -> Result<(), String> {
    if is_plain(raw) {
        return Ok(());
    }
    Err(format!(
        "the path spells the {what} in an unusual way; a name is percent-encoded once, in upper case, and where it has to \
         be: {}",
        shown(&encode(text))
    ))
}

fn is_plain(raw: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'%' => encoded(bytes.next(), bytes.next()).is_some_and(|byte| !unreserved(byte)),
            other => unreserved(other) || EITHER_WAY.contains(&other),
        };
        if !plain {
            return false;
        }
    }
    true
}

/// The byte of two hexadecimal digits in upper case.
fn encoded(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(high?)? * 16 + digit(low?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_spelling_each() {
        for (raw, found) in [
            ("g", Some("g")),
            ("g%201", Some("g 1")),
            ("a:b@c", Some("a:b@c")),
            ("a%3Ab%40c", Some("a:b@c")),
            ("%C3%BC", Some("ü")),
            ("100%25", Some("100%")),
            ("%2525", Some("%25")),
            ("%67", None),
            ("a%3ab", None),
            ("%c3%bc", None),
            ("ü", None),
            ("a;v=1", None),
            ("a+b", None),
            ("a%", None),
            ("a%2", None),
            ("a%zz", None),
            ("a%2e", None),
            ("a%2E", None),
            ("%C0%AE", None),
            ("a\"b", None),
        ] {
            let path = format!("/things/{raw}");
            assert_eq!(segment(&path, 1, "target").ok().as_deref(), found, "{raw}");
        }
        let error = segment("/things/%67%61", 1, "target").unwrap_err();
        assert!(error.ends_with("where it has to be: \"ga\""), "{error}");
    }

    #[test]
    fn steps_in_a_path_are_no_names() {
        for text in [".", "..", "...", "a..b", "../a"] {
            assert!(name("target", text.into()).unwrap_err().contains("`..`"), "{text}");
        }
        assert!(name("target", "a.b".into()).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_plain_and_comes_back(text in "\\PC{1,40}") {
            let path = format!("/things/{}", encode(&text));
            prop_assert_eq!(segment(&path, 1, "target"), Ok(text));
        }

        /// Whatever is taken differs from the plain spelling in nothing but what may stand either way.
        #[test]
        fn what_is_taken_has_one_spelling(raw in "[a-c%0-9A-Fa-f;:+.~@ü]{0,12}") {
            if let Ok(text) = segment(&format!("/things/{raw}"), 1, "target") {
                let mut plain = encode(&text);
                for byte in EITHER_WAY.iter().map(|byte| char::from(*byte)) {
                    let mut found = raw.match_indices(byte).count();
                    while found > 0 {
                        plain = plain.replacen(&encode(&byte.to_string()), &byte.to_string(), 1);
                        found -= 1;
                    }
                }
                prop_assert_eq!(plain.len(), raw.len());
            }
        }
    }
}
