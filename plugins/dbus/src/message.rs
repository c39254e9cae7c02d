//! The message of one call, whole, so that nothing but writing is left to do; and the same in words. Pure.

use nowd_plugin::{Call, CallError, Completion};
use zbus::message::Message;
use zbus::wire::StructureBuilder;
use zbus::{Signature, Structure, Variant};

use crate::bus::{MAX_BODY_LEN, call_message};
use crate::convert::{self, Given};
use crate::json::{clip, listed};
use crate::map::{Action, Mapped};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The longest value that is shown, in characters.
const MAX_SHOWN: usize = 2_000;

/// The longest line that is shown, in characters.
pub(crate) const MAX_LINE: usize = 4_000;

/// The message, with arguments of these types.
pub(crate) fn message(mapped: &Mapped, call: &Call, types: &[Signature]) -> Result<Message, Completion> {
    let mut values = Vec::new();
    for (index, (value, signature)) in mapped.action.values().iter().zip(types).enumerate() {
        let value = convert::to_dbus(&value.given(call), signature, &mapped.action.place(index));
        values.push(value.map_err(|e| invalid(e.to_string()))?);
    }
    let target = &mapped.target;
    let properties = |member| call_message(&target.destination, &target.path, PROPERTIES, member);
    let built = match &mapped.action {
        Action::Call { member, .. } => {
            let start = call_message(&target.destination, &target.path, &target.interface, member);
            if values.is_empty() { start.build(&()) } else { start.build(&structure(values)?) }
        }
        Action::Get { property } => properties("Get").build(&(&target.interface, property)),
        Action::Set { property, .. } => {
            let value = values.pop().ok_or_else(|| invalid("there is no value to write".into()))?;
            // A property of type `v` is a variant inside the one in which every property's value travels.
            let value = Variant::Variant(Box::new(value));
            let value = structure(vec![text(&target.interface), text(property), value])?;
            properties("Set").build(&value)
        }
    };
    let message = built.map_err(|e| invalid(clip(&format!("it cannot be sent: {e}"), 300)))?;
    if message.body().len() > MAX_BODY_LEN {
        return Err(invalid(format!("the arguments are longer than {MAX_BODY_LEN} bytes")));
    }
    Ok(message)
}

/// What is written for a call, in words; without the types, if they are not known.
pub(crate) fn words(mapped: &Mapped, call: &Call, types: Option<&[Signature]>) -> String {
    let given = mapped.action.values().iter().map(|value| value.given(call));
    let given: Vec<Given> = given.collect();
    clip(&line(mapped, &typed(&given, types)), MAX_LINE)
}

/// What is written for any call, in words, with its placeholders.
pub(crate) fn pattern(mapped: &Mapped) -> String {
    line(mapped, &typed(mapped.action.values(), mapped.signature.as_deref()))
}

fn line(mapped: &Mapped, values: &[String]) -> String {
    let target = &mapped.target;
    let (interface, path, bus) = (&target.interface, &target.path, target.bus.called());
    let service =
        if target.destination == *interface { String::new() } else { format!(" of {}", target.destination) };
    let sent = listed(values);
    match &mapped.action {
        Action::Call { member, .. } => {
            format!("calls       {interface}.{member}({sent}) at {path}{service} on {bus}")
        }
        Action::Get { property } => format!("reads       {interface}.{property} at {path}{service} on {bus}"),
        Action::Set { property, .. } => {
            format!("writes      {interface}.{property} = {sent} at {path}{service} on {bus}")
        }
    }
}

fn typed<T: std::fmt::Display>(values: &[T], types: Option<&[Signature]>) -> Vec<String> {
    let typed = |(index, value): (usize, &T)| {
        let value = clip(&value.to_string(), MAX_SHOWN);
        match types.and_then(|types| types.get(index)) {
            Some(signature) => format!("{signature} {value}"),
            None => value,
        }
    };
    values.iter().enumerate().map(typed).collect()
}

fn invalid(why: String) -> Completion {
    Completion::InvalidRequest(CallError::new("invalid_argument", why))
}

fn text(text: &str) -> Variant<'static> {
    Variant::Str(text.to_owned().into())
}

fn structure(values: Vec<Variant<'static>>) -> Result<Structure<'static>, Completion> {
    let start = Structure::builder();
    let whole = values.into_iter().fold(start, StructureBuilder::append_field);
    whole.build().map_err(|_| invalid("there is no argument".into()))
}
