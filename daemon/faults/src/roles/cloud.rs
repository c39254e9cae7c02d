//! The cloud side as `nowd-cloud serve` runs it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::serve::ListenerExt as _;
use clap::Args;
use nowd_cloud::{Config, Host, Invoker, RouterOptions, guard, router};
use nowd_link::{DatePolicy, Options, Tls, TlsFiles};
use nowd_plugin::CancellationToken;
use nowd_protocol::Level;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Debug, Args)]
pub(crate) struct Cloud {
    pub(super) parent: i32,
    /// The broker's port
    port: u16,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Says `listening on PORT` once it is connected.
pub(super) fn run(cloud: Cloud) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let Cloud { port, ca, certificate, key, .. } = cloud;
    let mut link = Options::new("cloud", "localhost", port);
    link.tls = Some(Arc::new(Tls::load(&TlsFiles { ca: Some(ca), certificate, key }, DatePolicy::Judge)?));
    let config = Config::new(link, Level::new("cloud")?);
    let (invoker, background) = Invoker::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(background.run(CancellationToken::new()));
        invoker.connected().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening on {}", listener.local_addr()?.port());
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        axum::serve(listener, guard(router(invoker, RouterOptions::default()), Host::Loopback)).await?;
        Ok(())
    })
}
