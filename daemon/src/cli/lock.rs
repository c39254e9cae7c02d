//! `nowd lock` and `nowd unlock`: for the person with a hand in the gate.
//!
//! They need `state_dir` and nothing else, so no mistake elsewhere in the configuration stops them. Whoever may not write
//! there asks the gateway to do it, over the bus. What is never said is that it is locked while the gateway that `nowd status`
//! would show is not: it may have another folder, and is then locked and unlocked too.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nowd_plugin::BootInstant;

use super::client::{Client, Reach};
use super::{Failure, Source, made_out, say};
use crate::exit::Exit;
use crate::lockout::{self, Answers, LockError, Order};

/// A daemon that runs sees a lockout within its heartbeat of a second; one that does not in this time hangs.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// How often to look what the daemons have said.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Locks, and waits until every daemon that lives has said that nothing runs.
pub(super) fn lock(reach: &Reach, reason: &str, wait: Duration) -> Result<(), Failure> {
    reach.source.named().map_err(|e| not("locked", e))?;
    if reach.bus.is_some() {
        return wait_by_bus(&ask(reach, reason)?, wait);
    }
    let folder = state_dir(&reach.source.or_here());
    let (lives, told) = match lockout::lock(&folder, reason, &who()) {
        Ok(order) => wait_in(&folder, &order, wait),
        Err(e @ LockError::Already { .. }) => return Err(not_known(e.to_string())),
        Err(LockError::File(e)) if is_denied(&e) => {
            let by_bus = ask(reach, reason).and_then(|client| Ok((client.status()?.state_dir, client)));
            let (folder, client) = by_bus.map_err(|other| neither("locked", &folder, &e, other))?;
            match lockout::order(&folder) {
                Ok(order) => wait_in(&folder, &order, wait),
                Err(e) if is_denied(&e) => return wait_by_bus(&client, wait),
                Err(e) => (true, Err(unreadable(&folder, &e))),
            }
        }
        Err(LockError::File(e)) => return Err(failed("locked", &folder, &e)),
    };
    // Whoever asks for the gateway's status sees the one on the bus, which may have another folder.
    let by_bus = match Client::connect(reach).map_or(Ok(None), |client| client.is_locked()) {
        Ok(Some(is_locked)) => !is_locked || !lives,
        // Those that live in the folder hang, or one of them is it.
        Err(e) if !lives || (told.is_ok() && e.exit != Exit::Denied) => {
            let (message, bus) = (e.message, reach.address());
            let message = format!(
                "NOT known to be locked: the gateway on {} may have another state_dir than {}, which is locked, and cannot be \
                 asked: {message}",
                bus.called(),
                folder.display()
            );
            return Err(Failure { message, exit: e.exit });
        }
        Ok(None) | Err(_) => false,
    };
    if by_bus {
        wait_by_bus(&ask(reach, reason)?, wait)?;
        return if lives { told } else { Ok(()) };
    }
    told?;
    say(&mut io::stdout(), "locked: the gateway starts nothing, and no call runs");
    Ok(())
}

/// Has the gateway on the bus lock itself.
fn ask(reach: &Reach, reason: &str) -> Result<Client, Failure> {
    let client = Client::connect(reach).map_err(|e| not("locked", e))?;
    client.lock(reason).map_err(|e| not("locked", e))?;
    Ok(client)
}

