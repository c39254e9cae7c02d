//! The gateway as the shell reaches it: over the bus of this machine. Starts no service, and waits for nothing for ever.

use std::fmt;
use std::time::Duration;

use clap::Args;
use nowd_plugin::BootInstant;
use nowd_protocol::Uuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use zbus::Connection;
use zbus::message::{Flags, Message};
use zbus::zvariant::{DynamicType, Type};

use super::{Failure, Source, internal, made_out};
use crate::exit::Exit;
use crate::local::{CONFIG_ERROR, LOCKED_ERROR, NAME, PATH, StatusReport, open};
use nowd_plugin::bus::BusAddress;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long the gateway may take for an answer that is no call's.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Files are read, and buses and ports get a second to be ready.
const RELOAD_WITHIN: Duration = Duration::from_secs(60);

/// Where the gateway is reached.
#[derive(Debug, Clone, Args)]
pub(super) struct Reach {
    #[command(flatten)]
    pub(super) source: Source,
    /// The bus that the gateway is on: "system", "session", or an address [default: bus.address of the configuration]
    #[arg(long, value_name = "ADDRESS", value_parser = str::parse::<BusAddress>)]
    pub(super) bus: Option<BusAddress>,
}

impl Reach {
    pub(super) fn address(&self) -> BusAddress {
        self.bus.clone().unwrap_or_else(|| made_out::bus(&self.source.or_here().layers()))
    }
}

/// A connection to the bus.
pub(super) struct Client {
    runtime: Runtime,
    pub(super) connection: Connection,
    address: BusAddress,
}

/// Why the gateway did not do what was asked.
#[derive(Debug)]
pub(super) enum AskError {
    /// It said so, under this name.
    Said { name: String, message: String },
    /// Nothing was heard.
    TooLong,
    /// The bus went away.
    Gone(String),
    /// What was heard is no answer to this.
    Unreadable(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said { message, .. } => f.write_str(message),
            Self::TooLong => f.write_str("the gateway does not answer"),
            Self::Gone(reason) => {
                write!(f, "the bus has gone away ({reason}), and with it the gateway's answer")
            }
            Self::Unreadable(reason) => write!(f, "the gateway's answer cannot be read: {reason}"),
        }
    }
}

