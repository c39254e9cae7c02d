//! One call of a plugin, from its parameters to what is known in the end.

use std::pin::pin;

use nowd_plugin::service::{Answer, INTERFACE};
use nowd_plugin::{BootInstant, Call, CallError, Completion, Outcome};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::watch;
use zbus::message::{Flags, Message, Type};

use super::{Presence, Service, lock};
use crate::bus::{BUS_NAME, SendError, call_message};
use crate::json::{clip, is_lone_structure};

/// The longest text of an error that is handed on, in characters.
const MAX_TEXT: usize = 300;

/// Errors of the bus itself that say: the call was not delivered.
const NOT_DELIVERED: &[&str] = &[
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.LimitsExceeded",
];

/// The code of calls to a plugin that is not there.
pub const NO_OWNER: &str = "no_owner";

impl Service {
    /// Runs a call. Ends when the plugin has answered, or has left the bus, or the bus is gone: not at the deadline.
    pub async fn invoke(&self, call: &Call) -> Completion {
        match self.try_invoke(call, None).await {
            Ok(completion) | Err(completion) => completion,
        }
    }

    /// What becomes of a call of a method that was never described: it is not sent, since nothing is known of what it would do.
    pub(super) async fn undescribed(&self, call: &Call) -> Completion {
        if let Some(absent) = self.absent(call).await {
            return absent;
        }
        let state = self.state.borrow();
        let why = match (&state.described, &state.mistake) {
            (None, Some(mistake)) => mistake.clone(),
            (None, None) => format!("the plugin {} has not said yet which methods it has", self.target.name),
            (Some(said), _) if said.methods.iter().any(|method| method.name == call.method) => {
                let why = format!(
                    "the drop-in of the plugin {} does not fit what it describes, so {:?} is withheld; `nowd status` says what to mend",
                    self.target.name, call.method
                );
                return Completion::Unavailable(CallError::new("withheld", why));
            }
            (Some(_), _) => format!("the plugin {} describes no method {:?}", self.target.name, call.method),
        };
        Completion::Unavailable(CallError::new("not_described", why))
    }

    /// The same as [`Self::invoke`], if whoever is there now has described itself with this fingerprint: nobody else gets the call.
    pub async fn invoke_only(&self, call: &Call, fingerprint: &str) -> Completion {
        let name = &self.target.name;
        let unavailable = |code: &str, why| Completion::Unavailable(CallError::new(code, why));
        match self.described_now() {
            Some((owner, found)) if found == fingerprint => match self.try_invoke(call, Some(owner)).await {
                Ok(completion) | Err(completion) => completion,
            },
            Some(_) => {
                unavailable("other_maps", format!("the plugin {name} runs with other maps than the gateway"))
            }
            // Somebody may have come in this moment: what has said nothing gets nothing.
            None => match self.absent(call).await {
                Some(absent) => absent,
                None => unavailable(
                    "not_described",
                    format!("the plugin {name} has just come, and has not said yet which maps it runs with"),
                ),
            },
        }
    }

    /// Whether the bus is there, so that it knows whether the plugin is.
    pub fn reaches_bus(&self) -> bool {
        self.bus.is_up()
    }

    /// Who is there now, and the fingerprint of what it has said of itself.
    pub fn described_now(&self) -> Option<(String, String)> {
        let owner = self.bus.owner(&self.target.name).zip(self.bus.connected_as())?;
        let fingerprint = self.state.borrow().described.as_ref()?.fingerprint.clone()?;
        let said = lock(&self.described_by).as_ref() == Some(&owner);
        said.then_some((owner.0, fingerprint))
    }

