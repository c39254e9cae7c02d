//! The embedded MQTT broker, on loopback only.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{AuthConfig, BrokerConfig, StorageConfig};
use nowd_plugin::CancellationToken;
use tokio::task::JoinSet;

/// Starts it on a free port and says which.
pub(crate) async fn start(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let config = BrokerConfig {
        // By itself it would listen on all addresses.
        bind_addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        auth_config: AuthConfig::default().with_allow_anonymous(true),
        // By itself it would write a folder.
        storage_config: StorageConfig { enable_persistence: false, ..StorageConfig::default() },
        max_packet_size: 160 * 1024,
        topic_alias_maximum: 0,
        sys_topics_enabled: false,
        ..BrokerConfig::default()
    };
    let mut broker = MqttBroker::with_config(config).await.context("the MQTT broker did not start")?;
    let address = broker.local_addr().context("the MQTT broker has no address")?;
    tasks.spawn(async move {
        let shutdown = broker.shutdown_handle();
        tokio::select! {
            ended = broker.run() => ended.context("the MQTT broker ended"),
            () = stop.cancelled() => {
                shutdown.shutdown();
                Ok(())
            }
        }
    });
    Ok(address)
}
