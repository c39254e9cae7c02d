//! One call, from its parameters to what is known in the end.

use nowd_plugin::{Call, CallError, Completion, Deadline, Outcome};
use serde_json::Value;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{oneshot, watch};
use zbus::Signature;
use zbus::message::Message;
use zbus::names::UniqueName;

use crate::bus::{Bus, SendError, Undescribed, Watch};
use crate::done::{MAX_VALUES, Wanted, all_fit, shown};
use crate::introspect::Description;
use crate::map::{Action, Mapped};
use crate::message::message;
use crate::{answer, fit, json};

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
    // Not every bus answers a call to a name that nobody has.
    let absent = bus.absent(&mapped.target.destination, &call.deadline).await;
    if let Some(why) = absent.map_err(|e| not_sent(mapped, bus, e))? {
        return Err(Completion::Unavailable(CallError::new(answer::NO_OWNER, why)));
    }
    let message = match &mapped.signature {
        Some(types) => message(mapped, call, types)?,
        // Boxed here and below is what few calls need: a call whose state is small finds its memory at once.
        None => message(mapped, call, &Box::pin(types(mapped, bus, call)).await?)?,
    };
    sends_signal(mapped, bus, call).await?;
    // Both before the call is sent: what they tell may come before its reply.
    let mut losses = bus.losses(&mapped.target.destination);
    let mut done = match wanted(mapped, call) {
        Some(wanted) => Some(bus.watch(wanted).ok_or_else(|| not_sent(mapped, bus, SendError::Gone))?),
        None => None,
    };
    // Checks the deadline directly before it writes.
    let reply = bus
        .send_to(&message, &mapped.target.destination, &call.deadline)
        .await
        .map_err(|e| not_sent(mapped, bus, e))?;
    let reply = received(mapped, bus, reply, &mut losses).await?;
    match (answer::completion(mapped, &reply), &mut done) {
        (Completion::Ok(value), Some(done)) => {
            let header = reply.header();
            // The bus fills in who has replied.
            let owner = header.sender().map(UniqueName::as_str).unwrap_or_default();
            Ok(Box::pin(finished(mapped, bus, call, done, &value, owner, &mut losses)).await)
        }
        (completion, _) => Ok(hinted(mapped, bus, completion)),
    }
}

/// The types of the arguments, as the service tells them where the map does not. Nothing has acted yet: all that goes wrong
/// here is `not_executed`.
async fn types(mapped: &Mapped, bus: &Bus, call: &Call) -> Result<Vec<Signature>, Completion> {
    if let Action::Get { .. } = mapped.action {
        return Ok(Vec::new());
    }
    let object = mapped.object();
    if let Some(known) = bus.description(&object)
        && let Ok(types) = fit::types(mapped, &known)
    {
        return Ok(types);
    }
    // Not known, or not as the map says: objects come and go without a change of the owner.
    let useless = |e: &Undescribed| {
        let why = e.why();
        let why = fit::silence(mapped, &why, e.is_there()).map_or(why, |error| error.to_string());
        Completion::Unavailable(CallError::new("no_signature", why))
    };
    // Half of what is left: the rest is for the call, or for saying in time why there is none.
    let half = Deadline::after(call.deadline.remaining() / 2);
    let description = bus.describe(&object, &half).await.map_err(|e| match e {
        Undescribed::NotSent(e) => not_sent(mapped, bus, e),
        Undescribed::Gone => not_sent(mapped, bus, SendError::Gone),
        Undescribed::Late => call.deadline.check().map_or_else(Completion::from, |()| useless(&e)),
        // The bus's word on an absent name is the same as for the call itself.
        Undescribed::Error(ref reply) => {
            let meant = answer::completion(mapped, reply);
            if let Completion::Unavailable(_) = meant { meant } else { useless(&e) }
        }
        Undescribed::Useless(_) | Undescribed::NoText => useless(&e),
    })?;
    fit::types(mapped, &description).map_err(|misfit| Completion::Refused(misfit.into()))
}

/// A call whose end could never be told is not begun.
async fn sends_signal(mapped: &Mapped, bus: &Bus, call: &Call) -> Result<(), Completion> {
    let (Some(done), Some(object)) = (&mapped.done, mapped.done_object()) else { return Ok(()) };
    let lacks = |description: &Description| fit::no_signal(mapped, done, &object.path, description);
    let Some(known) = bus.description(&object).and_then(|known| lacks(&known)) else { return Ok(()) };
    // As with the types: objects come and go without a change of the owner.
    let half = Deadline::after(call.deadline.remaining() / 2);
    let wrong = match Box::pin(bus.describe(&object, &half)).await {
        Ok(described) => lacks(&described),
        Err(Undescribed::NotSent(e)) => return Err(not_sent(mapped, bus, e)),
        Err(Undescribed::Gone) => return Err(not_sent(mapped, bus, SendError::Gone)),
        Err(Undescribed::Late | Undescribed::Error(_) | Undescribed::Useless(_) | Undescribed::NoText) => {
            Some(known)
        }
    };
    wrong
        .map_or(Ok(()), |wrong| Err(Completion::Refused(CallError::new("no_such_signal", wrong.to_string()))))
}

