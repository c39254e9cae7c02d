//! Feeds `checks/serial.rs`, beside the modules that it looks into.
// dictionary: serial.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

#[path = "../../../plugins/serial/src/frame.rs"]
mod frame;
#[path = "../../../plugins/serial/src/map.rs"]
mod map;
#[path = "../../../plugins/serial/src/reader.rs"]
mod reader;
#[path = "../checks/serial.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
