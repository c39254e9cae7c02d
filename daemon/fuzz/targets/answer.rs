//! Feeds `checks/answer.rs`.
// dictionary: json.dict
#![no_main]

#[path = "../checks/answer.rs"]
mod answer;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answer::check(data));
