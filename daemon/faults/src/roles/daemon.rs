//! The daemon as its library offers it. Everything is the real one but the wall clock, which is read from a file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use nowd::{ConfigSource, Gateway, Setup, WallClock};
use nowd_plugin::CancellationToken;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::WallFile;

pub(super) fn run(config: PathBuf, clock: PathBuf) -> anyhow::Result<()> {
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stderr).init();
    let source = ConfigSource {
        file: config,
        required: true,
        environment: Vec::new(),
        set: Vec::new(),
        deployment: nowd::Deployment::None,
    };
    let files = source.load()?;
    let (clock, readings) = (WallFile(clock), AtomicU64::new(0));
    let clock =
        WallClock::new(files.config.clock, move || clock.read(readings.fetch_add(1, Ordering::Relaxed)));
    let setup = Setup::new(&files, Vec::new(), clock)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let stop = CancellationToken::new();
        let mut running = std::pin::pin!(Gateway::new(setup)?.run(stop.clone()));
        tokio::select! {
            () = &mut running => return Ok(()),
            _ = terminate.recv() => stop.cancel(),
        }
        running.await;
        Ok(())
    })
}
