//! One call, from its parameters to what is known in the end.

use std::sync::Arc;

use nowd_plugin::{Call, CallError, Completion};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{oneshot, watch};
use zbus::message::Message;
use zbus::names::UniqueName;
use zbus::wire::StructureBuilder;
use zbus::{Signature, Structure, Variant};

use crate::bus::{Bus, MAX_BODY_LEN, SendError, Wanted, Watch, call_message};
use crate::introspect::{IntrospectError, Types};
use crate::map::{Action, Mapped};
use crate::{answer, convert};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Runs a call. Ends when the service has answered, or is gone, or the bus is: not at the deadline.
pub(crate) async fn invoke(mapped: &Mapped, bus: &Bus, call: &Call) -> Completion {
    match try_invoke(mapped, bus, call).await {
        Ok(completion) | Err(completion) => completion,
    }
}

async fn try_invoke(mapped: &Mapped, bus: &Bus, call: &Call) -> Result<Completion, Completion> {
    if !bus.is_up() {
        return Err(not_sent(mapped, bus, SendError::Gone));
    }
    let message = match &mapped.signature {
        Some(types) => message(mapped, call, types)?,
        None => message(mapped, call, &types(mapped, bus, call).await?)?,
    };
    // Both before the call is sent: what they tell may come before its reply.
    let mut losses = bus.losses(&mapped.target.destination);
    let mut done = match wanted(mapped, call) {
        Some(wanted) => Some(bus.watch(wanted).ok_or_else(|| not_sent(mapped, bus, SendError::Gone))?),
        None => None,
    };
    // Checks the deadline directly before it writes.
    let reply = bus.send(&message, &call.deadline).await.map_err(|e| not_sent(mapped, bus, e))?;
    let reply = received(mapped, bus, reply, &mut losses).await?;
    match (answer::completion(mapped, &reply), &mut done) {
        (Completion::Ok(_), Some(done)) => {
            let header = reply.header();
            let owner = header.sender().map(UniqueName::as_str);
            Ok(finished(mapped, bus, call, done, owner, &mut losses).await)
        }
        (completion, _) => Ok(completion),
    }
}

/// The types of the arguments, asked of the service where the map does not tell. Nothing has acted yet: all that
/// goes wrong here is `not_executed`.
async fn types(mapped: &Mapped, bus: &Bus, call: &Call) -> Result<Vec<Signature>, Completion> {
    if let Action::Get { .. } = mapped.action {
        return Ok(Vec::new());
    }
    let target = &mapped.target;
    let key = (target.destination.clone(), target.path.clone(), target.interface.clone());
    let (known, epoch) = bus.types(&key);
    let types = if let Some(types) = known {
        types
    } else {
        let types = Arc::new(introspect(mapped, bus, call).await?);
        bus.learn(key, Arc::clone(&types), epoch);
        types
    };
    let found = types.of(&mapped.action).ok_or_else(|| {
        let (kind, name) = match &mapped.action {
            Action::Call { member, .. } => ("Method", member),
            Action::Get { property } | Action::Set { property, .. } => ("Property", property),
        };
        Completion::Refused(CallError::new(
            format!("org.freedesktop.DBus.Error.Unknown{kind}"),
            format!(
                "{} at {} describes no {name:?} in {}",
                target.destination, target.path, target.interface
            ),
        ))
    })?;
    let count = mapped.action.values().len();
    if found.len() != count {
        return Err(Completion::InvalidRequest(CallError::new(
            "invalid_argument",
            format!("{} takes {} arguments, and the map sends {count}", target.interface, found.len()),
        )));
    }
    Ok(found)
}

async fn introspect(mapped: &Mapped, bus: &Bus, call: &Call) -> Result<Types, Completion> {
    let target = &mapped.target;
    let introspectable = "org.freedesktop.DBus.Introspectable";
    let useless = |why: &str| {
        Completion::Unavailable(CallError::new(
            "no_signature",
            format!(
                "the types of {}'s arguments are not known, {why}; declare `signature`",
                target.destination
            ),
        ))
    };
    let message = call_message(&target.destination, &target.path, introspectable, "Introspect")
        .build(&())
        .map_err(|_| useless("since it cannot be asked"))?;
    let reply = bus.send(&message, &call.deadline).await.map_err(|e| not_sent(mapped, bus, e))?;
    let reply = tokio::select! {
        biased;
        reply = reply => reply.map_err(|_| not_sent(mapped, bus, SendError::Gone))?,
        () = call.deadline.passed() => {
            return Err(call.deadline.check().map_or_else(Completion::from, |()| useless("since it does not answer")));
        }
    };
    // The bus's word on an absent name is the same as for the call itself; so is the service's on an absent object.
    match answer::completion(mapped, &reply) {
        unavailable @ Completion::Unavailable(_) => return Err(unavailable),
        Completion::Ok(_) => {}
        Completion::Sent(_)
        | Completion::Failed { .. }
        | Completion::Refused(_)
        | Completion::Timeout(_)
        | Completion::Expired(_)
        | Completion::InvalidRequest(_)
        | Completion::Internal(_) => return Err(useless("since it does not describe itself")),
    }
    let body = reply.body();
    let xml: &str = body.deserialize().map_err(|_| useless("since it does not describe itself"))?;
    Types::parse(xml, &target.interface).map_err(|e: IntrospectError| useless(&format!("since {e}")))
}

