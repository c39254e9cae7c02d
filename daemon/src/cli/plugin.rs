//! `nowd plugin`: plugins in processes of their own.

use std::sync::Arc;

use clap::Subcommand;
use nowd_plugin::Plugin;

use super::Failure;

mod serve;
mod test;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve a shipped plugin on the bus, with its maps, until SIGTERM or Ctrl-C
    ///
    /// Its name there is `io.nowd.Plugin.<PLUGIN>`, its object `/io/nowd/Plugin`. With `isolate` in nowd.toml the daemon calls
    /// it there.
    Serve(serve::Serve),
    /// Test whether a plugin on the bus keeps the contract io.nowd.Plugin1, in whatever language it is written
    ///
    /// Without --call and without a program nothing moves in a plugin that keeps the contract. One that does not may act on
    /// calls that come too late or have wrong parameters: keep hands off the hardware.
    Test(Box<test::Test>),
}

pub(super) fn run(command: Command, extra: &[Arc<dyn Plugin>]) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve::run(&serve, extra),
        Command::Test(test) => test::run(*test),
    }
}
