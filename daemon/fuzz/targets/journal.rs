//! Feeds `checks/journal.rs`, beside the modules that it looks into.
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

#[path = "../../../daemon/src/journal.rs"]
mod journal;
#[path = "../checks/journal.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
