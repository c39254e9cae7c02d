//! A process that is a plugin and nothing else.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::error::ServiceError;
use super::hosting::Service;
use crate::bus::BusAddress;
use crate::{CancellationToken, Plugin};

/// The variable of the environment that names the bus.
pub(super) const BUS_VARIABLE: &str = "NOWD_BUS";

/// The whole of a plugin's `main`: serves it under `name` at `path` until SIGTERM or Ctrl-C.
///
/// The bus is that of the environment variable `NOWD_BUS`: `system` (where it is not set), `session`, or an address. The log
/// goes to whatever `tracing` subscriber the program has set up. All runs on one thread, so calls must not block it.
///
/// Exit codes are those of `nowd`: 0 after a stop, else that of [`ServiceError::exit_code`], with one sentence on standard error.
#[must_use]
pub fn main(plugin: Arc<dyn Plugin>, name: &str, path: &str) -> ExitCode {
    let served = bus_of_environment()
        .and_then(|bus| Service::new(plugin, bus, name, path))
        .and_then(|service| service.run_until_signal());
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // A reader that has gone away is no reason to fail otherwise.
            drop(writeln!(std::io::stderr(), "{name}: {e}"));
            ExitCode::from(e.exit_code())
        }
    }
}

fn bus_of_environment() -> Result<BusAddress, ServiceError> {
    match std::env::var_os(BUS_VARIABLE).filter(|text| !text.is_empty()) {
        Some(text) => Ok(text.to_string_lossy().parse()?),
        None => Ok(BusAddress::System),
    }
}

impl Service {
    /// [`Self::run`] with a runtime of its own, until SIGTERM, SIGINT or SIGHUP; a second one leaves at once.
    ///
    /// SIGHUP asks a daemon to read its files again. A plugin does so by starting again, which whoever started it sees to.
    ///
    /// # Errors
    /// As [`Self::run`], and where the process gets no thread or no signals.
    pub fn run_until_signal(&self) -> Result<(), ServiceError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServiceError::Start)?;
        let served = runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).map_err(ServiceError::Start)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(ServiceError::Start)?;
            let mut hang_up = signal(SignalKind::hangup()).map_err(ServiceError::Start)?;
            let stop = CancellationToken::new();
            let mut running = std::pin::pin!(self.run(stop.clone()));
            loop {
                tokio::select! {
                    ended = &mut running => return ended,
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hang_up.recv() => {
                        tracing::info!("asked to read its maps again: ends, so that whoever started it starts it again");
                    }
                }
                if stop.is_cancelled() {
                    tracing::warn!(see = "left-at-once", "asked to stop a second time: leaving at once");
                    return Ok(());
                }
                stop.cancel();
            }
        });
        // A device whose opening hangs in the kernel holds a thread that cannot be waited for.
        runtime.shutdown_timeout(Duration::from_millis(50));
        served
    }
}
