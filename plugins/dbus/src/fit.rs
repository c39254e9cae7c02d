//! Whether a map fits what its service says of itself, in sentences that lead to the fix. Pure.

use nowd_plugin::CallError;
use nowd_plugin::map::MapError;
use nowd_plugin::params::Params;
use nowd_plugin::words::nearest;
use zbus::Signature;

use crate::convert;
use crate::done::Done;
use crate::introspect::{Description, Interface};
use crate::json::clip;
use crate::map::{Action, Mapped, counted};
use crate::types::{MAX_LEN, holds_fd, joined};

/// The interfaces that every object has; many do not name them.
const STANDARD: &str = "org.freedesktop.DBus";

/// How many names are told where none is near.
const MAX_NAMES: usize = 8;

/// A map does not fit its service.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// What the service would say.
    code: &'static str,
    /// What is wrong, and where in the map.
    pub(crate) error: MapError,
}

impl From<Misfit> for CallError {
    fn from(misfit: Misfit) -> Self {
        Self::new(format!("org.freedesktop.DBus.Error.{}", misfit.code), misfit.error.to_string())
    }
}

/// The types of what a method sends, by the description of its object.
pub(crate) fn types(mapped: &Mapped, description: &Description) -> Result<Vec<Signature>, Misfit> {
    let (key, member) = mapped.action.key_and_member();
    let misfit = |code: &'static str, why: String| Misfit { code, error: mapped.origin.at(key).error(why) };
    let object = object(mapped, &mapped.target.path);
    let interface = interface(description, &mapped.target.interface)
        .map_err(|why| Misfit { code: "UnknownInterface", error: no_interface(mapped, &object, &why) })?;
    let found = match &mapped.action {
        Action::Call { .. } => {
            let found = interface.methods.get(member).ok_or_else(|| {
                let hint = hint(member, interface.methods.keys());
                misfit("UnknownMethod", format!("{object} has no method {member:?}{hint}"))
            })?;
            let (takes, sent) = (found.len(), mapped.action.values().len());
            if takes != sent {
                let types = clip(&joined(found), 100);
                let types = if takes == 0 { String::new() } else { format!(" ({types:?})") };
                let why =
                    format!("{object}: {member} takes {}{types}, and the map sends {sent}", counted(takes));
                return Err(misfit("InvalidArgs", why));
            }
            found.clone()
        }
        Action::Get { .. } | Action::Set { .. } => {
            let found = interface.properties.get(member).ok_or_else(|| {
                let hint = hint(member, interface.properties.keys());
                misfit("UnknownProperty", format!("{object} has no property {member:?}{hint}"))
            })?;
            match mapped.action {
                Action::Set { .. } if !found.writable => {
                    let why = format!("{object}: the property {member:?} can only be read");
                    return Err(misfit("PropertyReadOnly", why));
                }
                Action::Set { .. } => vec![found.ty.clone()],
                Action::Get { .. } | Action::Call { .. } if !found.readable => {
                    let why = format!("{object}: the property {member:?} can only be written");
                    return Err(misfit("UnknownProperty", why));
                }
                Action::Get { .. } | Action::Call { .. } => Vec::new(),
            }
        }
    };
    if joined(&found).len() > MAX_LEN {
        let why = format!("{object}: what {member} takes has a signature longer than {MAX_LEN} characters");
        return Err(misfit("NotSupported", why));
    }
    if found.iter().any(holds_fd) {
        let types = clip(&joined(&found), 100);
        let why =
            format!("{object}: {member} takes a file descriptor ({types:?}), which cannot be sent from JSON");
        return Err(misfit("NotSupported", why));
    }
    Ok(found)
}

/// What is wrong with a method by the description of its object, which is at its `path`.
pub(crate) fn complaints(mapped: &Mapped, description: &Description) -> Vec<MapError> {
    let silent = !description.interfaces.keys().any(|name| !name.starts_with(STANDARD));
    if mapped.signature.is_some() && silent && !description.interfaces.contains_key(&mapped.target.interface)
    {
        return Vec::new();
    }
    let told = match types(mapped, description) {
        Ok(told) => told,
        Err(misfit) => return vec![misfit.error],
    };
    let action = &mapped.action;
    if let Some(declared) = &mapped.signature {
        if agree(declared, &told) {
            return Vec::new();
        }
        let (_, member) = action.key_and_member();
        let [declared, told] = [declared, &told].map(|types| clip(&joined(types), 100));
        let object = object(mapped, &mapped.target.path);
        let why = format!("`signature = {declared:?}`, but {object} says that {member} takes {told:?}");
        return vec![mapped.origin.at("signature").error(why)];
    }
    let (mut wrong, mut derived) = (Vec::new(), Vec::new());
    for (index, (value, signature)) in action.values().iter().zip(&told).enumerate() {
        let (place, path) = (action.place(index), action.path(index));
        if let Some(Err(e)) = value.literal().map(|literal| convert::to_dbus(&literal, signature, &place)) {
            wrong.push(mapped.origin.at(&path).error(e));
        }
        value.derive(signature, &place, &path, &mut derived);
    }
    if let Err(e) = Params::derive(mapped.method.params.as_ref(), &derived) {
        wrong.push(mapped.origin.at(&e.path).error(&e));
    }
    wrong
}

