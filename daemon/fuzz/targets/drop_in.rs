//! Feeds `checks/drop_in.rs`.
// dictionary: map.dict
#![no_main]

#[path = "../checks/drop_in.rs"]
mod drop_in;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop_in::check(data));
