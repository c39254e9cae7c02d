//! The HTTP side, as `nowd-cloud serve` would run it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use nowd_cloud::{Config, Host, Invoker, RouterOptions, guard, router};
use nowd_link::Options;
use nowd_plugin::CancellationToken;
use nowd_protocol::Level;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Starts it on `port`, or another one if that is taken, and waits until it is connected.
pub(crate) async fn start(
    broker: SocketAddr,
    port: u16,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let link = Options::new("demo", broker.ip().to_string(), broker.port());
    let config = Config::new(link, Level::new("demo")?);
    let (invoker, background) = Invoker::new(config)?;
    let background_stop = stop.clone();
    tasks.spawn(async move {
        background.run(background_stop).await;
        Ok(())
    });
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for HTTP")?,
    };
    let address = listener.local_addr()?;
    invoker.connected().await;
    let app =
        guard(router(invoker, RouterOptions { compat: true, ..RouterOptions::default() }), Host::Loopback);
    tasks.spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
        served.await.context("the HTTP side ended")
    });
    Ok(address)
}
