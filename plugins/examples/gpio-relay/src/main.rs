//! An example plugin of nowd: relays on the kernel's GPIO lines, in a process of its own.
//!
//! `nowd-example-gpio-relay [CONFIG.toml]` is the whole command line; README.md has the rest.

mod config;
mod line;
mod plugin;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use config::{Config, SIMULATED};
use plugin::Relays;

const NAME: &str = "com.example.Relay";
const PATH: &str = "/com/example/Relay";
const DEFAULT_CONFIG: &str = "/etc/nowd/gpio-relay.toml";

/// The exit code of a configuration that only its author can mend, as `nowd` has it.
const MISCONFIGURED: u8 = 78;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let path = std::env::args_os().nth(1).map_or_else(|| PathBuf::from(DEFAULT_CONFIG), PathBuf::from);
    let config = match Config::load(&path) {
        Ok(config) => config,
        Err(e) => {
            tracing::error!("{e}");
            return ExitCode::from(MISCONFIGURED);
        }
    };
    for (name, channel) in &config.channels {
        if config.chip_of(channel) == SIMULATED {
            tracing::warn!("channel {name} is SIMULATED: no relay will move, whatever is answered");
        }
    }
    match Relays::new(&config) {
        Ok(relays) => nowd_plugin::service::main(Arc::new(relays), NAME, PATH),
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}
