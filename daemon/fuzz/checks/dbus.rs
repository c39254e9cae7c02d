//! JSON to D-Bus values by a signature, through a message, and back. Included where `crate::convert` is the D-Bus plugin's.

use serde_json::Value;
use zbus::message::Message;
use zbus::{Signature, Structure};

use super::sentence;
use crate::convert::{body_to_json, holds_fd, parse_signature, response, to_dbus};

/// `data` is a signature, NUL, a JSON array of as many values.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (Some(signature), Some(values)) = (parts.next(), parts.next()) else { return };
    let Ok(signature) = std::str::from_utf8(signature) else { return };
    let types = match parse_signature(signature) {
        Ok(types) => types,
        Err(e) => return sentence::check(&e),
    };
    assert!(!types.iter().any(holds_fd));
    let Ok(values) = serde_json::from_slice::<Vec<Value>>(values) else { return };
    if let Some(once) = through(&types, &values) {
        // What a service could have said is understood, and is the same when it is said again, but for types that a
        // variant takes by its content.
        assert_eq!(once.len(), values.len());
        if !signature.contains('v')
            && let Some(twice) = through(&types, &once)
        {
            assert_eq!(twice, once);
        }
        drop(response(once));
    }
}

fn through(types: &[Signature], values: &[Value]) -> Option<Vec<Value>> {
    if types.len() != values.len() || types.is_empty() {
        return None;
    }
    let mut structure = Structure::builder();
    for (signature, value) in types.iter().zip(values) {
        match to_dbus(value, signature, "argument 1") {
            Ok(value) => structure = structure.append_field(value),
            Err(e) => {
                sentence::check(&e);
                return None;
            }
        }
    }
    let message = Message::method_call("/", "M").build(&structure.build().ok()?).ok()?;
    let body = body_to_json(&message.body()).unwrap();
    // One structure and its fields side by side cannot be told apart.
    Some(if types.len() == 1 && body.len() != 1 { vec![Value::Array(body)] } else { body })
}
