//! Feeds `checks/http.rs`.
// dictionary: http.dict
#![no_main]

#[path = "../checks/http.rs"]
mod http;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http::check(data));
