//! `nowd run`: the gateway, and the signals that it hears.

use std::sync::Arc;
use std::time::Duration;

use nowd_plugin::{CancellationToken, Plugin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::source::Source;
use super::{Failure, internal};
use crate::clock::WallClock;
use crate::gateway::Gateway;
use crate::log;
use crate::setup::Setup;
use crate::supervisor::ServiceManager;

/// Until SIGTERM or Ctrl-C.
pub(super) fn run(source: &Source, extra: Vec<Arc<dyn Plugin>>) -> Result<(), Failure> {
    let files = source.load()?;
    let _lines = log::start(&files.config.log)?;
    let setup = Setup::new(&files, extra, WallClock::of_this_machine(files.config.clock))?;
    // One thread: what it does for a call takes microseconds, and the next hop is then a function call away.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| internal(&e))?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| internal(&e))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| internal(&e))?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(|e| internal(&e))?;
        let reload = Arc::new(Notify::new());
        info!(
            version = env!("CARGO_PKG_VERSION"),
            target = %setup.target(),
            endpoint = setup.endpoint(),
            methods = setup.plugins.registry.methods().count(),
            "starting"
        );
        let gateway = Gateway::new(setup)?
            .reloading(source.layers(), Arc::clone(&reload))
            .supervised(ServiceManager::of_environment());
        let mut running = std::pin::pin!(gateway.run(stop.clone()));
        loop {
            tokio::select! {
                () = &mut running => return Ok(()),
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {
                    info!("asked to read the maps again");
                    reload.notify_one();
                    continue;
                }
            }
            if stop.is_cancelled() {
                warn!(
                    see = "left-at-once",
                    "asked to stop a second time: leaving at once; calls that run are not waited for"
                );
                return Ok(());
            }
            stop.cancel();
        }
    });
    // A device whose opening hangs in the kernel holds a thread that cannot be waited for.
    runtime.shutdown_timeout(Duration::from_millis(50));
    ended
}
