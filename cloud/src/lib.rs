//! The cloud side of nowd: an HTTP request in, a command to a gateway, the answer in the same HTTP response.
//!
//! [`Invoker`] makes calls over MQTT; [`router`] is the HTTP interface before it, which knows neither the server that
//! runs it nor how callers are authorised. A command runs by its deadline or never: nothing here stores, queues for
//! later or repeats what may have run.

#[cfg(feature = "aws")]
pub mod aws;
mod bounds;
mod clock;
mod http;
mod invoker;
mod lru;
mod pattern;
mod presence;
mod record;

pub use bounds::DRIFT_MARGIN_PPM;
pub use clock::BootInstant;
pub use http::{
    Access, AnswerBy, Arrived, Caller, Host, Policy, PolicyError, RouterOptions, Targets, guard, router,
};
pub use invoker::{
    Answer, Background, CallRequest, Config, ConfigError, Deliver, Delivered, Delivering, Delivery, Dial,
    DialError, Dialling, Dropped, Elapsed, Form, Invoker, Plain, Unannounced,
};
pub use record::{Record, Recorder};
