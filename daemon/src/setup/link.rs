//! From `[link]` and the identity to all that a connection needs. Reads files, and connects to nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nowd_link::{DatePolicy, TlsFiles};
use nowd_protocol::Level;

use super::SetupError;
use crate::clock::WallClock;
use crate::config::{ConfigError, ConfigFiles, LinkConfig, Via};
use crate::identity::{Certificates, Found, Source, Store};
use crate::uplink::{RelayOptions, Way};

/// MQTT over TLS.
const MQTTS_PORT: u16 = 8_883;

pub(super) fn link(
    files: &ConfigFiles,
    target: &Level,
    clock: &WallClock,
) -> Result<(Way, Option<Certificates>), SetupError> {
    let mut way = way(files, target)?;
    let mut certificates = None;
    if let Way::Direct(options) = &mut way {
        certificates = self::certificates(files, target, clock)?;
        options.tls = certificates.as_ref().map(Certificates::tls);
    }
    Ok((way, certificates))
}

/// All but certificate and key.
pub(super) fn way(files: &ConfigFiles, target: &Level) -> Result<Way, SetupError> {
    match files.config.link.via {
        Via::Direct => Ok(Way::Direct(options(files, target)?)),
        Via::Greengrass => Ok(Way::Relay(relay(files)?)),
    }
}

/// The nucleus knows the broker and proves itself to it.
fn relay(files: &ConfigFiles) -> Result<RelayOptions, SetupError> {
    let config = &files.config.link;
    let own = [
        ("link.certificate", config.certificate.is_some()),
        ("link.key", config.key.is_some()),
        ("link.client_id", config.client_id.is_some()),
    ];
    if let Some((key, _)) = own.into_iter().find(|(_, is_set)| *is_set) {
        let message = "is of a connection of the gateway's own, and `link.via` is \"greengrass\", where the nucleus's is used; leave \
                       out one of them";
        return Err(ConfigError::Value { key, message: message.into() }.into());
    }
    bounds(config)?;
    let nucleus = files.greengrass.as_ref().map(nowd_greengrass::Options::from);
    Ok(RelayOptions { nucleus, silence: config.silence })
}

fn options(files: &ConfigFiles, target: &Level) -> Result<nowd_link::Options, SetupError> {
    let config = &files.config.link;
    let hint = "set `endpoint = \"host:8883\"` under [link] in nowd.toml, or NOWD__LINK__ENDPOINT";
    let endpoint = config.endpoint.as_deref().ok_or(ConfigError::Missing { key: "link.endpoint", hint })?;
    let (host, port) = split_endpoint("link.endpoint", endpoint)?;
    if !config.tls && !config.allow_plain && !is_here(&host) {
        let message = format!(
            "is false, and {host} is not this machine: everybody on the way could move things; leave TLS on, or set \
             `allow_plain = true` knowing that"
        );
        return Err(ConfigError::Value { key: "link.tls", message }.into());
    }
    let client_id = config.client_id.clone().unwrap_or_else(|| target.as_str().to_owned());
    if let Err(e) = Level::new(client_id.as_str()) {
        return Err(ConfigError::Value { key: "link.client_id", message: e.to_string() }.into());
    }
    let mut options = nowd_link::Options::new(client_id, host, port);
    options.allow_plain = config.allow_plain;
    options.keep_alive = config.keep_alive;
    options.user_timeout = config.silence;
    bounds(config)?;
    Ok(options)
}

fn bounds(config: &LinkConfig) -> Result<(), ConfigError> {
    let between = |key: &'static str, found: Duration, least: u64, most: u64| {
        if (least..=most).contains(&found.as_secs()) {
            Ok(())
        } else {
            Err(ConfigError::Value { key, message: format!("must lie between {least}s and {most}s") })
        }
    };
    between("link.keep_alive", config.keep_alive, 5, 1_200)?;
    between("link.silence", config.silence, 1, 60)?;
    between("link.probe", config.probe, 1, 1_200)
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(crate) fn split_endpoint(key: &'static str, endpoint: &str) -> Result<(String, u16), ConfigError> {
    let error = |message: &str| ConfigError::Value { key, message: message.into() };
    let (host, port) = match endpoint.rsplit_once(':') {
        // An IPv6 address without brackets has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (host, port.ok_or_else(|| error("the part after the colon must be a port from 1 to 65535"))?)
        }
        Some(_) | None => (endpoint, MQTTS_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(error("must be a host, or host:port, without a scheme such as mqtts://"));
    }
    Ok((host.to_owned(), port))
}

fn certificates(
    files: &ConfigFiles,
    target: &Level,
    clock: &WallClock,
) -> Result<Option<Certificates>, SetupError> {
    let config = &files.config.link;
    if !config.tls {
        let given =
            [("link.certificate", &config.certificate), ("link.key", &config.key), ("link.ca", &config.ca)];
        if let Some((key, _)) = given.into_iter().find(|(_, file)| file.is_some()) {
            return Err(ConfigError::Value {
                key,
                message: "is given, but `tls = false`; leave out one of them".into(),
            }
            .into());
        }
        return Ok(None);
    }
    let ca = config.ca.clone();
    let load =
        |source| Ok(Some(Certificates::load(source, dates(clock), clock.clone()).map_err(SetupError::from)?));
    match (config.certificate.clone(), config.key.clone()) {
        (Some(certificate), Some(key)) => load(Source::Files(TlsFiles { ca, certificate, key })),
        (Some(_), None) => Err(missing("link.key", "set the file of the certificate's private key").into()),
        (None, Some(_)) => Err(missing("link.certificate", "set the file of the key's certificate").into()),
        (None, None) if matches!(&files.identity, Found::Used(used) if used.certificate) => {
            let store = Store::of(&files.config.state_dir);
            // One that cannot be read is told below.
            if let Ok(Some(identity)) = store.read() {
                identity.check_name(&store, target).map_err(|e| SetupError::from(Arc::new(e)))?;
            }
            let ca = ca.or_else(|| files.config.provisioning.ca.clone());
            load(Source::Identity { store, ca, target: target.clone() })
        }
        (None, None) => Err(missing(
            "link.certificate",
            "set `certificate` and `key` under [link], or run `nowd provision`; a broker on this machine may do with `tls = false`",
        )
        .into()),
    }
}

/// The broker's dates are judged while the clock is set.
pub(crate) fn dates(clock: &WallClock) -> DatePolicy {
    let clock = clock.clone();
    DatePolicy::WhileClockIsSet(Arc::new(move || clock.is_set()))
}

const fn missing(key: &'static str, hint: &'static str) -> ConfigError {
    ConfigError::Missing { key, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (endpoint, expected) in [
            ("broker", Some(("broker", 8_883))),
            ("broker:1883", Some(("broker", 1_883))),
            ("::1", Some(("::1", 8_883))),
            ("[::1]:443", Some(("::1", 443))),
            ("mqtts://broker", None),
            ("broker:", None),
            ("broker:0", None),
            (":8883", None),
        ] {
            let found = split_endpoint("link.endpoint", endpoint).ok();
            assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{endpoint}");
        }
    }
}
