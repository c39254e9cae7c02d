//! Feeds `checks/config.rs`.
// dictionary: config.dict
#![no_main]

#[path = "../checks/config.rs"]
mod config;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| config::check(data));
