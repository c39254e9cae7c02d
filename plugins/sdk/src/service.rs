//! Plugins in processes of their own: the interface `io.nowd.Plugin1`, whichever end of it one stands on.
//!
//! The contract is `interfaces/io.nowd.Plugin1.xml`; section 13 of the specification has its rules. What stands here is what
//! both ends need: names, bounds, how a [`Completion`](crate::Completion) is said, and how methods are described.

pub mod conformance;

mod answer;
mod bus;
mod calls;
mod description;
mod error;
mod hosting;
mod interface;
mod out;
mod process;
mod session;

pub use answer::{Answer, AnswerError};
pub use bus::{BusAddress, BusAddressError};
pub use description::{Description, DescriptionError, fingerprint};
pub use error::ServiceError;
pub use hosting::Service;
pub use process::main;

/// The interface's name.
pub const INTERFACE: &str = "io.nowd.Plugin1";

/// The contract itself.
pub const XML: &str = include_str!("../interfaces/io.nowd.Plugin1.xml");

/// The longest D-Bus message that a gateway takes from a plugin, in bytes; a longer one ends its connection to that plugin.
pub const MAX_MESSAGE_LEN: usize = 512 * 1024;

/// The longest description, in bytes.
pub const MAX_DESCRIPTION_LEN: usize = 256 * 1024;

/// The longest response to a call, in bytes: what fits into a message to the cloud.
pub const MAX_RESPONSE_LEN: usize = 128 * 1024;

/// The most methods of one plugin.
pub const MAX_METHODS: usize = 256;

#[cfg(test)]
mod tests;
