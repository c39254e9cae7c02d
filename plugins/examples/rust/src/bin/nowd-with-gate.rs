//! The whole daemon with the gate compiled in: `nowd-with-gate run`, `nowd-with-gate methods`, and so on.

use std::process::ExitCode;
use std::sync::Arc;

use nowd_example_gate::Gate;

fn main() -> ExitCode {
    nowd::run(vec![Arc::new(Gate::new())])
}
