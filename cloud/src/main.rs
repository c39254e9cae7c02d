//! `nowd-cloud`: the cloud side as a program of its own. What it can do is in `cli`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
