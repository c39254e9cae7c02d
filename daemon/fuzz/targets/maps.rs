//! Feeds `checks/maps.rs`.
// dictionary: map.dict
#![no_main]

#[path = "../checks/maps.rs"]
mod maps;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| maps::check(data));