impl Client {
    /// Connects to the bus.
    pub(super) fn connect(reach: &Reach) -> Result<Self, Failure> {
        reach.source.named()?;
        let address = reach.address();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| internal(&e))?;
        let unreachable = |why: &dyn fmt::Display| Failure {
            message: format!("no gateway can be asked: {} cannot be reached: {why}", address.full()),
            exit: Exit::Unreachable,
        };
        let connected = runtime.block_on(async {
            tokio::select! {
                connected = open(&address) => connected.map_err(|e| unreachable(&address.why(&e))),
                () = tokio::time::sleep(CONNECT_WITHIN) => Err(unreachable(&"it does not answer")),
            }
        });
        Ok(Self { connection: connected?, runtime, address })
    }

    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(super) fn status(&self) -> Result<StatusReport, Failure> {
        let json = self.status_json()?;
        serde_json::from_str(&json).map_err(|e| Failure {
            message: format!(
                "the gateway's status cannot be read, so it is of another version than this program: {e}"
            ),
            exit: Exit::Internal,
        })
    }

    pub(super) fn status_json(&self) -> Result<String, Failure> {
        self.simple("Status", &(), ANSWER_WITHIN)
    }

    pub(super) fn metrics(&self) -> Result<String, Failure> {
        self.simple("Metrics", &(), ANSWER_WITHIN)
    }

    pub(super) fn methods_json(&self) -> Result<String, Failure> {
        self.simple("Methods", &(), ANSWER_WITHIN)
    }

    pub(super) fn lock(&self, reason: &str) -> Result<(), Failure> {
        self.simple("Lock", &reason, ANSWER_WITHIN)
    }

    /// Whether the gateway is locked; `None` where there is none.
    pub(super) fn is_locked(&self) -> Result<Option<bool>, Failure> {
        /// What any version has said.
        #[derive(Deserialize)]
        struct Locked {
            lockout: Option<String>,
        }
        let json: String = match self.ask("Status", &(), ANSWER_WITHIN) {
            Ok(json) => json,
            Err(AskError::Gone(_)) => return Ok(None),
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(self.failure(&e)),
        };
        match serde_json::from_str::<Locked>(&json) {
            Ok(Locked { lockout }) => Ok(Some(lockout.is_some())),
            Err(e) => Err(self.failure(&AskError::Unreadable(e.to_string()))),
        }
    }

    pub(super) fn unlock(&self) -> Result<bool, Failure> {
        self.simple("Unlock", &(), ANSWER_WITHIN)
    }

    pub(super) fn reload(&self) -> Result<String, Failure> {
        self.simple("Reload", &(), RELOAD_WITHIN)
    }

    pub(super) fn watch(&self) -> Result<(), Failure> {
        self.simple("Watch", &(), ANSWER_WITHIN)
    }

    /// A call; what comes back is the reply as on the wire.
    pub(super) fn call(
        &self,
        id: Uuid,
        method: &str,
        request: &str,
        not_after_us: u64,
        until: BootInstant,
    ) -> Result<String, AskError> {
        let body = (id.to_string(), method, request, not_after_us);
        self.ask("Call", &body, until.saturating_since(BootInstant::now()))
    }

    fn simple<B, T>(&self, member: &str, body: &B, within: Duration) -> Result<T, Failure>
    where
        B: Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        self.ask(member, body, within).map_err(|e| self.failure(&e))
    }

    fn ask<B, T>(&self, member: &str, body: &B, within: Duration) -> Result<T, AskError>
    where
        B: Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        let unreadable = |e: zbus::Error| AskError::Unreadable(e.to_string());
        let message = Message::method_call(PATH, member).destination(NAME).interface(NAME);
        let message = message.with_flags(Flags::NO_AUTO_START).build(body).map_err(unreadable)?;
        self.run(async {
            let answered = tokio::select! {
                answered = super::ask::answer(&self.connection, &message) => answered,
                () = tokio::time::sleep(within) => return Err(AskError::TooLong),
            };
            answered?.body().deserialize().map_err(unreadable)
        })
    }

    /// In one sentence, for whatever is no call.
    pub(super) fn failure(&self, e: &AskError) -> Failure {
        let said = |word: &str| matches!(e, AskError::Said { name, .. } if name.ends_with(word));
        let of = |message: String, exit| Failure { message, exit };
        if is_absent(e) {
            let message = format!(
                "no gateway runs on {}; if one should, its log says why it is not there",
                self.address.called()
            );
            return of(message, Exit::Unreachable);
        }
        if said(".AccessDenied") {
            // Said by the gateway or by the bus, whose own words help only those who write policies.
            let message = format!(
                "the gateway on {} does not serve this user, only root, its own user and the members of a group (`bus.group`, \
                 nowd unless changed); try as root, or have yourself added to it (`usermod -aG nowd $USER`, then log in again)",
                self.address.called()
            );
            return of(message, Exit::Denied);
        }
        let exit = match e {
            AskError::Said { name, .. } if name == CONFIG_ERROR => Exit::Config,
            AskError::Said { name, .. } if name == LOCKED_ERROR => Exit::StillRunning,
            AskError::Said { name, .. } if name.ends_with(".InvalidArgs") => Exit::Usage,
            AskError::Said { .. } => Exit::NotExecuted,
            AskError::TooLong | AskError::Gone(_) | AskError::Unreadable(_) => Exit::Unreachable,
        };
        of(e.to_string(), exit)
    }
}

/// The bus's own word that nobody has the name.
fn is_absent(e: &AskError) -> bool {
    matches!(e, AskError::Said { name, .. } if name.ends_with(".ServiceUnknown") || name.ends_with(".NameHasNoOwner"))
}
