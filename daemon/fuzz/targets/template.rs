//! Feeds `checks/template.rs`.
// dictionary: template.dict
#![no_main]

#[path = "../checks/sentence.rs"]
mod sentence;
#[path = "../checks/template.rs"]
mod template;

libfuzzer_sys::fuzz_target!(|data: &[u8]| template::check(data));
