//! `[bus]`: where the gateway is on the bus of its own machine, and for whom. Connects to nothing.

use nowd_plugin_dbus::BusAddress;
use serde::{Deserialize, Deserializer};

/// `[bus]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// The bus.
    #[serde(deserialize_with = "address")]
    pub address: BusAddress,
    /// Whether the gateway is there.
    pub serve: bool,
    /// Whose members are served, beside root and the daemon's own user.
    pub group: String,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self { address: BusAddress::System, serve: true, group: "nowd".into() }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BusAddress, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
