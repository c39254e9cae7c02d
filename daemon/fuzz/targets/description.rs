//! Feeds `checks/description.rs`.
// dictionary: schema.dict
#![no_main]

#[path = "../checks/description.rs"]
mod description;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| description::check(data));
