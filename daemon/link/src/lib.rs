//! One MQTT 5 connection at a time, for the daemon and for the cloud side.
//!
//! [`Connection::open`] dials, shakes hands and waits for CONNACK; [`Connection::next`] tells what comes in and why the
//! connection ends; a [`Sender`] sends on this connection and never on a later one. Who wants to stay connected
//! opens a new one, after a [`Backoff`].
//!
//! It never waits for the broker when sending, never keeps anything from one connection for the next, never
//! acknowledges a message by itself, and knows nothing of the topics and payloads of nowd.

mod backoff;
mod beat;
mod connection;
mod dial;
mod driver;
mod error;
mod event;
mod inbox;
mod options;
mod publish;
mod sender;
mod session;
mod tls;
mod tracker;
mod wire;

pub use backoff::Backoff;
pub use beat::Beat;
pub use connection::{Connection, Movement};
pub use dial::{Protocol, Stream, dial};
pub use error::{Disconnect, LinkError, Refusal};
pub use event::{Event, Limits, Message};
pub use options::{Options, Will};
pub use publish::{LONGEST_TOPIC, MOST_FILTERS, Properties, Publish, Qos, SendError};
pub use sender::{Ack, Sender};
pub use tls::{CertificateFacts, DatePolicy, SYSTEM_CA, Tls, TlsError, TlsFiles};
pub use tracker::Ticket;
