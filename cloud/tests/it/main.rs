//! The cloud side against a real mosquitto, with gateways written for the purpose.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops, in its helpers too")]

mod acceptance;
mod calls;
mod corpus;
#[cfg(feature = "aws")]
mod direct;
#[cfg(feature = "aws")]
mod emulator;
mod freezes;
mod gateway;
mod hostile;
mod http;
#[cfg(feature = "aws")]
mod invoke;
#[cfg(feature = "aws")]
mod lambda;
mod openapi;
mod program;
mod schemathesis;
#[cfg(feature = "aws")]
mod sign;
mod templates;
mod tools;
