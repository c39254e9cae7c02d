//! Feeds `checks/request.rs`.
// dictionary: json.dict
#![no_main]

#[path = "../checks/request.rs"]
mod request;
#[path = "../checks/sentence.rs"]
mod sentence;
#[path = "../checks/topic.rs"]
#[allow(dead_code, reason = "only its check of a topic that was read is used here")]
mod topic;

libfuzzer_sys::fuzz_target!(|data: &[u8]| request::check(data));
