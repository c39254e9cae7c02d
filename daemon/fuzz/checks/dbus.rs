//! JSON to D-Bus values by a signature, through a message, and back; typed variants; places in replies. Included where
//! `crate::convert`, `crate::done`, `crate::json` and `crate::types` are the D-Bus plugin's.

use serde_json::Value;
use zbus::message::Message;
use zbus::{Signature, Structure};

use super::sentence;
use crate::convert::{Given, to_dbus};
use crate::done::ReplyPath;
use crate::json::{body_to_json, response, same};
use crate::types::{describe, holds_fd, parse_signature, parse_type, schema};

/// `data` is a signature, NUL, a JSON array of as many values; optionally NUL and a place in the reply.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (Some(signature), Some(values)) = (parts.next(), parts.next()) else { return };
    let Ok(signature) = std::str::from_utf8(signature) else { return };
    let types = match parse_signature(signature) {
        Ok(types) => types,
        Err(e) => return sentence::check(&e),
    };
    assert!(!types.iter().any(holds_fd));
    for ty in &types {
        sentence::check(&describe(ty));
        assert!(schema(ty).is_object());
        assert_eq!(parse_type(&ty.to_string()).as_ref(), Ok(ty));
    }
    let Ok(values) = serde_json::from_slice::<Vec<Value>>(values) else { return };
    let given: Vec<Given> = values.iter().cloned().map(Given::from).collect();
    if let Some(once) = through(&types, &given) {
        // What a service could have said is understood, and is the same when it is said again, but for types that a
        // variant takes by its content.
        let again: Vec<Given> = once.iter().cloned().map(Given::from).collect();
        if !signature.contains('v')
            && let Some(twice) = through(&types, &again)
        {
            assert_eq!(twice, once);
        }
        // In variants whose types are said, the same values are the same.
        let typed: Vec<Given> = types.iter().zip(given).map(typed).collect();
        if let Some(in_variants) = through(&vec![Signature::Variant; types.len()], &typed) {
            assert_eq!(in_variants, once);
        }
        let reply = response(once);
        assert!(same(&reply, &reply));
        if let Some(place) = parts.next() {
            check_place(place, &reply);
        }
    }
}

fn typed((signature, value): (&Signature, Given)) -> Given {
    Given::Typed { signature: signature.clone(), value: Box::new(value) }
}

fn check_place(place: &[u8], reply: &Value) {
    let Ok(place) = std::str::from_utf8(place) else { return };
    match ReplyPath::parse(place) {
        Ok(path) => {
            assert_eq!(ReplyPath::parse(&path.to_string()), Ok(path.clone()));
            drop(path.find(reply).cloned());
        }
        Err(e) => sentence::check(&e),
    }
}

fn through(types: &[Signature], values: &[Given]) -> Option<Vec<Value>> {
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
    assert_eq!(body.len(), types.len());
    Some(body)
}
