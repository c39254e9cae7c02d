//! The whole of nowd on one machine, with nothing to install: broker, D-Bus, serial device, gateways, HTTP side.
//!
//! Everything listens on loopback or in a directory of its own that goes with it. It makes a few calls, shows what
//! happened and where the time went, and stays up until Ctrl-C or SIGTERM.

use std::future::Future;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nowd_plugin::CancellationToken;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::filter::LevelFilter;

mod broker;
mod cloud;
mod gateways;
mod show;
mod slow_link;
mod vehicle;

/// The HTTP side listens here, if the port is free.
const HTTP_PORT: u16 = 8_080;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let once = match arguments.as_slice() {
        [] => false,
        [argument] if argument == "--once" => true,
        _ => anyhow::bail!("there is one argument, --once: make the calls and end"),
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(once))
}

async fn run(once: bool) -> anyhow::Result<()> {
    // Before there is anything that would be left behind.
    let mut asked = pin!(asked_to_end()?);
    let folder = tempfile::Builder::new().prefix("nowd-demo-").tempdir().context("no temporary directory")?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();

    let broker = broker::start(&mut tasks, stop.clone()).await?;
    let slow = slow_link::start(broker, &mut tasks, stop.clone()).await?;
    let bus = vehicle::start_bus(folder.path(), &mut tasks, stop.clone()).await?;
    let _vehicle = vehicle::start(&bus).await?;
    let panel = vehicle::start_alarm(&mut tasks, stop.clone())?;
    let near = gateways::near(&folder.path().join("vehicle-1"), broker, &bus, &panel)?;
    let far = gateways::far(&folder.path().join("vehicle-2"), slow)?;
    let gateways_stop = CancellationToken::new();
    let gateways =
        [gateways::start(near, gateways_stop.clone())?, gateways::start(far, gateways_stop.clone())?];
    let http = cloud::start(broker, HTTP_PORT, &mut tasks, stop.clone()).await?;

    show::intro(broker, http, &bus, folder.path());
    let shown = tokio::select! {
        shown = tokio::task::spawn_blocking(move || show::calls(http)) => shown?,
        () = &mut asked => Err(anyhow::anyhow!("it was told to end before all calls were made")),
    };
    if shown.is_ok() && !once {
        show::goodbye(http, folder.path());
        tokio::select! {
            () = &mut asked => {}
            Some(ended) = tasks.join_next() => ended?.context("a part of the demo ended by itself")?,
        }
    }
    // The gateways say goodbye while there is still somebody to hear it.
    gateways_stop.cancel();
    let ended: anyhow::Result<Vec<()>> = gateways.into_iter().map(gateways::join).collect();
    stop.cancel();
    ended?;
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    shown
}

/// Ends at Ctrl-C or SIGTERM, from now on.
fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
