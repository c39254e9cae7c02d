//! Feeds `checks/hex.rs`, beside the modules that it looks into.
// dictionary: hex.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

// Beside this file; without it the paths would go through a folder of that name.
#[path = "."]
mod content {
    #[path = "../../../plugins/serial/src/content/field.rs"]
    pub(crate) mod field;
    #[path = "../../../plugins/serial/src/content/hex.rs"]
    pub(crate) mod hex;
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
    #[path = "../../../plugins/serial/src/framing/wire.rs"]
    pub(crate) mod wire;
}
#[path = "../../../plugins/serial/src/keys.rs"]
mod keys;
#[path = "../checks/hex.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