/// The message for a call, whole, so that nothing but writing is left to do.
fn message(mapped: &Mapped, call: &Call, types: &[Signature]) -> Result<Message, Completion> {
    let invalid = |why: String| Completion::InvalidRequest(CallError::new("invalid_argument", why));
    let mut values = Vec::new();
    for (index, (value, signature)) in mapped.action.values().iter().zip(types).enumerate() {
        let place = format!("argument {}", index + 1);
        let value = convert::to_dbus(&value.value(call), signature, &place);
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
    let message = built.map_err(|e| invalid(convert::clip(&format!("it cannot be sent: {e}"), 300)))?;
    if message.body().len() > MAX_BODY_LEN {
        return Err(invalid(format!("the arguments are longer than {MAX_BODY_LEN} bytes")));
    }
    Ok(message)
}

fn text(text: &str) -> Variant<'static> {
    Variant::Str(text.to_owned().into())
}

fn structure(values: Vec<Variant<'static>>) -> Result<Structure<'static>, Completion> {
    let start = Structure::builder();
    let whole = values.into_iter().fold(start, StructureBuilder::append_field);
    whole
        .build()
        .map_err(|_| Completion::InvalidRequest(CallError::new("invalid_argument", "there is no argument")))
}

/// The signal that says that this call's work is done.
fn wanted(mapped: &Mapped, call: &Call) -> Option<Wanted> {
    mapped.done.as_ref().map(|done| Wanted {
        destination: mapped.target.destination.clone(),
        path: mapped.target.path.clone(),
        interface: done.interface.clone(),
        signal: done.signal.clone(),
        values: done.values.iter().map(|value| value.value(call)).collect(),
    })
}

/// Waits for the reply, or for the end of those who could give it.
async fn received(
    mapped: &Mapped,
    bus: &Bus,
    mut reply: oneshot::Receiver<Message>,
    losses: &mut watch::Receiver<String>,
) -> Result<Message, Completion> {
    let gone = || answer::failed(mapped, CallError::new("bus_gone", gone_text(bus, "before the reply came")));
    loop {
        let lost = tokio::select! {
            biased;
            reply = &mut reply => return reply.map_err(|_| gone()),
            lost = next_loss(losses) => lost,
        };
        // An owner that has left the bus cannot have the call: the bus would have answered in its place. One that
        // lives on without the name may have it, and the name's next owner then does not.
        let lives = bus.lives(&lost).await;
        match reply.try_recv() {
            Ok(reply) => return Ok(reply),
            Err(TryRecvError::Closed) => return Err(gone()),
            Err(TryRecvError::Empty) if lives => return Err(owner_gone(mapped, "before it replied")),
            Err(TryRecvError::Empty) => {}
        }
    }
}

/// Waits for the signal, as long as somebody waits for the call. The service has answered: the lane is free.
async fn finished(
    mapped: &Mapped,
    bus: &Bus,
    call: &Call,
    done: &mut Watch<'_>,
    owner: Option<&str>,
    losses: &mut watch::Receiver<String>,
) -> Completion {
    let timeout = |why: &str| Completion::Timeout(CallError::new("no_signal", format!("started, but {why}")));
    let signal = mapped.done.as_ref().map_or("", |done| done.signal.as_str());
    let owner_lost = async { while owner != Some(next_loss(losses).await.as_str()) {} };
    tokio::select! {
        biased;
        found = &mut done.found => match found {
            Ok(values) => Completion::Ok(convert::response(values)),
            Err(_) => answer::failed(
                mapped,
                CallError::new("bus_gone", gone_text(bus, &format!("before the signal {signal:?} came"))),
            ),
        },
        () = owner_lost => owner_gone(mapped, &format!("before it sent the signal {signal:?}")),
        () = call.deadline.passed() => timeout(&format!("the signal {signal:?} did not come before the deadline")),
        () = call.cancelled.cancelled() => timeout(&format!("cancelled before the signal {signal:?} came")),
    }
}

/// The next owner that the destination's name loses.
async fn next_loss(losses: &mut watch::Receiver<String>) -> String {
    match losses.changed().await {
        Ok(()) => losses.borrow_and_update().clone(),
        // The bus lives as long as its calls; without it there is nothing to tell.
        Err(_) => std::future::pending().await,
    }
}

fn owner_gone(mapped: &Mapped, when: &str) -> Completion {
    let message = format!("{} gave up its name {when}", mapped.target.destination);
    answer::failed(mapped, CallError::new("owner_gone", message))
}

fn gone_text(bus: &Bus, when: &str) -> String {
    format!("the bus {} went away {when}", bus.address())
}

fn not_sent(mapped: &Mapped, bus: &Bus, error: SendError) -> Completion {
    match error {
        SendError::Expired(expired) => expired.into(),
        SendError::Gone => Completion::Unavailable(CallError::new(
            "bus_gone",
            format!("the bus {} is not there; {} cannot be called", bus.address(), mapped.target.destination),
        )),
        SendError::TooMany => Completion::Unavailable(CallError::new(
            "too_many_calls",
            format!("too many calls wait on the bus {}", bus.address()),
        )),
    }
}
