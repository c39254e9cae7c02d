//! Feeds `checks/topic.rs`.
// dictionary: topic.dict
#![no_main]

#[path = "../checks/sentence.rs"]
mod sentence;
#[path = "../checks/topic.rs"]
mod topic;

libfuzzer_sys::fuzz_target!(|data: &[u8]| topic::check(data));
