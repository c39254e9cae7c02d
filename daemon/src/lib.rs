//! nowd, "now or never": the gateway daemon, as a library.
//!
//! [`run`] is the whole program with plugins of your own compiled in. [`Gateway`] is the part without a command line,
//! for those who host it in another process. What is decided is decided in `nowd-core`; this crate is the shell:
//! configuration, the link, plugins, clocks, signals, logs.

mod audit;
mod cli;
mod clock;
mod config;
mod exit;
mod gateway;
mod greengrass;
mod identity;
mod journal;
mod local;
mod lockout;
mod log;
mod metrics;
mod offer;
mod provision;
mod record;
#[cfg(test)]
#[path = "../fuzz/checks/sentence.rs"]
mod sentence;
mod services;
mod setup;
mod stats;
mod supervisor;
mod uplink;

#[doc(hidden)]
pub use cli::command;
pub use cli::run;
pub use clock::{WallClock, WallReading};
pub use config::{
    AuditConfig, BusConfig, ClockTrust, Config, ConfigError, ConfigFiles, ConfigSource, Deployment,
    MetricsConfig, Parameter, ParameterFile, ParameterVariable, ProvisioningConfig, Size,
};
pub use exit::Exit;
pub use gateway::{Gateway, StartError};
pub use greengrass::Deployed;
pub use identity::{Found, IdentityError, Used};
pub use journal::JournalError;
pub use setup::{Setup, SetupError};
pub use supervisor::ServiceManager;

/// The user that the daemon runs as under the shipped unit.
pub(crate) const DAEMON: &str = "nowd";
