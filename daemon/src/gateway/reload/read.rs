//! Configuration and maps, read and judged as at a start. Waits for the disk, so it is not for the thread of the calls.

use std::sync::Arc;

use nowd_plugin::Plugin;
use nowd_plugin_serial::SerialPlugin;

use crate::clock::WallClock;
use crate::config::{Config, ConfigError, ConfigSource, Signature};
use crate::greengrass::judge::{Verdict, judge};
use crate::journal::{Journal, JournalError};
use crate::services::Pool;
use crate::setup::{Setup, SetupError};

/// Reads everything as at the start of the process. Waits for files.
pub(super) fn read(
    source: &ConfigSource,
    extra: Vec<Arc<dyn Plugin>>,
    clock: WallClock,
    pool: &Arc<Pool>,
    ports: Option<&SerialPlugin>,
) -> Result<(Setup, Signature), SetupError> {
    // Before they are read: what is changed meanwhile counts as changed.
    let signature = source.signature();
    let files = source.load().map_err(|e| nothing_else(e, source, &extra))?;
    crate::log::check(&files.config.log)?;
    Ok((Setup::again(&files, extra, clock, pool, ports)?, signature))
}

/// What only the next start would show otherwise, when nothing else can run any more. Waits for the disk.
pub(crate) fn look_at_journal(config: &Config) -> Result<(), JournalError> {
    if config.journal.enabled { Journal::look(&config.state_dir) } else { Ok(()) }
}

/// What else is wrong, where a component of maps is not there yet: that does not mend itself.
fn nothing_else(e: ConfigError, source: &ConfigSource, extra: &[Arc<dyn Plugin>]) -> SetupError {
    if let ConfigError::NotDeployed { .. } = e
        && let Ok(Some(deployed)) = source.deployed()
    {
        let mut without = (*deployed).clone();
        drop(without.pass_over_missing());
        if let Verdict::Wrong(other) = judge(&source.with(Arc::new(without)), extra) {
            return *other;
        }
    }
    e.into()
}
