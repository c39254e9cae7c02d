//! Logs: to journald when started by systemd, as text or JSON to standard error otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{ConfigError, LogConfig, LogFormat};

/// Starts logging for the process. Does nothing if the process already logs.
pub(crate) fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let targets = check(config)?;
    // A process that already logs keeps doing so its own way.
    drop(tracing_subscriber::registry().with(layer(config.format).with_filter(targets)).try_init());
    Ok(())
}

/// Which parts log what.
pub(crate) fn check(config: &LogConfig) -> Result<Targets, ConfigError> {
    let error = || ConfigError::Value {
        key: "log.level",
        message: "must be `error`, `warn`, `info`, `debug` or `trace`, or such as `info,nowd_link=debug`"
            .into(),
    };
    // By itself a word that is no level would be taken for the name of a part.
    let is_level = |word: &str| word.contains('=') || word.trim().parse::<LevelFilter>().is_ok();
    if !config.level.split(',').all(is_level) {
        return Err(error());
    }
    config.level.parse().map_err(|_| error())
}

fn layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let text = || fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).boxed();
    match format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
        LogFormat::Text => text(),
        LogFormat::Auto => {
            // systemd sets it for what it connects to the journal.
            let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
            journal.map_or_else(text, Layer::boxed)
        }
    }
}
