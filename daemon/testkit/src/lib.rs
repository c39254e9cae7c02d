//! What tests need from the real world: a real mosquitto, a private D-Bus, ptys, a certificate authority, processes,
//! a network that misbehaves.
//!
//! For tests only, never a dependency of what is shipped. It panics where something is missing or does not come, with
//! a message that says what; all that it starts is on loopback or in a temporary directory and ends with its handle.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on says why and stops; that is what this crate is for"
)]

mod bus;
mod certificates;
mod iot_core;
mod mosquitto;
mod nucleus;
mod power;
mod process;
mod proxy;
mod pty;
mod wait;

pub use bus::Bus;
pub use certificates::{Ca, Identity, KeyForm};
pub use iot_core::{Credentials, DirectAnswer, DirectMessage, IotCore, REGION};
pub use mosquitto::{Access, Listener, Mosquitto};
pub use nucleus::{Deferral, Deployed, Fault, Nucleus, Published, Style};
pub use power::{Recording, Snapshot, World, recorded, snapshot};
pub use process::{Process, is_installed, require};
pub use proxy::{Proxy, Way};
pub use pty::Pty;
pub use wait::{wait_for, within};
