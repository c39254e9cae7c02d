//! Feeds `checks/methods.rs`.
// dictionary: json.dict
#![no_main]

#[path = "../checks/methods.rs"]
mod methods;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| methods::check(data));
