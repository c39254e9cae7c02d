//! The cloud side against a real mosquitto, with gateways written for the purpose.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, in its helpers too")]

mod acceptance;
mod calls;
mod corpus;
mod gateway;
mod hostile;
mod http;
#[cfg(feature = "aws")]
mod lambda;
mod openapi;
mod program;
mod templates;