/// Where the service has refused or failed, and the map does not fit what it says of itself, that is told first.
fn hinted(mapped: &Mapped, bus: &Bus, completion: Completion) -> Completion {
    let misfit = |error: &CallError| {
        if error.code == answer::NO_OBJECT {
            return Some(fit::no_object(mapped));
        }
        fit::complaints(mapped, bus.description(&mapped.object())?.as_ref()).into_iter().next()
    };
    let hint = |mut error: CallError| {
        if let Some(misfit) = misfit(&error) {
            error.message = format!("{misfit} ({})", error.message);
        }
        error
    };
    match completion {
        Completion::Refused(error) => Completion::Refused(hint(error)),
        Completion::Failed { outcome, error } if outcome != Outcome::Executed => {
            Completion::Failed { outcome, error: hint(error) }
        }
        other @ (Completion::Ok(_)
        | Completion::Sent(_)
        | Completion::Failed { .. }
        | Completion::Timeout(_)
        | Completion::Expired(_)
        | Completion::InvalidRequest(_)
        | Completion::Unavailable(_)
        | Completion::Internal(_)) => other,
    }
}

/// The signal that says that this call's work is done.
fn wanted(mapped: &Mapped, call: &Call) -> Option<Wanted> {
    mapped.done.as_ref().map(|done| Wanted {
        destination: mapped.target.destination.clone(),
        interface: done.interface.clone(),
        signal: done.signal.clone(),
        path: done.path.for_call(call),
        values: done.values.iter().map(|value| value.for_call(call)).collect(),
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
        let lives = Box::pin(bus.lives(&lost)).await;
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
    reply: &Value,
    owner: &str,
    losses: &mut watch::Receiver<String>,
) -> Completion {
    let signal = mapped.done.as_ref().map_or("", |done| done.signal.as_str());
    let overflowed = match done.settle(reply, owner) {
        Ok(overflowed) => overflowed,
        Err(path) => {
            let reply = json::clip(&reply.to_string(), MAX_VALUES);
            let why = format!(
                "started, but its reply {reply} has no `{path}`, by which to know the signal {signal:?}"
            );
            return answer::failed(mapped, CallError::new("no_such_reply", why));
        }
    };
    let timeout = |why: String| {
        let more = if overflowed { "; too many came before the reply to keep them all" } else { "" };
        Completion::Timeout(CallError::new("no_signal", format!("started, but {why}{more}")))
    };
    let owner_lost = async { while owner != next_loss(losses).await {} };
    tokio::select! {
        biased;
        found = &mut done.found => match found {
            Ok(values) => judged(mapped, call, reply, values),
            Err(_) => answer::failed(
                mapped,
                CallError::new("bus_gone", gone_text(bus, &format!("before the signal {signal:?} came"))),
            ),
        },
        () = owner_lost => owner_gone(mapped, &format!("before it sent the signal {signal:?}")),
        () = call.deadline.passed() => timeout(done.missed().told(signal, "the deadline")),
        () = call.cancelled.cancelled() => timeout(done.missed().told(signal, "the call was cancelled")),
    }
}

/// The work has ended: well, or otherwise.
fn judged(mapped: &Mapped, call: &Call, reply: &Value, values: Vec<Value>) -> Completion {
    let Some(done) = &mapped.done else { return Completion::Ok(json::response(values)) };
    let mut success: Vec<_> = done.success.iter().map(|value| value.for_call(call)).collect();
    let known = success.iter_mut().try_for_each(|value| value.settle(reply)).is_ok();
    if known && all_fit(&success, &values) {
        return Completion::Ok(json::response(values));
    }
    let values = shown(&values);
    let why = format!("it ended otherwise than well: the signal {:?} carries {values}", done.signal);
    answer::failed(mapped, CallError::new("done_otherwise", why))
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
    format!("{} went away {when}", bus.address().called())
}

fn not_sent(mapped: &Mapped, bus: &Bus, error: SendError) -> Completion {
    match error {
        SendError::Expired(expired) => expired.into(),
        SendError::Gone => Completion::Unavailable(CallError::new(
            "bus_gone",
            format!(
                "{} is not there, so {} cannot be called: {}",
                bus.address().full(),
                mapped.target.destination,
                bus.why_down()
            ),
        )),
        SendError::TooMany => Completion::Unavailable(CallError::new(
            "too_many_calls",
            format!("too many calls wait on {}", bus.address().called()),
        )),
    }
}
