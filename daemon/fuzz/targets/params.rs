//! Feeds `checks/params.rs`.
// dictionary: schema.dict
#![no_main]

#[path = "../checks/params.rs"]
mod params;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| params::check(data));
