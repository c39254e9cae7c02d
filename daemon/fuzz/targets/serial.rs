//! Feeds `checks/serial.rs`, beside the modules that it looks into.
// dictionary: serial.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

// Beside this file; without it the paths would go through a folder of that name.
#[path = "."]
mod content {
    #[path = "../../../plugins/serial/src/content/field.rs"]
    pub(crate) mod field;
    #[path = "../../../plugins/serial/src/content/hex.rs"]
    mod hex;
    #[path = "../../../plugins/serial/src/content/pattern.rs"]
    pub(crate) mod pattern;
    #[path = "../../../plugins/serial/src/content/template.rs"]
    pub(crate) mod template;
    #[path = "../../../plugins/serial/src/content/value.rs"]
    pub(crate) mod value;
}
#[path = "."]
mod framing {
    #[path = "../../../plugins/serial/src/framing/catalogue.rs"]
    mod catalogue;
    #[path = "../../../plugins/serial/src/framing/checksum.rs"]
    pub(crate) mod checksum;
    #[path = "../../../plugins/serial/src/framing/kinds.rs"]
    pub(crate) mod kinds;
    #[path = "../../../plugins/serial/src/framing/missed.rs"]
    pub(crate) mod missed;
    #[path = "../../../plugins/serial/src/framing/reader.rs"]
    pub(crate) mod reader;
    #[path = "../../../plugins/serial/src/framing/wire.rs"]
    pub(crate) mod wire;
}
#[path = "../../../plugins/serial/src/keys.rs"]
mod keys;
#[path = "."]
mod map {
    #[path = "../../../plugins/serial/src/map/method.rs"]
    pub(crate) mod method;
}
#[path = "../checks/serial.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
