//! Feeds `checks/ipc.rs`.
// dictionary: ipc.dict
#![no_main]

#[path = "../checks/ipc.rs"]
mod ipc;
#[path = "../checks/sentence.rs"]
mod sentence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipc::check(data));
