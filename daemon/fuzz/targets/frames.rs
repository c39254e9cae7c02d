//! Feeds `checks/frames.rs`, beside the modules that it looks into.
// dictionary: frames.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

#[path = "../../../plugins/serial/src/catalogue.rs"]
mod catalogue;
#[path = "../../../plugins/serial/src/checksum.rs"]
mod checksum;
#[path = "../../../plugins/serial/src/framing.rs"]
mod framing;
#[path = "../../../plugins/serial/src/keys.rs"]
mod keys;
#[path = "../../../plugins/serial/src/reader.rs"]
mod reader;
#[path = "../../../plugins/serial/src/wire.rs"]
mod wire;
#[path = "../checks/frames.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
