//! Feeds `checks/dbus.rs`, beside the modules that it looks into.
// dictionary: dbus.dict
#![no_main]
#![allow(dead_code, unused_imports, reason = "most of what these modules hold serves the crate that they are part of")]

#[path = "../checks/dbus.rs"]
mod check;
#[path = "../../../plugins/dbus/src/convert.rs"]
mod convert;
#[path = "../../../plugins/dbus/src/done.rs"]
mod done;
#[path = "../../../plugins/dbus/src/expr.rs"]
mod expr;
#[path = "../../../plugins/dbus/src/forms.rs"]
mod forms;
#[path = "../../../plugins/dbus/src/json.rs"]
mod json;
#[path = "../checks/sentence.rs"]
mod sentence;
#[path = "../../../plugins/dbus/src/types.rs"]
mod types;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
