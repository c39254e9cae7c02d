//! `nowd lock` and `nowd unlock`: for the person with a hand in the gate.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nowd_plugin::BootInstant;

use super::{Failure, Source, say};
use crate::exit::Exit;
use crate::lockout::{self, Seen};

/// A daemon that runs sees a lockout within its heartbeat of a second; one that does not in this time does not run.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// How often to look what the daemon has said.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Locks, and waits until nothing runs.
pub(super) fn lock(source: &Source, reason: &str, wait: Duration) -> Result<(), Failure> {
    let folder = source.load()?.config.state_dir;
    let order = lockout::lock(&folder, reason).map_err(|e| failed("locked", &folder, &e))?;
    let begun = BootInstant::now();
    loop {
        let waited = BootInstant::now().saturating_since(begun);
        match lockout::seen(&folder, &order) {
            Some(Seen { running: 0, .. }) => {
                say(&mut io::stdout(), "locked: the gateway starts nothing, and no call runs");
                return Ok(());
            }
            Some(Seen { running, .. }) if waited >= wait => return Err(still_running(running)),
            None if waited >= SEEN_WITHIN => {
                return Err(no_answer(&folder));
            }
            Some(_) | None => thread::sleep(LOOK_EVERY),
        }
    }
}

/// Unlocks.
pub(super) fn unlock(source: &Source) -> Result<(), Failure> {
    let folder = source.load()?.config.state_dir;
    let was = lockout::unlock(&folder).map_err(|e| failed("unlocked", &folder, &e))?;
    say(&mut io::stdout(), if was { "unlocked" } else { "it was not locked" });
    Ok(())
}

fn still_running(running: usize) -> Failure {
    let message = format!("locked, but calls that were started before still run: {running}");
    Failure { message, exit: Exit::StillRunning }
}

fn no_answer(folder: &Path) -> Failure {
    let message = format!(
        "locked, but no gateway has answered: it does not run (then it will start locked), or hangs, or its state_dir is \
         not {}",
        folder.display()
    );
    Failure { message, exit: Exit::StillRunning }
}

fn failed(what: &str, folder: &Path, e: &io::Error) -> Failure {
    let message = format!(
        "NOT {what}: {} cannot be written: {e}; try as root or as the daemon's user, or name its configuration with --config",
        folder.display()
    );
    Failure { message, exit: Exit::Io }
}
