//! `[metrics]`: numbers in a file for `node_exporter`'s textfile collector. Opens nothing.

use std::path::PathBuf;
use std::time::Duration;

use nowd_plugin::duration;
use serde::Deserialize;

use super::ConfigError;

/// What `node_exporter` reads.
const SUFFIX: &str = "prom";

/// The shortest and the longest `interval`.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// The file, an absolute path that ends in `.prom`. Empty: none is written.
    pub file: PathBuf,
    /// How often it is written, 1 s to an hour.
    #[serde(deserialize_with = "duration::deserialize")]
    pub interval: Duration,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { file: PathBuf::new(), interval: Duration::from_secs(15) }
    }
}

impl MetricsConfig {
    /// The file, if one is to be written.
    pub(crate) fn wanted(&self) -> Option<PathBuf> {
        Some(self.file.clone()).filter(|file| !file.as_os_str().is_empty())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if let Some(file) = self.wanted()
            && !(file.is_absolute() && file.extension().is_some_and(|extension| extension == SUFFIX))
        {
            let message =
                "must be an absolute path that ends in `.prom`, such as /run/nowd/nowd.prom: node_exporter \
                           reads no others"
                    .into();
            return Err(ConfigError::Value { key: "metrics.file", message });
        }
        let (least, most) = INTERVALS;
        if !(least..=most).contains(&self.interval) {
            let message = format!("must lie between {}s and {}s", least.as_secs(), most.as_secs());
            return Err(ConfigError::Value { key: "metrics.interval", message });
        }
        Ok(())
    }
}
