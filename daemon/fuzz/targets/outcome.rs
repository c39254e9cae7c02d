//! Feeds `checks/outcome.rs`.
// dictionary: json.dict
#![no_main]

#[path = "../checks/outcome.rs"]
mod outcome;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome::check(data));
