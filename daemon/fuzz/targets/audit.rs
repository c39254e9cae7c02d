//! Feeds `checks/audit.rs`, beside the modules that it looks into.
// dictionary: json.dict
#![no_main]
#![allow(dead_code, reason = "most of what these modules hold serves the crate that they are part of")]

#[path = "../checks/audit.rs"]
mod check;
#[path = "../checks/sentence.rs"]
mod sentence;

/// Where the daemon has them.
#[path = "."]
mod audit {
    #[path = "../../../daemon/src/audit/chain.rs"]
    pub(crate) mod chain;
    #[path = "../../../daemon/src/audit/files.rs"]
    pub(crate) mod files;
    #[path = "../../../daemon/src/audit/report.rs"]
    pub(crate) mod report;
    #[path = "../../../daemon/src/audit/torn.rs"]
    mod torn;
    #[path = "../../../daemon/src/audit/verify.rs"]
    pub(crate) mod verify;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
