//! The gate in a process of its own, on the bus.

use std::process::ExitCode;
use std::sync::Arc;

use nowd_example_gate::Gate;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    nowd_plugin::service::main(Arc::new(Gate::new()), "com.example.Gate", "/com/example/Gate")
}
