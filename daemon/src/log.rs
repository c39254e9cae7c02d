//! Logs: to journald when started by systemd, as text or JSON to standard error otherwise.
//!
//! Standard error may be a pipe that nobody reads: lines go there through a bounded queue, and are dropped when it is
//! full. journald is written to directly.

use std::io::{IsTerminal, stderr};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{ConfigError, LogConfig, LogFormat};

/// How many lines may wait to be written.
const QUEUE: usize = 4_096;

/// Starts logging for the process. Does nothing if the process already logs. What is given back writes what is left
/// when it is dropped.
pub(crate) fn start(config: &LogConfig) -> Result<WorkerGuard, ConfigError> {
    let targets = check(config)?;
    let (lines, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(stderr());
    // A process that already logs keeps doing so its own way.
    drop(tracing_subscriber::registry().with(layer(config.format, lines).with_filter(targets)).try_init());
    Ok(guard)
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

fn layer(format: LogFormat, lines: NonBlocking) -> Box<dyn Layer<Registry> + Send + Sync> {
    let text = |lines| fmt::layer().with_writer(lines).with_ansi(stderr().is_terminal()).boxed();
    match format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(lines).boxed(),
        LogFormat::Text => text(lines),
        LogFormat::Auto => {
            // systemd sets it for what it connects to the journal.
            let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
            journal.map_or_else(|| text(lines), Layer::boxed)
        }
    }
}
