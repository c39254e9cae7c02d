//! The cloud side against a real mosquitto, with gateways written for the purpose.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, in its helpers too")]

mod acceptance;
mod calls;
mod corpus;
#[cfg(feature = "aws")]
mod direct;
mod gateway;
mod hostile;
mod http;
#[cfg(feature = "aws")]
mod invoke;
mod lambda;
mod openapi;
mod program;
#[cfg(feature = "aws")]
mod schemathesis;
mod sign;
mod templates;