/// What is wrong with `done` by the description of the object that sends its signal, which is at `path`.
pub(crate) fn done_complaint(
    mapped: &Mapped,
    done: &Done,
    path: &str,
    description: &Description,
) -> Option<MapError> {
    let silent = !description.interfaces.keys().any(|name| !name.starts_with(STANDARD));
    if silent || done.interface.starts_with(STANDARD) {
        return None;
    }
    let object = object(mapped, path);
    let interface = match interface(description, &done.interface) {
        Ok(interface) => interface,
        Err(why) if done.interface == mapped.target.interface => {
            return Some(no_interface(mapped, &object, &why));
        }
        Err(why) => return Some(mapped.origin.at("done.interface").error(format!("{object} {why}"))),
    };
    let signal = &done.signal;
    let Some(values) = interface.signals.get(signal) else {
        return no_signal(mapped, done, path, description);
    };
    let lists = [("done.match", &done.values), ("done.success", &done.success)];
    lists.into_iter().find(|(_, list)| list.len() > values.len()).map(|(key, list)| {
        let (carries, names) = (counted(values.len()), counted(list.len()));
        let why = format!("{object}: the signal {signal:?} carries {carries}, and `{key}` is of {names}");
        mapped.origin.at(key).error(why)
    })
}

/// The signal of `done` is not among those that the object at `path` tells of. Many tell of none, and send some.
pub(crate) fn no_signal(
    mapped: &Mapped,
    done: &Done,
    path: &str,
    description: &Description,
) -> Option<MapError> {
    let signals = &description.interfaces.get(&done.interface)?.signals;
    let accused = !done.interface.starts_with(STANDARD) && !signals.is_empty();
    (accused && !signals.contains_key(&done.signal)).then(|| {
        let (object, hint) = (object(mapped, path), hint(&done.signal, signals.keys()));
        mapped.origin.at("done.signal").error(format!("{object} has no signal {:?}{hint}", done.signal))
    })
}

/// Whether what a map declares is what an object says that it takes. A value of any type is no contradiction.
fn agree(declared: &[Signature], told: &[Signature]) -> bool {
    declared.len() == told.len()
        && declared
            .iter()
            .zip(told)
            .all(|(declared, told)| *told == Signature::Variant || declared.to_string() == told.to_string())
}

/// An object that does not describe itself, where it has to, or is not there.
pub(crate) fn silence(mapped: &Mapped, why: &str, is_there: bool) -> Option<MapError> {
    if mapped.signature.is_some() || matches!(mapped.action, Action::Get { .. }) {
        return None;
    }
    if !is_there {
        let mut error = no_object(mapped);
        error.message.push_str(", or declare `signature` if it comes later");
        return Some(error);
    }
    let object = object(mapped, &mapped.target.path);
    let (key, member) = mapped.action.key_and_member();
    let why = format!("what {member} takes is not known, since {object} {why}; declare `signature`");
    Some(mapped.origin.at(key).error(why))
}

/// The path is the file's.
pub(crate) fn no_object(mapped: &Mapped) -> MapError {
    let object = object(mapped, &mapped.target.path);
    mapped.backend.at("path").error(format!("{object} is not there; correct `path`"))
}

/// The interface is the file's.
fn no_interface(mapped: &Mapped, object: &str, why: &str) -> MapError {
    mapped.backend.at("interface").error(format!("{object} {why}"))
}

fn object(mapped: &Mapped, path: &str) -> String {
    format!("{} at {path}", mapped.target.destination)
}

fn interface<'d>(description: &'d Description, name: &str) -> Result<&'d Interface, String> {
    description.interfaces.get(name).ok_or_else(|| {
        let others = description.interfaces.keys().filter(|other| !other.starts_with(STANDARD));
        format!("has no interface {name:?}{}", hint(name, others))
    })
}

/// `; did you mean ...?`, or what there is.
fn hint<'d>(word: &str, names: impl Iterator<Item = &'d String> + Clone) -> String {
    if let Some(nearest) = nearest(word, names.clone().map(String::as_str)) {
        return format!("; did you mean {:?}?", clip(nearest, 100));
    }
    let some: Vec<String> = names.clone().take(MAX_NAMES).map(|name| clip(name, 100)).collect();
    match (some.is_empty(), names.count().saturating_sub(some.len())) {
        (true, _) => "; it has none".into(),
        (false, 0) => format!("; there are {}", some.join(", ")),
        (false, more) => format!("; there are {} and {more} more", some.join(", ")),
    }
}
