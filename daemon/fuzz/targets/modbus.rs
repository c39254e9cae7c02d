//! Feeds `checks/modbus.rs`, beside the modules that it looks into.
// dictionary: modbus.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

// Beside this file; without it the paths would go through a folder of that name.
#[path = "."]
mod modbus {
    #[path = "../../../plugins/serial/src/modbus/item.rs"]
    pub(crate) mod item;
    #[path = "../../../plugins/serial/src/modbus/keys.rs"]
    pub(crate) mod keys;
    #[path = "../../../plugins/serial/src/modbus/plan.rs"]
    pub(crate) mod plan;
    #[path = "../../../plugins/serial/src/modbus/request.rs"]
    pub(crate) mod request;
    #[path = "../../../plugins/serial/src/modbus/source.rs"]
    pub(crate) mod source;
    #[path = "../../../plugins/serial/src/modbus/value.rs"]
    pub(crate) mod value;
    #[path = "../../../plugins/serial/src/modbus/wire.rs"]
    pub(crate) mod wire;
}
#[path = "../checks/modbus.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
