//! Two gateways, configured by files as everywhere, each on a thread of its own as the daemon would be.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use nowd::{ConfigSource, Gateway, Setup, WallClock};
use nowd_plugin::CancellationToken;

/// A running gateway.
pub(crate) type Running = JoinHandle<anyhow::Result<()>>;

/// `vehicle-1`, with a window on D-Bus and an alarm panel at a serial port.
pub(crate) fn near(folder: &Path, broker: SocketAddr, bus: &str, panel: &Path) -> anyhow::Result<PathBuf> {
    // `nowd status` and its like find it there.
    let more = format!("[ports.panel]\ndevice = \"{}\"\n\n[bus]\naddress = {bus:?}\n", panel.display());
    let window =
        include_str!("../../../plugins/maps/demo-window.toml").replace("\"session\"", &format!("{bus:?}"));
    let maps = [
        ("window.toml", window.as_str()),
        ("alarm.toml", include_str!("../../../plugins/maps/demo-alarm.toml")),
        ("echo.toml", include_str!("../maps/echo.toml")),
    ];
    write(folder, "vehicle-1", broker, &more, &maps)
}

/// `vehicle-2`, with simulated devices only, at the end of a slow line.
pub(crate) fn far(folder: &Path, line: SocketAddr) -> anyhow::Result<PathBuf> {
    write(
        folder,
        "vehicle-2",
        line,
        "[bus]\nserve = false\n",
        &[("echo.toml", include_str!("../maps/echo.toml"))],
    )
}

fn write(
    folder: &Path,
    target: &str,
    broker: SocketAddr,
    more: &str,
    maps: &[(&str, &str)],
) -> anyhow::Result<PathBuf> {
    let config = format!(
        "target = \"{target}\"\nstate_dir = \"{}\"\n\n[link]\nendpoint = \"{broker}\"\ntls = false          # a broker on this machine\n\n\
         [access]\ndefault = [\"demo-*\"]  # the HTTP side's return address\n\n{more}",
        folder.join("state").display()
    );
    let file = folder.join("nowd.toml");
    fs::create_dir_all(folder.join("methods.d"))?;
    fs::write(&file, config)?;
    for (name, text) in maps {
        fs::write(folder.join("methods.d").join(name), text)?;
    }
    Ok(file)
}

/// Runs the gateway of this configuration until `stop`.
pub(crate) fn start(config: PathBuf, stop: CancellationToken) -> anyhow::Result<Running> {
    let source = ConfigSource {
        file: config,
        required: true,
        environment: Vec::new(),
        set: Vec::new(),
        deployment: nowd::Deployment::None,
    };
    let files = source.load()?;
    let setup = Setup::new(&files, Vec::new(), WallClock::of_this_machine(files.config.clock))?;
    let name = setup.target().to_string();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            // It is told over its bus to read them again, and by no signal.
            Gateway::new(setup)?.reloading(source, Arc::default()).run(stop).await;
            Ok(())
        })
    });
    thread.context("no thread for a gateway")
}

/// Waits for its end.
pub(crate) fn join(gateway: Running) -> anyhow::Result<()> {
    gateway.join().map_err(|_| anyhow!("a gateway panicked"))?.context("a gateway did not start")
}
