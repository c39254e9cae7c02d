//! `[provisioning]`: how `nowd provision` gets this gateway an identity.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// `[provisioning]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisioningConfig {
    /// Where the service is, `host` or `host:port`; `link.endpoint` unless given.
    pub endpoint: Option<String>,
    /// The name of the provisioning template.
    pub template: Option<String>,
    /// PEM file of the claim certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of the claim certificate's private key.
    pub key: Option<PathBuf>,
    /// PEM file of the authorities that vouch for the service; `link.ca` unless given.
    pub ca: Option<PathBuf>,
    /// The MQTT client id of the claim; a new one each time unless given.
    pub client_id: Option<String>,
    /// What the template and its hook are told of this device.
    pub parameters: BTreeMap<String, Parameter>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text, { file = \"/proc/device-tree/serial-number\" }, or { env = \"AWS_IOT_THING_NAME\" }"
)]
pub enum Parameter {
    /// This text.
    Text(String),
    /// The text of a file, without what is white or NUL at its ends.
    File(ParameterFile),
    /// The text of a variable of the environment, in the same way.
    Variable(ParameterVariable),
}

/// Where a parameter is read from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterFile {
    /// The file, of 4,096 bytes at most.
    pub file: PathBuf,
}

/// Which variable a parameter is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterVariable {
    /// The variable's name; of 4,096 bytes at most is what it holds.
    pub env: String,
}
