//! `nowd run`: the gateway, and the signals that it hears.

use std::sync::Arc;
use std::time::Duration;

use nowd_greengrass::Environment;
use nowd_plugin::{CancellationToken, Plugin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::source::Source;
use super::{Failure, internal, made_out};
use crate::clock::WallClock;
use crate::config::{ConfigSource, Deployment, LogConfig};
use crate::exit::Exit;
use crate::gateway::Gateway;
use crate::greengrass::{self, Ended, Process, kept};
use crate::log;
use crate::setup::Setup;
use crate::supervisor::ServiceManager;

/// Until SIGTERM or Ctrl-C.
pub(super) fn run(source: &Source, extra: Vec<Arc<dyn Plugin>>) -> Result<(), Failure> {
    match Environment::of(|name| std::env::var(name).ok()) {
        Some(environment) => run_component(source, extra, environment),
        None => run_alone(source, extra),
    }
}

/// As a component of Greengrass, where nothing that is missing ends the process.
fn run_component(
    source: &Source,
    extra: Vec<Arc<dyn Plugin>>,
    environment: Environment,
) -> Result<(), Failure> {
    let source = source.layers();
    let (state_dir, _) = made_out::state_dir(&source);
    let accepted = kept::read(&kept::file(&state_dir));
    // The format is that of the configuration that was accepted last.
    let known = source.load().map(|files| files.config.log).unwrap_or_default();
    let _lines = log::start(&known).or_else(|_| log::start(&LogConfig::default()))?;
    let accepted = accepted.unwrap_or_else(|e| {
        warn!(see = "deployment-not-kept", "{e}");
        None
    });
    let source = ConfigSource { deployment: Deployment::None, ..source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| internal(&e))?;
    let process = Process { source, state_dir, extra, environment };
    let ended = runtime.block_on(greengrass::run(process, accepted));
    runtime.shutdown_timeout(Duration::from_millis(50));
    ended.map_err(|ended| match ended {
        Ended::Wrong(e) => Failure { exit: Exit::Config, ..Failure::from(*e) },
        Ended::Signals(e) => internal(&e),
    })
}

/// As a service, or by hand.
fn run_alone(source: &Source, extra: Vec<Arc<dyn Plugin>>) -> Result<(), Failure> {
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