/// Waits for the daemons that have this folder; says also whether one lives.
fn wait_in(folder: &Path, order: &Order, wait: Duration) -> (bool, Result<(), Failure>) {
    let begun = BootInstant::now();
    // Daemons may end and start meanwhile; each gets its time.
    let mut unclear_since = begun;
    loop {
        let now = BootInstant::now();
        let answers = match lockout::answers(folder, order) {
            Ok(answers) => answers,
            Err(e) => return (true, Err(unreadable(folder, &e))),
        };
        let overdue = now.saturating_since(unclear_since) >= SEEN_WITHIN
            || now.saturating_since(begun) >= wait.saturating_add(SEEN_WITHIN);
        match answers {
            Answers::All { running: 0 } => return (true, Ok(())),
            Answers::All { running } if now.saturating_since(begun) >= wait => {
                return (true, Err(still_running(running)));
            }
            Answers::All { .. } => unclear_since = now,
            Answers::Nobody if overdue => return (false, Err(nobody(folder))),
            Answers::Missing(missing) if overdue => return (true, Err(no_answer(missing))),
            Answers::Nobody | Answers::Missing(_) => {}
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// For whoever may not even read what daemons answer: the one on the bus speaks for itself.
fn wait_by_bus(client: &Client, wait: Duration) -> Result<(), Failure> {
    let begun = BootInstant::now();
    loop {
        let status = client.status().map_err(|e| not_known(format!("locked, but {}", e.message)))?;
        let running = status.calls.running;
        if status.lockout.is_none() {
            return Err(not_known("it was locked, and somebody has unlocked it since".into()));
        }
        if running == 0 {
            let text = "locked: the gateway on the bus starts nothing, and no call of it runs";
            say(&mut io::stdout(), text);
            return Ok(());
        }
        if BootInstant::now().saturating_since(begun) >= wait {
            return Err(still_running(running));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Unlocks.
pub(super) fn unlock(reach: &Reach) -> Result<(), Failure> {
    reach.source.named().map_err(|e| not("unlocked", e))?;
    let by_bus = || Client::connect(reach).and_then(|client| client.unlock());
    if reach.bus.is_some() {
        unlocked(by_bus().map_err(|e| not("unlocked", e))?);
        return Ok(());
    }
    let folder = state_dir(&reach.source.or_here());
    let here = match lockout::unlock(&folder) {
        Ok(was) => was,
        Err(e) if is_denied(&e) => {
            unlocked(by_bus().map_err(|other| neither("unlocked", &folder, &e, other))?);
            return Ok(());
        }
        Err(e) => return Err(failed("unlocked", &folder, &e)),
    };
    // The gateway may have another folder than the one that was looked into.
    let there = match by_bus() {
        Ok(there) => there,
        // There is none.
        Err(Failure { exit: Exit::Unreachable, .. }) => false,
        Err(_) if here => false,
        Err(Failure { message, exit }) => {
            let message = format!(
                "NOT unlocked: nothing is locked in {}, but the gateway may have another state_dir, and cannot be \
                 asked: {message}",
                folder.display()
            );
            return Err(Failure { message, exit });
        }
    };
    unlocked(here || there);
    Ok(())
}

fn unlocked(was: bool) {
    say(&mut io::stdout(), if was { "unlocked" } else { "it was not locked" });
}

/// The user who runs this, as calls over the bus have it.
fn who() -> String {
    let user = nix::unistd::getuid();
    let name = nix::unistd::User::from_uid(user).ok().flatten();
    format!("local:{}", name.map_or_else(|| user.to_string(), |user| user.name))
}

/// As configured, or as far as can be made out; then it is said.
fn state_dir(source: &Source) -> PathBuf {
    match source.load() {
        Ok(files) => files.config.state_dir,
        Err(e) => {
            let source = source.layers();
            let (folder, origin) = made_out::state_dir(&source);
            let text = format!(
                "nowd: note: the configuration cannot be used ({e}); `state_dir` is taken from {origin}: {}",
                folder.display()
            );
            say(&mut io::stderr(), &text);
            folder
        }
    }
}

fn not_known(message: String) -> Failure {
    Failure { message, exit: Exit::StillRunning }
}

fn still_running(running: usize) -> Failure {
    not_known(format!("locked, but calls that were started before still run: {running}"))
}

fn nobody(folder: &Path) -> Failure {
    not_known(format!(
        "locked, but no gateway has answered, since none lives that has {} as its state_dir and may write there: either \
         none runs (one that starts will be locked), or it has another state_dir",
        folder.display()
    ))
}

fn no_answer(missing: usize) -> Failure {
    not_known(format!(
        "locked, but {missing} of the gateways that live have not answered: they hang, or cannot write to their state_dir"
    ))
}

fn unreadable(folder: &Path, e: &io::Error) -> Failure {
    not_known(format!(
        "locked, but what gateways answer cannot be read: {}: {e}; try as root or as the daemon's user",
        folder.display()
    ))
}

/// Whether somebody else may be able to.
fn is_denied(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn neither(what: &str, folder: &Path, e: &io::Error, by_bus: Failure) -> Failure {
    if by_bus.exit == Exit::StillRunning {
        return by_bus;
    }
    let why = by_bus.message.trim_start_matches(&format!("NOT {what}: "));
    let message =
        format!("NOT {what}: {} cannot be written: {e}; nor by way of the bus: {why}", folder.display());
    Failure { message, exit: Exit::Io }
}

/// Failures of the bus and of files, after the word that counts.
fn not(what: &str, Failure { message, exit }: Failure) -> Failure {
    let message = if message.starts_with("NOT ") { message } else { format!("NOT {what}: {message}") };
    Failure { message, exit }
}

fn failed(what: &str, folder: &Path, e: &io::Error) -> Failure {
    let message = format!(
        "NOT {what}: {} cannot be written: {e}; try as root or as the daemon's user, or name its configuration with --config",
        folder.display()
    );
    Failure { message, exit: Exit::Io }
}
