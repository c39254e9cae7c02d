//! Texts with parameters in them.

use std::time::Duration;

use nowd_plugin::template::Template;
use nowd_plugin::{BootInstant, Call, Deadline};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::sentence;

/// `data` is the text.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(e) => return sentence::check(&e),
    };
    let names: Vec<&str> = template.params().collect();
    assert_eq!(template.check_declared(names.iter().copied()), Ok(()));
    if let Err(e) = template.check_declared(std::iter::empty()) {
        sentence::check(&e);
    }
    // Each parameter stands for itself, so that what comes out is the text again, but for `$$` and the call's fields.
    let params: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), format!("${name}").into())).collect();
    let deadline = Deadline::new(BootInstant::from_micros(42), Duration::from_secs(1));
    let call = Call::new(Uuid::nil(), "m", Value::Object(params), deadline);
    let rendered = template.text(&call);
    // What the kernel's clock will show at the deadline is another number at each look.
    if text.contains("$call.not_after") {
        return;
    }
    if !text.contains("$$") {
        assert_eq!(rendered, text.replace("$call.id", &Uuid::nil().to_string()));
    }
    let value = template.value(&call);
    assert_eq!(value.as_str().map_or_else(|| value.to_string(), str::to_owned), rendered);
}
