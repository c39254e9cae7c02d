//! The link against a real mosquitto.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy takes the helpers of tests for production code"
)]

mod common;
mod ends;
mod tls;
mod traffic;
