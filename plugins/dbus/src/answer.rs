//! What a reply means for the physical world. Pure.
//!
//! An error of the *bus itself* that says that a call was not delivered is `unavailable`. An error of the *service*
//! that says that it has no such member is `refused`, since no method ran. Whatever else a service calls wrong, bad
//! arguments and denied access among it, may have been found out half-way: unknown, unless the map says under `refused` or
//! `failed` what the name means; only the service's own word counts for that. Reading a property moves nothing, so its
//! errors are `failed` with `not_executed`.

use nowd_plugin::{CallError, Completion, Outcome};
use zbus::message::{Message, Type};

use crate::bus::{BUS_NAME, MAX_BODY_LEN, nobody_has};
use crate::errors::Meaning;
use crate::json::{body_to_json, clip, response};
use crate::map::{Action, Mapped};

/// The longest text of a service's error that is handed on, in characters.
const MAX_TEXT: usize = 300;

/// Errors of the bus itself that say: the call was not delivered.
const NOT_DELIVERED: &[&str] = &[
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.LimitsExceeded",
];

/// Of these, those that say: nobody has that name.
const NOBODY: &[&str] = &["org.freedesktop.DBus.Error.ServiceUnknown", NO_OWNER];

/// The bus's name of the error that nobody has a name.
pub(crate) const NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";

/// Errors of a service that say: there is no such method, so none ran.
const NO_SUCH_MEMBER: &[&str] = &[
    "org.freedesktop.DBus.Error.UnknownMethod",
    NO_OBJECT,
    "org.freedesktop.DBus.Error.UnknownInterface",
    "org.freedesktop.DBus.Error.UnknownProperty",
    "org.freedesktop.DBus.Error.PropertyReadOnly",
];

/// The name of the error that there is no such object.
pub(crate) const NO_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";

/// A reply's meaning.
pub(crate) fn completion(mapped: &Mapped, reply: &Message) -> Completion {
    if reply.message_type() != Type::Error {
        return success(reply);
    }
    let header = reply.header();
    let name = header.error_name().map_or("unnamed_error", |name| name.as_str());
    let error = CallError::new(clip(name, MAX_TEXT), text(mapped, reply));
    // The bus may be the service that is called; else what it says is about the delivery.
    let from_bus = mapped.target.destination != BUS_NAME
        && header.sender().is_some_and(|sender| sender.as_str() == BUS_NAME);
    if from_bus {
        return if NOT_DELIVERED.contains(&name) {
            Completion::Unavailable(not_delivered(mapped, error))
        } else {
            failed(mapped, error)
        };
    }
    match mapped.errors.meaning(name) {
        Some(Meaning::Refused) => Completion::Refused(error),
        Some(Meaning::Failed(outcome)) => Completion::Failed { outcome, error },
        None if NO_SUCH_MEMBER.contains(&name) => Completion::Refused(error),
        None => failed(mapped, error),
    }
}

/// The bus's word, with what to do.
fn not_delivered(mapped: &Mapped, mut error: CallError) -> CallError {
    let (name, bus) = (&mapped.target.destination, mapped.target.bus.called());
    if NOBODY.contains(&error.code.as_str()) {
        error.message = nobody_has(&mapped.target.bus, name, None);
    } else if error.code == "org.freedesktop.DBus.Error.AccessDenied" {
        let text = error.message;
        error.message = format!(
            "the policy of {bus} does not let the gateway call {name}; allow its user in a file of dbus-1/system.d ({text})"
        );
    }
    error
}

/// An error that does not say whether it acted.
pub(crate) fn failed(mapped: &Mapped, error: CallError) -> Completion {
    let outcome = match mapped.action {
        Action::Get { .. } => Outcome::NotExecuted,
        Action::Call { .. } | Action::Set { .. } => Outcome::Unknown,
    };
    Completion::Failed { outcome, error }
}

/// The call was executed, even if its response cannot be handed on.
fn success(reply: &Message) -> Completion {
    let body = reply.body();
    let unreadable = |message: &str| Completion::Failed {
        outcome: Outcome::Executed,
        error: CallError::new("bad_response", message),
    };
    if body.len() > MAX_BODY_LEN {
        return unreadable(&format!("it was done, but the response is longer than {MAX_BODY_LEN} bytes"));
    }
    match body_to_json(&body) {
        Ok(values) => Completion::Ok(response(values)),
        Err(_) => unreadable("it was done, but the response cannot be read"),
    }
}

/// The text of an error reply, by custom its first value; bounded, on one line.
fn text(mapped: &Mapped, reply: &Message) -> String {
    let body = reply.body();
    let text = if body.len() > MAX_BODY_LEN { None } else { body_to_json(&body).ok() }
        .and_then(|values| values.first().and_then(|value| value.as_str().map(|text| clip(text, MAX_TEXT))))
        .filter(|text| !text.trim().is_empty());
    text.unwrap_or_else(|| format!("{} answered with an error without a text", mapped.target.destination))
}
