//! The program `nowd`, with the shipped plugins only.

use std::process::ExitCode;

fn main() -> ExitCode {
    nowd::run(Vec::new())
}
