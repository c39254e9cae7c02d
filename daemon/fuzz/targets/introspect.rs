//! Feeds `checks/introspect.rs`, beside the modules that it looks into.
// dictionary: dbus.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

#[path = "../../../plugins/dbus/src/introspect.rs"]
mod introspect;
#[path = "../checks/introspect.rs"]
mod check;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
