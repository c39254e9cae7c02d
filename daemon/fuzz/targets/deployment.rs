//! Feeds `checks/deployment.rs`.
// dictionary: config.dict
#![no_main]

#[path = "../checks/deployment.rs"]
mod deployment;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| deployment::check(data));
