//! The client against a stand-in for the nucleus that has framing of its own.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy takes the helpers of tests for production code"
)]

mod common;
mod configuration;
mod ends;
mod flood;
mod iot_core;
mod lifecycle;
