//! Feeds `checks/hex.rs`, beside the modules that it looks into.
// dictionary: hex.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

#[path = "../../../plugins/serial/src/catalogue.rs"]
mod catalogue;
#[path = "../../../plugins/serial/src/checksum.rs"]
mod checksum;
#[path = "../../../plugins/serial/src/field.rs"]
mod field;
#[path = "../../../plugins/serial/src/framing.rs"]
mod framing;
#[path = "../../../plugins/serial/src/hex.rs"]
mod hex;
#[path = "../../../plugins/serial/src/keys.rs"]
mod keys;
#[path = "../../../plugins/serial/src/value.rs"]
mod value;
#[path = "../../../plugins/serial/src/wire.rs"]
mod wire;
#[path = "../checks/hex.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
