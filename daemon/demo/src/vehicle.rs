//! The hardware: a virtual vehicle on an embedded D-Bus, and an alarm panel at a serial line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use busd::bus::Bus;
use nowd_plugin::CancellationToken;
use nowd_plugin_simulator::alarm;
use nowd_plugin_simulator::vehicle::{self, Vehicle};
use tokio::task::JoinSet;

/// The vehicle's name on the bus.
const NAME: &str = "com.example.Vehicle";

/// How long a window takes for ten percent of its way.
const PACE: Duration = Duration::from_millis(10);

/// Starts a bus of its own in `folder` and gives its address.
pub(crate) async fn start_bus(
    folder: &Path,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<String> {
    let address = format!("unix:path={}", folder.join("bus").display());
    let mut bus = Bus::for_address(Some(&address)).await.context("the D-Bus did not start")?;
    tasks.spawn(async move {
        tokio::select! {
            ended = bus.run() => ended.context("the D-Bus ended"),
            () = stop.cancelled() => Ok(()),
        }
    });
    Ok(address)
}

/// Puts the vehicle on the bus.
pub(crate) async fn start(bus: &str) -> anyhow::Result<Vehicle> {
    vehicle::serve(bus, NAME, PACE).await.context("the vehicle did not start")
}

/// Starts the alarm panel and gives the device at which it is.
pub(crate) fn start_alarm(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<PathBuf> {
    let (device, panel) = alarm::on_pty().context("no pty for the alarm panel")?;
    tasks.spawn(async move { alarm::serve(panel, stop).await.context("the alarm panel ended") });
    Ok(device)
}
