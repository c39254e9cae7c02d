//! Feeds `checks/reply.rs`.
// dictionary: json.dict
#![no_main]

#[path = "../checks/reply.rs"]
mod reply;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reply::check(data));
