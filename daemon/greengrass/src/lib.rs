//! A small client of the Greengrass v2 nucleus, classic and lite: one connection to its Unix socket at a time.
//!
//! [`Environment::of`] finds what the nucleus hands to a component's process; [`Connection::open`] connects and shows the
//! token; [`Connection::next`] tells what comes in by itself, and why the connection ends; a [`Client`] asks, and
//! each question has its bound. Who wants to stay connected opens a new one, after a pause, and subscribes again.
//!
//! It never ends the process, never blocks a thread, never waits for ever, never reads a frame longer than
//! [`LONGEST_FRAME`], never writes the token anywhere but to the nucleus, and knows nothing of nowd. Why it is not one of
//! those that exist: decision 38.

mod client;
mod connection;
mod environment;
mod error;
mod event;
mod publish;
mod table;
pub mod wire;

pub use client::{Client, State, Verdict};
pub use connection::{Connection, Options};
pub use environment::{Environment, LONGEST_PATH, SOCKET_VARIABLE, TOKEN_VARIABLE, Token};
pub use error::{CallError, IpcError, Refusal, RefusalKind};
pub use event::{Event, Message};
pub use publish::{Publish, Qos};
pub use table::{MOST_STREAMS, Subscription, Topic};
pub use wire::LONGEST_FRAME;
