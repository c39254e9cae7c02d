//! Feeds `checks/provisioning.rs`, beside the module that it looks into.
// dictionary: json.dict
#![no_main]
#![allow(dead_code, reason = "most of what this module holds serves the crate that it is part of")]

#[path = "../../../daemon/src/provision/answers.rs"]
mod answers;
#[path = "../checks/provisioning.rs"]
mod check;
mod provision {
    pub(crate) use crate::answers;
}
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
