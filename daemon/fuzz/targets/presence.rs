//! Feeds `checks/presence.rs`.
// dictionary: json.dict
#![no_main]

#[path = "../checks/presence.rs"]
mod presence;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| presence::check(data));
