//! Hex frames with typed fields: the text of a map, and bytes that a device sends. Included where `crate::content` and the
//! modules it needs are the serial plugin's.

use std::time::Duration;

use nowd_plugin::{BootInstant, Call, Deadline};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::content::hex::{HexPattern, HexTemplate};
use crate::content::value::Values;

/// The first line is the text of a frame, the second JSON for `values`, the rest a frame of the device.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (Some(text), Some(values), Some(frame)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let values: Option<Value> = serde_json::from_slice(values).ok();
    let values = match Values::parse(values.as_ref()) {
        Ok(values) => values,
        Err(e) => return check_sentence(&e.to_string()),
    };
    let pattern = match HexPattern::parse(text) {
        Ok(pattern) => pattern,
        Err(e) => return check_sentence(&e),
    };
    assert_eq!(HexPattern::parse(&pattern.to_string()).as_ref(), Ok(&pattern), "not the same when written");
    let Some(captures) = pattern.captures(frame, &Values::default()) else { return };
    drop(pattern.captures(frame, &values));
    let (Ok(captures), Ok(template)) = (captures, HexTemplate::parse(text)) else { return };
    // What was taken out of a frame makes the same frame again, but for what fills up a text, and other ways to say a
    // number that is none.
    let bytes =
        render(&template, Value::Object(captures.clone()), &Values::default()).expect("it was a frame's");
    assert_eq!(bytes.len(), frame.len());
    assert_eq!(pattern.captures(&bytes, &Values::default()), Some(Ok(captures)));
    // Whatever the parameters are, the length is that of the fields, or it is refused.
    for value in [json!(1), json!(-1.5), json!("AAAA"), json!(true), Value::Null] {
        let params = template.fields().map(|(name, _)| (name.to_owned(), value.clone())).collect();
        match render(&template, Value::Object(params), &values) {
            Ok(bytes) => assert!(template.len().is_none_or(|len| len == bytes.len())),
            Err(e) => check_sentence(&e),
        }
    }
}

fn render(template: &HexTemplate, params: Value, values: &Values) -> Result<Vec<u8>, String> {
    let deadline = Deadline::new(BootInstant::from_micros(42), Duration::from_secs(1));
    template.render(&Call::new(Uuid::nil(), "m", params, deadline), values).map_err(|(_, e)| e)
}

fn check_sentence(message: &str) {
    assert!(
        !message.is_empty() && !message.ends_with('.') && !message.contains(char::is_control),
        "{message:?}"
    );
}