    async fn try_invoke(&self, call: &Call, owner: Option<String>) -> Result<Completion, Completion> {
        if let Some(absent) = self.absent(call).await {
            return Err(absent);
        }
        // To whoever it is now, so that nobody who takes over the name in the next moment gets it.
        let owner = owner.or_else(|| self.bus.owner(&self.target.name));
        let to = owner.as_deref().unwrap_or(&self.target.name);
        let message = self.message(call, to)?;
        // Before the call is sent: what it tells may come before the answer.
        let mut losses = self.bus.losses(&self.target.name);
        // Checks the deadline directly before it writes.
        let reply = self.bus.send(&message, &call.deadline).await.map_err(|e| self.not_sent(e))?;
        let mut received = pin!(self.received(reply, &mut losses));
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                reply = &mut received => {
                    let completion = self.completion(&reply?);
                    // By how much is in the plugin's own words; the gateway knows until when it was.
                    let late = call.deadline.check().err().filter(|_| matches!(completion, Completion::Expired(_)));
                    return Ok(late.map_or(completion, Completion::Expired));
                }
                () = call.cancelled.cancelled(), if !told => {
                    told = true;
                    self.cancel(call, to).await;
                }
            }
        }
    }

    /// What becomes of a call where bus or plugin is not there.
    async fn absent(&self, call: &Call) -> Option<Completion> {
        if !self.bus.is_up() {
            return Some(self.not_sent(SendError::Gone));
        }
        self.is_there(call).await.err()
    }

    /// Whether somebody has the name, without a question where the bus has told.
    async fn is_there(&self, call: &Call) -> Result<(), Completion> {
        let name = &self.target.name;
        if self.bus.has_owner(name) {
            return Ok(());
        }
        let Presence { seen, gone_at } = *lock(&self.presence);
        let no_owner = |why| Err(Completion::Unavailable(CallError::new(NO_OWNER, why)));
        if seen {
            let since = gone_at.map_or(0, |at| BootInstant::now().saturating_since(at).as_secs());
            return no_owner(format!(
                "the plugin {name} has left {}, {since} s ago; start it again",
                self.target.bus.called()
            ));
        }
        // The news of its owner may be on the way still, or be kept from the gateway; and a name like it may be there.
        match self.bus.absent(name, &call.deadline).await.map_err(|e| self.not_sent(e))? {
            Some(why) => {
                no_owner(format!("the plugin {name} has not been there since the gateway started: {why}"))
            }
            None => Ok(()),
        }
    }

    fn message(&self, call: &Call, to: &str) -> Result<Message, Completion> {
        let request = call.params.to_string();
        let id = call.id.to_string();
        let arguments =
            (id.as_str(), call.method.as_str(), request.as_str(), call.deadline.boottime_micros());
        call_message(to, &self.target.path, INTERFACE, "Invoke").build(&arguments).map_err(|e| {
            let why = clip(&format!("it cannot be sent: {e}"), MAX_TEXT);
            Completion::InvalidRequest(CallError::new("invalid_argument", why))
        })
    }

    /// Tells the plugin that nobody waits any more.
    async fn cancel(&self, call: &Call, to: &str) {
        // Nobody is started for a unique name; and dbus-fast 1.84 dies of a message that has both flags.
        let message = if to.starts_with(':') {
            Message::method_call(self.target.path.as_str(), "Cancel").destination(to).interface(INTERFACE)
        } else {
            call_message(to, &self.target.path, INTERFACE, "Cancel")
        };
        let message = message.with_flags(Flags::NO_REPLY_EXPECTED).build(&call.id.to_string());
        if let Ok(message) = message {
            self.bus.tell(&message).await;
        }
    }

    /// Waits for the answer, or for the end of those who could give it.
    async fn received(
        &self,
        mut reply: oneshot::Receiver<Message>,
        losses: &mut watch::Receiver<String>,
    ) -> Result<Message, Completion> {
        loop {
            let lost = tokio::select! {
                biased;
                reply = &mut reply => return reply.map_err(|_| self.bus_gone()),
                lost = next_loss(losses) => lost,
            };
            // An owner that has left the bus cannot have the call: the bus answers in its place. One that lives on without
            // the name may have it, and is not the plugin any more.
            let lives = self.bus.lives(&lost).await;
            match reply.try_recv() {
                Ok(reply) => return Ok(reply),
                Err(TryRecvError::Closed) => return Err(self.bus_gone()),
                Err(TryRecvError::Empty) if lives => return Err(self.plugin_gone("gave up its name")),
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    fn completion(&self, reply: &Message) -> Completion {
        if reply.message_type() == Type::Error {
            return self.error(reply);
        }
        let body = reply.body();
        let texts = body.deserialize::<(String, String, String)>().ok().filter(|_| !is_lone_structure(&body));
        let Some((status, outcome, response_json)) = texts else {
            let types = clip(&body.signature().to_string(), 60);
            return failed(
                "bad_answer",
                format!(
                    "the plugin breaks its contract: it answered with the types {types:?} instead of \"sss\""
                ),
            );
        };
        let answer = Answer { status, outcome, response_json };
        answer.completion().unwrap_or_else(|(error, known)| {
            tracing::debug!(plugin = self.target.name, %error, "a plugin breaks its contract");
            known
        })
    }

    /// An error in the place of an answer.
    fn error(&self, reply: &Message) -> Completion {
        let header = reply.header();
        let code = header.error_name().map_or("unnamed_error", |name| name.as_str());
        let name = &self.target.name;
        let text = || {
            let body = reply.body();
            let text = body.deserialize::<&str>().ok().map(|text| clip(text, MAX_TEXT));
            text.filter(|text| !text.trim().is_empty())
                .unwrap_or_else(|| format!("{name} answered with an error without a text"))
        };
        let from_bus = header.sender().is_some_and(|sender| sender.as_str() == BUS_NAME);
        if from_bus && NOT_DELIVERED.contains(&code) {
            let why = if code.ends_with(".AccessDenied") {
                format!(
                    "the policy of {} does not let the gateway call {name}; allow its user in a file of dbus-1/system.d ({})",
                    self.target.bus.called(),
                    text()
                )
            } else if code.ends_with(".LimitsExceeded") {
                text()
            } else {
                self.why_absent(true)
            };
            let code = if code.ends_with(".AccessDenied") || code.ends_with(".LimitsExceeded") {
                code
            } else {
                NO_OWNER
            };
            return Completion::Unavailable(CallError::new(code, why));
        }
        if from_bus {
            return self.plugin_gone("left the bus");
        }
        // Whatever it is called, it may be what the plugin heard from somebody else while it acted.
        failed(&clip(code, MAX_TEXT), text())
    }

    fn plugin_gone(&self, how: &str) -> Completion {
        failed("plugin_gone", format!("the plugin {} {how} before it answered", self.target.name))
    }

    fn bus_gone(&self) -> Completion {
        let (bus, why) = (self.target.bus.called(), self.bus.why_down());
        failed(
            "bus_gone",
            format!("the connection to {bus} ended before {} answered: {why}", self.target.name),
        )
    }

    fn not_sent(&self, error: SendError) -> Completion {
        let unavailable = |code: &str, why| Completion::Unavailable(CallError::new(code, why));
        match error {
            SendError::Expired(expired) => expired.into(),
            SendError::Gone => unavailable(
                "bus_gone",
                format!(
                    "{} is not there, so the plugin {} cannot be called: {}",
                    self.target.bus.full(),
                    self.target.name,
                    self.bus.why_down()
                ),
            ),
            SendError::TooMany => {
                unavailable("too_many_calls", format!("too many calls wait for {}", self.target.name))
            }
        }
    }
}

fn failed(code: &str, why: String) -> Completion {
    Completion::Failed { outcome: Outcome::Unknown, error: CallError::new(code, why) }
}

/// The next owner that the plugin's name loses.
async fn next_loss(losses: &mut watch::Receiver<String>) -> String {
    match losses.changed().await {
        Ok(()) => losses.borrow_and_update().clone(),
        // The bus lives as long as its calls; without it there is nothing to tell.
        Err(_) => std::future::pending().await,
    }
}
