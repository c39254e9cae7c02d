//! The short form of the fault suite, as everybody runs it with the other tests.

use std::time::Duration;

use nowd_testkit::Process;

/// Half a minute on a quiet machine.
const BOUND: Duration = Duration::from_secs(600);
const NO_ARGUMENTS: &[&str] = &[];

#[tokio::test]
async fn no_promise_is_broken_by_any_fault() {
    let mut suite = Process::spawn(env!("CARGO_BIN_EXE_nowd-faults"), NO_ARGUMENTS, &[]);
    let status = suite.exit(BOUND).await;
    assert!(status.success(), "{status}\n{}", suite.lines().join("\n"));
}
