//! What a plugin of nowd is, and what it needs.
//!
//! A *plugin* owns some hardware and offers *methods*. It implements [`Plugin`]; the daemon (or a process of the
//! plugin's own) hosts it. This crate never depends on the wire: a plugin must not know that MQTT exists.
//!
//! The rules a plugin lives by:
//! - [`Call::deadline`] is one instant of the steady clock. It is checked with [`Deadline::check`] directly before
//!   the write to bus or port, and a call that is too late is answered with [`Completion::Expired`].
//! - A [`Completion`] says what is known about the physical world, never more.
//! - [`Plugin::invoke`] ends when the *resource* is free again, not when the deadline passes: the host answers the
//!   caller at the deadline by itself, and keeps the lane held until then.

pub mod bus;
pub mod duration;
pub mod host;
pub mod map;
pub mod params;
pub mod service;
pub mod template;
pub mod texts;
pub mod words;

mod call;
mod completion;
mod health;
mod method;
mod pulse;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use call::{Call, Deadline, Expired};
pub use completion::{CallError, Completion, Outcome};
pub use health::Health;
pub use method::{Lane, Method, Policy};
pub use nowd_clock as clock;
pub use nowd_clock::BootInstant;
pub use pulse::Pulse;
pub use tokio_util::sync::CancellationToken;

/// A boxed future, so that plugins of different types stand in one registry.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Owner of some hardware. See the crate's documentation for the rules.
pub trait Plugin: Send + Sync + fmt::Debug {
    /// A short name for logs: `dbus`, `serial`, `simulator`.
    fn name(&self) -> &str;

    /// The methods on offer. They do not change while the plugin lives.
    fn methods(&self) -> Vec<Method>;

    /// Work beside the calls: connections, readers, owner changes. Ends soon after `stop`; until then it never ends,
    /// whatever happens to bus or port. The default has nothing to do.
    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move { stop.cancelled().await })
    }

    /// Runs one call and says what is known of it. Parameters have been checked against the method's schema.
    ///
    /// Ends when the resource is free for the next call: a late result is returned late (the host has answered
    /// `timeout` already and records it), and [`Call::cancelled`] tells that nobody waits any more.
    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Completion>;

    /// Some lines for people: what the method will send, with its placeholders, and what the answers mean. The default
    /// says that it knows nothing.
    fn explain(&self, method: &str) -> Vec<String> {
        vec![format!("the plugin {:?} does not say what {method:?} sends", self.name())]
    }

    /// All that decides what a call of this method does and that stands neither in the [`Method`] nor in its map: the device, the
    /// address, other configuration. Two plugins that say the same of a method of the same declaration do the same; it is not
    /// for people. The default has nothing.
    fn identity(&self, _method: &str) -> String {
        String::new()
    }

    /// What exactly would be written for this call, for people: the D-Bus call with its typed arguments, the frame as text
    /// and in hex. Writes nothing and opens nothing.
    ///
    /// # Errors
    /// What [`Plugin::invoke`] would say before it writes, such as [`Completion::InvalidRequest`].
    fn preview(&self, call: &Call) -> Result<Vec<String>, Completion> {
        let message =
            format!("the plugin {:?} cannot say what it would do for {:?}", self.name(), call.method);
        Err(Completion::Unavailable(CallError::new("no_preview", message)))
    }

    /// How the plugin is, for `nowd status`. Answers at once, from what is known. The default is well.
    fn health(&self) -> Health {
        Health::Ok
    }

    /// The loops of [`Plugin::run`], for a host that must know whether one stands still. The default names none.
    fn pulses(&self) -> Vec<Arc<Pulse>> {
        Vec::new()
    }

    /// Ends when [`Plugin::run`] has what it needs: buses are connected, ports are open, or a first attempt has failed.
    /// Waited for, a moment at most, before the methods of a reloaded map take over.
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
